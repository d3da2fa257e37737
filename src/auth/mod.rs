//! Credentials: where a token comes from, how long it lives and what its claims say.
//!
//! It never sends a token anywhere and never shows one: secrets live in types whose Debug hides them, and errors name
//! the place a token came from, not what stood there. Claims are read without being verified, so they may stop a lane
//! and may be shown, but permit nothing.

mod claims;

mod token;

mod ready_token;

mod credential;

pub use claims::Claims;
pub use credential::Credential;
pub use credential::Freshness;
pub use credential::TokenSource;
pub use ready_token::ReadyToken;
pub use token::AuthError;
pub use token::Token;
