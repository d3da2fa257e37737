//! Services for the program to call, and a judge of what it did.

mod fake_service;
mod live_sandbox;
mod place;
mod program;

#[path = "../../support/config_file.rs"]
mod config_file;
#[path = "../../support/ids.rs"]
mod ids;
#[path = "../../support/judge.rs"]
mod judge;

pub(crate) use config_file::write_config;
pub(crate) use fake_service::{Asked, FakeService};
pub(crate) use ids::nth_id;
pub(crate) use judge::{Told, assert_agrees, most_in_any};
pub(crate) use live_sandbox::LiveSandbox;
pub(crate) use place::{Folder, Place, write_ids};
pub(crate) use program::{Done, done, finish, kill, program, start, wait_for};
