//! The commands: each takes its settings, does its work through the floors below and prints the result.

mod order;
mod service;

mod reports;

mod ending;

mod carry;

mod past;

mod report;
mod run;
mod runs;

mod resume;

mod quota;
mod sandbox;
mod shell;

pub use ending::Look;
pub use quota::quota;
pub use report::report;
pub use resume::resume;
pub use run::run;
pub use runs::runs;
pub use sandbox::serve_sandbox;
pub use shell::completions;
pub use shell::man;
