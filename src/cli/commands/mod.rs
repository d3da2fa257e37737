//! The commands: each takes its settings, does its work through the floors below and prints the result.

mod follow_up;

mod sign_in;

mod service;

mod reports;

mod prepared_run;

mod finish;

mod lanes;

mod execute;
mod shutdown;

mod choosing;
mod history;
mod reading;

mod quota;

mod confirm_plan;

mod list;
mod run;
mod runs;

mod release;
mod resume;

mod preview;

mod doctor;
mod sandbox;
mod shell;

pub use doctor::doctor;
pub use list::list;
pub use preview::preview;
pub use quota::quota;
pub use release::release;
pub use reports::report;
pub use resume::resume;
pub use run::run;
pub use runs::{remove_runs, runs};
pub use sandbox::serve_sandbox;
pub use shell::{completions, config_show, man};
