//! The commands: each takes its settings, does its work through the floors below and prints the result.

mod sandbox;

pub use sandbox::serve_sandbox;
