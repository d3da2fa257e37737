//! Speaks to the service: cancels, single reads and batch reads, each answered by one classified reply.
//!
//! It never retries, never waits, never follows a redirect and never decides: `engine` does. A token is an argument of
//! every call and leaves in no other way than as the call's `Authorization` header. A [`Reader`] cannot send a cancel,
//! so whoever holds nothing else cannot either.

mod list_query;
mod odata;

mod record;
mod throttle;

mod error_body;
mod lookup;

mod exchange;

mod classify;

mod roots;

mod web_client;

mod proxy;

mod connection;

mod canceller;
mod reader;

pub use canceller::Canceller;
pub use connection::{ApiSettings, Connection};
pub use list_query::{ListQuery, MAX_TOP};
pub use odata::Filter;
pub use proxy::Proxy;
pub use reader::{MAX_BATCH, Reader};
pub use roots::{CaFileError, Roots, load_roots};
pub use web_client::{ApiError, Proxies, Scheme, Trust, WebSettings, web_client};
