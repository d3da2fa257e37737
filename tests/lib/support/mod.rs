//! What several tests need: models of the service, and the best that a rule can do.
//!
//! No model uses the code that it judges. It takes only the numbers from [`Windows`](mde_cancel::quota::Windows), and
//! counts for itself.

#[path = "../../support/raw_server.rs"]
mod raw_server;
#[path = "../../support/shared.rs"]
mod shared;

mod departures;
mod manual_clock;
mod model_server;
mod proptest_config;
mod rows;
mod scenario;
mod simulator;
mod story;
mod table;

pub(crate) use departures::{Departure, VirtualLoop, best_departures, naive_governor, t_opt};
pub(crate) use manual_clock::ManualClock;
pub(crate) use model_server::{
    Allowance, FixedWindows, RollingWindows, TokenBuckets, allowances, first_refused,
};
pub(crate) use proptest_config::proptest_config;
pub(crate) use raw_server::{RawServer, Then, answer, gzip_blanks, gzip_of};
pub(crate) use rows::{read_all, sound_rows};
pub(crate) use scenario::{
    GoneOn, Hangs, Played, Scenario, any_token, connect, gate, open_store, sandbox_scope, serve,
};
pub(crate) use shared::{
    Told, assert_agrees, most_in_any, new_run, nth_id, tls_config, tls_data, write_config,
};
pub(crate) use simulator::{
    End, Fault, History, Latency, OtherAction, ProcessEnd, SignIn, Simulation, WALL_START, always,
    id_of, machine_of, millis, outage, reply, row_of, secs, throttled,
};
pub(crate) use story::{Journey, any_pace, any_story, any_windows};
pub(crate) use table::table;
