//! What differs between Linux, macOS and Windows: folders, file modes, locks' text, and stop signals.
//!
//! Linux is proven by CI; the others are written for, not compiled by us.

mod file_identity;
mod folders;
mod names;
mod private_file;
mod signals;
mod terminal;

pub use file_identity::FileIdentity;
pub use file_identity::file_identity;
pub use file_identity::lock_holders;
pub use folders::default_config_dir;
pub use folders::default_state_dir;
pub use folders::network_file_system;
pub use names::host_name;
pub use names::user_name;
pub use private_file::Privacy;
pub use private_file::append_private_file;
pub use private_file::create_private_dir;
pub use private_file::is_readable_by_others;
pub use private_file::make_private;
pub use private_file::open_private_file;
pub use private_file::privacy;
pub use signals::StopSignals;
pub use signals::survive_file_size_limit;
pub use terminal::has_reader_left;
pub use terminal::terminal_input;
pub use terminal::terminal_output;
