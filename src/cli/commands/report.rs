//! `report`: writes a run's report again from the journal, also of a run that still goes on.

use crate::cli::failure::Failure;
use crate::cli::failure::FailureKind;
use crate::cli::settings::ReportSettings;
use crate::report::write_report;

use super::carry::prove_targets;
use super::carry::state;
use super::past;

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
    for (format, target) in &targets {
        let rows = run
            .reader()?
            .report_rows(run.record.begun.id)
            .map_err(state)?;
        write_report(*format, target, rows)
            .map_err(|error| Failure::new(FailureKind::Report, error))?;
    }
    Ok(())
}
