//! `report`: writes a run's report again from the journal, also of a run that still goes on.

use std::path::Path;

use crate::cli::failure::Failure;
use crate::cli::settings::OutputPaths;
use crate::clock::{Clock as _, SystemClock};

use super::outputs::Outputs;
use super::past;
use super::reports::write_all;

pub fn report(run: Option<&str>, outputs: &OutputPaths, state_dir: &Path) -> Result<(), Failure> {
    let run = match run {
        Some(text) => past::named(state_dir, text)?,
        None => past::newest(state_dir)?,
    };
    let outputs = Outputs::prove(outputs, run.record.begun.id)?;
    write_all(&run, &outputs, SystemClock::new().now().wall)
}
