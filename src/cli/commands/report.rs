//! `report`: writes a run's report again from the journal, also of a run that still goes on.

use crate::cli::failure::Failure;
use crate::cli::settings::ReportSettings;
use crate::clock::{Clock as _, SystemClock};

use super::outputs::Outputs;
use super::past;
use super::reports::write_all;

/// Writes the report.
///
/// # Errors
/// Returns that there is no such run, or why its report cannot be written.
pub fn report(settings: &ReportSettings) -> Result<(), Failure> {
    let run = match &settings.run {
        Some(text) => past::named(&settings.state_dir, text)?,
        None => past::newest(&settings.state_dir)?,
    };
    let outputs = Outputs::prove(&settings.outputs, run.record.begun.id)?;
    write_all(&run, &outputs, SystemClock::new().now().wall)
}
