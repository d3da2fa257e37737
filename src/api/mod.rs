//! Speaks to the service: cancels, single reads and batch reads, each answered by one classified reply.
//!
//! It never retries, never waits, never follows a redirect and never decides: `engine` does. A token is an argument of
//! every call and leaves in no other way than as the call's `Authorization` header. A [`ReadClient`] cannot send a cancel,
//! so whoever holds nothing else cannot either.

mod action_json;
mod client;
mod connection;
mod dns;
mod error_body;
mod odata;
mod proxy;
mod response;
mod root_certificates;
mod send;
mod throttle;
mod web_client;

pub use action_json::saved_actions;
pub use client::{MAX_BATCH, ReadClient, SendClient};
pub use connection::{ApiSettings, Connection};
pub use odata::{Filter, ListQuery, MAX_TOP};
pub use proxy::Proxy;
pub use root_certificates::{CaFileError, Roots, load_roots};
pub use web_client::{ApiError, Proxies, RootCerts, Scheme, WebSettings, web_client};
