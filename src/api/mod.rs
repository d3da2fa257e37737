//! The client of the service: cancels, releases, single reads and batch reads. Each call returns one classified reply.
//!
//! Nothing here retries, waits, follows redirects or makes decisions; `engine` does. The token is an argument of each
//! call, and leaves the process only in that call's `Authorization` header.

mod action_json;
mod client;
mod connection;
mod dns;
mod odata;
mod proxy;
mod response;
mod root_certificates;
mod send;
mod throttle;
mod web_client;

pub use action_json::saved_actions;
pub use client::{MAX_BATCH, ReadClient, SendClient};
pub use connection::Connection;
pub use odata::{Filter, ListQuery, MAX_TOP};
pub use proxy::Proxy;
pub use root_certificates::{CaFileError, Roots, load_roots};
pub use web_client::{ApiError, Proxies, RootCerts, Scheme, WebSettings, web_client};
