//! What differs between Linux, macOS and Windows: folders, file modes, locks, stop signals and terminals.
//!
//! `.ci/run` tests Linux. tests/manual/windows.sh tests Windows with wine, and tests/manual/macos.sh type-checks macOS.

mod file_identity;
mod folders;
mod host_and_user;
mod private_file;
mod signals;
mod terminal;

pub use file_identity::{FileIdentity, file_identity, is_held_open, is_same_file, lock_holders};
pub use folders::{default_config_dir, default_state_dir, unreliable_file_system};
pub use host_and_user::{host_name, user_name};
pub use private_file::{
    Exposure, Owner, Privacy, append_private_file, create_private_dir, exposure, foreign_link,
    make_private, open_private_file, owner, privacy, refuse_foreign_link,
};
pub use signals::{StopSignals, survive_file_size_limit};
pub use terminal::{discard_typed, has_reader_left, terminal_input, terminal_output};
