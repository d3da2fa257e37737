//! What several subjects need: models of the service, and the best that a rule can do.
//!
//! Nothing here uses the code that it judges. A model reads [`Windows`](mde_cancel::quota::Windows) for their numbers
//! only, and counts for itself.

mod model_server;
mod naive_governor;
mod proptest_config;
mod queued;
mod t_opt;

mod judge;
mod mortal;
mod rows;
mod scenario;

mod fake_service;
mod history;
mod live_sandbox;
mod story;
mod virtual_loop;
mod world;

pub(crate) use fake_service::{Asked, FakeService};
pub(crate) use history::History;
pub(crate) use judge::{Told, assert_agrees, assert_quotas_kept, repeated};
pub(crate) use live_sandbox::LiveSandbox;
pub(crate) use model_server::{
    Allowance, FixedWindows, RollingWindows, TokenBuckets, allowances, first_refused, most_in_any,
};
pub(crate) use mortal::{End, GRACE, Schedule, Seen, play};
pub(crate) use naive_governor::naive_governor;
pub(crate) use proptest_config::proptest_config;
pub(crate) use queued::{load, queued};
pub(crate) use rows::{read_all, sound_rows};
pub(crate) use scenario::{GoneOn, Hangs, Played, Scenario, nth_id};
pub(crate) use story::{Journey, any_pace, any_story, any_windows};
pub(crate) use t_opt::{Departure, best_departures, t_opt};
pub(crate) use virtual_loop::VirtualLoop;
pub(crate) use world::{Fault, World, id_of, reply, row_of};

/// Writes a config file that only its owner may change, whatever mask the tests run under.
pub(crate) fn write_config(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
}
