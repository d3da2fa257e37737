//! The commands: each takes its settings, does its work through the floors below and prints the result.

mod ending;
mod order;
mod service;

mod carry;

mod run;

mod quota;
mod sandbox;

pub use ending::Look;
pub use quota::quota;
pub use run::run;
pub use sandbox::serve_sandbox;
