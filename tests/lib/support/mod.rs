//! What several subjects need: models of the service, and the best that a rule can do.
//!
//! Nothing here uses the code that it judges. A model reads [`Windows`](mde_cancel::quota::Windows) for their numbers
//! only, and counts for itself.

#[path = "../../support/config_file.rs"]
mod config_file;
#[path = "../../support/ids.rs"]
mod ids;
#[path = "../../support/judge.rs"]
mod judge;

mod model_server;
mod naive_governor;
mod proptest_config;
mod raw_server;
mod t_opt;
mod table;

mod rows;
mod scenario;

mod simulator;
mod story;
mod virtual_loop;

pub(crate) use config_file::write_config;
pub(crate) use ids::nth_id;
pub(crate) use judge::{Told, assert_agrees, most_in_any};
pub(crate) use model_server::{
    Allowance, FixedWindows, RollingWindows, TokenBuckets, allowances, first_refused,
};
pub(crate) use naive_governor::naive_governor;
pub(crate) use proptest_config::proptest_config;
pub(crate) use raw_server::{RawServer, Then, answer};
pub(crate) use rows::{read_all, sound_rows};
pub(crate) use scenario::{
    GoneOn, Hangs, Played, Scenario, any_token, connect, gate, new_run, open_store, sandbox_scope,
    serve,
};
pub(crate) use simulator::{
    End, Fault, History, Latency, ProcessEnd, SignIn, Simulation, WALL_START, always, id_of,
    outage, reply, row_of, throttled,
};
pub(crate) use story::{Journey, any_pace, any_story, any_windows};
pub(crate) use t_opt::{Departure, best_departures, t_opt};
pub(crate) use table::table;
pub(crate) use virtual_loop::VirtualLoop;
