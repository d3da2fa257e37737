//! What the service allows, for cancels and for reads.

use crate::cli::args::AllowanceArgs;
use crate::cli::args::value::QuotaChoice;
use crate::quota::Windows;

use super::error::SettingsError;
use super::surroundings::Surroundings;

/// The quota windows by which calls are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// For cancels.
    pub cancel: Windows,
    /// For reads, each kind of them apart.
    pub read: Windows,
}

impl Allowance {
    pub(super) fn resolve(
        typed: AllowanceArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let [cancel, read] = Self::chosen(typed, around)?;
        Ok(Self {
            cancel: cancel.unwrap_or_else(Windows::documented),
            read: read.unwrap_or_else(Windows::half_of_documented),
        })
    }

    /// Returns the windows for cancels and for reads, as far as anybody chose them.
    pub(super) fn chosen(
        typed: AllowanceArgs,
        around: &Surroundings<'_>,
    ) -> Result<[Option<Windows>; 2], SettingsError> {
        let cancel = around.layered_list(typed.quota, "MDE_CANCEL_QUOTA", QuotaChoice::parse)?;
        let read = around.layered_list(
            typed.read_quota,
            "MDE_CANCEL_READ_QUOTA",
            QuotaChoice::parse,
        )?;
        Ok([
            windows(&cancel, "--quota")?,
            windows(&read, "--read-quota")?,
        ])
    }
}

/// Returns the windows that were chosen, if any were.
fn windows(choices: &[QuotaChoice], flag: &'static str) -> Result<Option<Windows>, SettingsError> {
    let windows: Vec<_> = choices
        .iter()
        .filter_map(|choice| match choice {
            QuotaChoice::Window(window) => Some(*window),
            QuotaChoice::Unbounded => None,
        })
        .collect();
    if choices.is_empty() {
        return Ok(None);
    }
    if windows.is_empty() {
        return Ok(Some(Windows::none()));
    }
    if windows.len() < choices.len() {
        return Err(SettingsError::QuotaAndNone { flag });
    }
    Ok(Some(Windows::new(windows)))
}
