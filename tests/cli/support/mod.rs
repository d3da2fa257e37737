//! Services for the program to call, and checks of what it did.

mod fake_service;
mod live_sandbox;
mod place;
mod program;

#[path = "../../support/raw_server.rs"]
#[expect(dead_code, reason = "the tests of the library use all of it")]
mod raw_server;
#[path = "../../support/shared.rs"]
mod shared;

pub(crate) use fake_service::{Asked, FakeService};
pub(crate) use live_sandbox::LiveSandbox;
pub(crate) use place::{Folder, Place, write_ids};
pub(crate) use program::{Done, done, finish, kill, program, start, stop, wait_for};
pub(crate) use raw_server::{RawServer, Then, read_head};
pub(crate) use shared::{
    Told, assert_agrees, most_in_any, new_run, nth_id, tls_config, tls_data, write_config,
};
