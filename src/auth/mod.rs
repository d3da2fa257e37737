//! Credentials: where a token comes from and what its claims say.
