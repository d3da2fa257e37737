//! `report`: writes a run's report again from the journal, also of a run that still goes on.

use crate::cli::failure::Failure;
use crate::cli::settings::ReportSettings;
use crate::clock::{Clock as _, SystemClock};

use super::carry::prove_targets;
use super::past;
use super::reports::write_one;

/// Writes the report.
///
/// # Errors
/// Returns that there is no such run, or why its report cannot be written.
pub fn report(settings: &ReportSettings) -> Result<(), Failure> {
    let targets = prove_targets(&settings.reports, &[])?;
    let run = match &settings.run {
        Some(text) => past::named(&settings.state_dir, text)?,
        None => past::newest(&settings.state_dir)?,
    };
    let now = SystemClock::new().now().wall;
    for (format, target) in &targets {
        write_one(run.reader()?, run.record.begun.id, (*format, target), now)?;
    }
    Ok(())
}
