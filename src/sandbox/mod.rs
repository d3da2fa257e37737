//! The embedded imitation of the service: for the first run, for demos and for tests.
