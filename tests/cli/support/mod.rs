//! Services for the program to call, and checks of what it did.

mod fake_service;
mod live_sandbox;
mod place;
mod program;

#[path = "../../support/shared.rs"]
mod shared;

pub(crate) use fake_service::{Asked, FakeService};
pub(crate) use live_sandbox::LiveSandbox;
pub(crate) use place::{Folder, Place, write_ids};
pub(crate) use program::{Done, done, finish, kill, program, start, wait_for};
pub(crate) use shared::{Told, assert_agrees, most_in_any, nth_id, write_config};
