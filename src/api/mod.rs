//! The client of the service: cancels, releases, single reads and batch reads. Each call returns one classified reply.
//!
//! Nothing here retries, waits, follows redirects or makes decisions; `engine` does. The token is an argument of each
//! call, and leaves the process only in that call's `Authorization` header.

mod action_json;
mod api_address;
mod dns;
mod http_client;
mod machine_actions;
mod odata;
mod proxy;
mod response;
mod retry_after;
mod root_certificates;
mod send;

pub use action_json::saved_actions;
pub use api_address::Connection;
pub use http_client::{ApiError, Proxies, RootCerts, Scheme, WebSettings, web_client};
pub use machine_actions::{MAX_BATCH, ReadClient, SendClient};
pub use odata::{Filter, ListQuery, MAX_TOP};
pub use proxy::Proxy;
pub use root_certificates::{CaFileError, Roots, load_roots};
