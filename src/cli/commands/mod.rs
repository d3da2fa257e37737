//! The commands: each takes its settings, calls the modules below and prints the result.

mod check_follow_ups;
mod completions;
mod config;
mod doctor;
mod find_run;
mod finish_run;
mod list;
mod plan_run;
mod prepared_run;
mod preview;
mod quota;
mod release;
mod reports;
mod resume;
mod run;
mod runs;
mod sandbox;
mod selection;
mod service_clients;
mod service_reads;
mod sign_in_tenants;
mod signals;

pub use completions::{completions, man};
pub use config::config_show;
pub use doctor::doctor;
pub use list::list;
pub use preview::preview;
pub use quota::quota;
pub use release::release;
pub use reports::report;
pub use resume::resume;
pub use run::run;
pub use runs::runs;
pub use sandbox::serve_sandbox;
