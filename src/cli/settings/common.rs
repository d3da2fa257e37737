//! What holds for every command: the log, the progress, the colours, and where state lies.

use std::path::PathBuf;

use crate::cli::args::CommonArgs;
use crate::cli::logging::{LogFormat, LogSettings, Verbosity};
use crate::cli::progress::ProgressMode;
use crate::cli::terminal::{ColorMode, Paint};

use super::error::SettingsError;
use super::surroundings::Surroundings;

/// What holds for every command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonSettings {
    /// The form of a log line.
    pub log_format: LogFormat,
    /// Where log lines go too.
    pub log_file: Option<PathBuf>,
    /// Filter directives in place of the verbosity (MDE_CANCEL_LOG).
    pub log_filter: Option<String>,
    /// How much the log says.
    pub verbosity: Verbosity,
    /// Whether progress is shown; never `Auto` where quiet was asked for.
    pub progress: ProgressMode,
    /// When to colour.
    pub color: ColorMode,
}

impl CommonSettings {
    pub(super) fn resolve(
        typed: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let when = &["auto", "always", "never"];
        let log_format =
            around.layered_word(typed.log_format, "MDE_CANCEL_LOG_FORMAT", &["text", "json"])?;
        let log_file = around.layered_path(typed.log_file.clone(), "MDE_CANCEL_LOG_FILE");
        let progress = around
            .layered_word(typed.progress, "MDE_CANCEL_PROGRESS", when)?
            .unwrap_or_default();
        let progress = match progress {
            ProgressMode::Auto if typed.quiet => ProgressMode::Never,
            mode => mode,
        };
        let color = around.layered_word(typed.color, "MDE_CANCEL_COLOR", when)?;
        Ok(Self {
            log_format: log_format.unwrap_or_default(),
            log_file,
            log_filter: around.text("MDE_CANCEL_LOG")?,
            verbosity: Verbosity::from_flags(typed.verbose, typed.quiet),
            progress,
            color: color.unwrap_or_default(),
        })
    }

    /// Returns how to log, with what was decided about the colours of standard error.
    pub fn log(&self, paint: Paint) -> LogSettings {
        LogSettings {
            format: self.log_format,
            verbosity: self.verbosity,
            filter: self.log_filter.clone(),
            paint,
            file: self.log_file.clone(),
        }
    }
}

/// Returns the folder in which journal and ledger lie.
pub(super) fn state_dir(
    typed: &CommonArgs,
    around: &Surroundings<'_>,
) -> Result<PathBuf, SettingsError> {
    around
        .layered_path(typed.state_dir.clone(), "MDE_CANCEL_STATE_DIR")
        .or_else(|| around.default_state_dir.clone())
        .ok_or(SettingsError::NoStateDir)
}
