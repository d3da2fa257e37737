//! Sets the log up: what is said, in which form, and where it goes.
//!
//! Lines go to standard error through the progress, so that they never tear the bars, and to a file where one is
//! named. A line that cannot be written is lost: the log is for eyes, and may neither fail nor stop a run. What the
//! run must not lose is in the journal.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use jiff::Timestamp;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::platform;

use super::log_line::{Eyes, Fields, LogLine};
use super::progress::Progress;
use super::terminal::{Paint, stderr_width};
use super::text::local_zone;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Warnings too.
    #[default]
    Normal,
    /// What we do.
    Info,
    /// Why we do it.
    Debug,
    /// All of it, and what the libraries do.
    Trace,
}

impl Verbosity {
    /// Reads `-q` and the number of `-v`; the latter wins where both are given.
    pub fn from_flags(verbose: u8, quiet: bool) -> Self {
        match verbose {
            0 if quiet => Self::Quiet,
            0 => Self::Normal,
            1 => Self::Info,
            2 => Self::Debug,
            _ => Self::Trace,
        }
    }

    fn directives(self) -> &'static str {
        match self {
            Self::Quiet => "error",
            Self::Normal => "warn",
            Self::Info => "warn,mde_cancel=info",
            Self::Debug => "warn,mde_cancel=debug",
            Self::Trace => "debug,mde_cancel=trace",
        }
    }
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
    /// How much is said.
    pub verbosity: Verbosity,
    /// Filter directives as in MDE_CANCEL_LOG (`warn,mde_cancel::store=trace`), instead of the verbosity.
    pub filter: Option<String>,
    /// Whether text lines on standard error are coloured.
    pub paint: Paint,
    /// Where the same lines go too; appended to, and its owner's alone when made new.
    pub file: Option<PathBuf>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// Something in this process logs already.
    #[error("the log is set up already")]
    Again(#[source] TryInitError),
    /// The log file cannot be opened.
    #[error("log file {} cannot be opened", .path.display())]
    File {
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The filter is not one.
    #[error("log filter `{text}` is not understood")]
    Filter {
        /// The directives as given.
        text: String,
        /// What is wrong with them.
        source: ParseError,
    },
}

/// Sets the log of this process up, once.
pub fn start_logging(settings: &LogSettings, progress: &Progress) -> Result<(), LoggingError> {
    let mut writer = progress.writer();
    let stderr = move |line: &str| {
        writer.write_all(line.as_bytes()).ok();
    };
    subscriber(settings, eyes, stderr)?
        .try_init()
        .map_err(LoggingError::Again)
}

/// Returns who reads standard error now: a window may have changed its width, and the zone its offset.
fn eyes() -> Eyes {
    match stderr_width() {
        // The last column is left free: what stands in it makes some terminals wrap.
        Some(columns) => Eyes::Screen(local_zone(), usize::from(columns.saturating_sub(1))),
        None => Eyes::Stream(local_zone()),
    }
}

fn subscriber(
    settings: &LogSettings,
    eyes: impl Fn() -> Eyes + Send + Sync + 'static,
    stderr: impl FnMut(&str) + Clone + Send + Sync + 'static,
) -> Result<impl Subscriber + Send + Sync, LoggingError> {
    let directives = settings.filter.as_deref();
    let directives = directives.unwrap_or_else(|| settings.verbosity.directives());
    // Not by spans and their fields too: that takes a library of regular expressions along.
    let filter: Targets = directives.parse().map_err(|source| LoggingError::Filter {
        text: directives.to_owned(),
        source,
    })?;
    let open = |path: &PathBuf| {
        platform::append_private_file(path).map_err(|source| LoggingError::File {
            path: path.clone(),
            source,
        })
    };
    let lines = Lines {
        format: settings.format,
        paint: settings.paint,
        eyes,
        stderr,
        file: settings.file.as_ref().map(open).transpose()?,
    };
    Ok(tracing_subscriber::registry().with(filter).with(lines))
}

/// Turns events into lines and hands them out.
struct Lines<E, W> {
    format: LogFormat,
    paint: Paint,
    eyes: E,
    stderr: W,
    file: Option<File>,
}

impl<E: Fn() -> Eyes, W: FnMut(&str) + Clone> Lines<E, W> {
    fn write(&self, line: &LogLine<'_>) {
        let form = |eyes: &Eyes, paint| match self.format {
            LogFormat::Json => line.json(),
            LogFormat::Text => line.text(eyes, paint),
        };
        let mut stderr = self.stderr.clone();
        stderr(&form(&(self.eyes)(), self.paint));
        if let Some(mut file) = self.file.as_ref() {
            // One call a line: the file is opened for appending, so that lines of two processes never mix.
            file.write_all(form(&Eyes::File, Paint::Plain).as_bytes())
                .ok();
        }
    }
}

impl<S, E, W> Layer<S> for Lines<E, W>
where
    E: Fn() -> Eyes + Send + Sync + 'static,
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: FnMut(&str) + Clone + Send + Sync + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut around = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(Scope::from_root)
        {
            if let Some(fields) = span.extensions().get::<Fields>() {
                around.extend(fields);
            }
        }
        let fields = own.within(around);
        self.write(&LogLine {
            time: Timestamp::now(),
            level: *event.metadata().level(),
            target: event.metadata().target(),
            fields: &fields,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use jiff::tz::TimeZone;
    use serde_json::Value;

    use super::*;

    fn settings() -> LogSettings {
        LogSettings {
            format: LogFormat::Text,
            verbosity: Verbosity::Normal,
            filter: None,
            paint: Paint::Plain,
            file: None,
        }
    }

    /// Runs `speak` under the settings and returns the lines, without their times.
    fn heard(settings: &LogSettings, speak: impl FnOnce()) -> String {
        let heard = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&heard);
        let stderr = move |line: &str| sink.lock().unwrap().push_str(line);
        let eyes = || Eyes::Stream(TimeZone::UTC);
        tracing::subscriber::with_default(subscriber(settings, eyes, stderr).unwrap(), speak);
        std::mem::take(&mut *heard.lock().unwrap())
    }

    fn without_times(text: &str) -> Vec<String> {
        let cut = |line: &str| line.split_once(' ').unwrap().1.to_owned();
        text.lines().map(cut).collect()
    }

    fn all_levels() {
        tracing::error!("e");
        tracing::warn!("w");
        tracing::info!("i");
        tracing::debug!("d");
        tracing::trace!("t");
        tracing::warn!(target: "hyper", "hw");
        tracing::info!(target: "hyper", "hi");
        tracing::debug!(target: "hyper", "hd");
        tracing::trace!(target: "hyper", "ht");
    }

    #[test]
    fn each_flag_says_more_and_libraries_speak_only_at_the_last() {
        for (verbose, quiet, messages) in [
            (0, true, vec!["e"]),
            (0, false, vec!["e", "w", "hw"]),
            (1, false, vec!["e", "w", "i", "hw"]),
            (2, true, vec!["e", "w", "i", "d", "hw"]),
            (3, false, vec!["e", "w", "i", "d", "t", "hw", "hi", "hd"]),
        ] {
            let settings = LogSettings {
                verbosity: Verbosity::from_flags(verbose, quiet),
                ..settings()
            };
            let lines = without_times(&heard(&settings, all_levels));
            let heard: Vec<_> = lines.iter().map(|line| line[6..].to_owned()).collect();
            assert_eq!(heard, messages, "{verbose} {quiet}");
        }
    }

    #[test]
    fn a_filter_takes_the_place_of_the_flags_and_a_bad_one_is_named() {
        let mut settings = LogSettings {
            filter: Some("off,hyper=info".to_owned()),
            ..settings()
        };
        assert_eq!(heard(&settings, all_levels).lines().count(), 2);
        settings.filter = Some("mde_cancel=loud".to_owned());
        let error = subscriber(&settings, eyes, |_: &str| {}).err().unwrap();
        assert!(error.to_string().contains("mde_cancel=loud"), "{error}");
    }

    #[test]
    fn text_lines_hold_the_fields_of_the_event_and_of_the_spans_around_it() {
        let text = heard(&settings(), || {
            let span = tracing::error_span!("run", run = "r1", attempt = tracing::field::Empty);
            let inner = span.in_scope(|| tracing::error_span!("action", action = "a1"));
            span.record("attempt", 2_u64);
            inner.in_scope(|| {
                tracing::warn!(status = 503_u16, wait = ?std::time::Duration::from_secs(2), "sent \"again\"");
                tracing::error!(action = "other one", message_odd = "a=b", ok = false);
            });
        });
        assert_eq!(
            without_times(&text),
            [
                "WARN  sent \"again\" run=r1 attempt=2 action=a1 status=503 wait=2s",
                "ERROR  run=r1 attempt=2 action=\"other one\" message_odd=\"a=b\" ok=false",
            ]
        );
    }

    #[test]
    fn json_lines_are_one_object_each_with_the_fields_beside_the_message() {
        let settings = LogSettings {
            format: LogFormat::Json,
            ..settings()
        };
        let text = heard(&settings, || {
            tracing::error_span!("run", run = "r1").in_scope(|| {
                tracing::warn!(
                    attempt = 2_u64,
                    time = "noon",
                    ratio = f64::NAN,
                    "line one\nline two \u{202e}"
                );
            });
        });
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("{\"time\":\"20"), "{text}");
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["level"], "WARN");
        assert_eq!(object["message"], "line one\\u{a}line two \\u{202e}");
        assert_eq!(object["run"], "r1");
        assert_eq!(object["attempt"], 2);
        assert_eq!(object["time_"], "noon");
        assert_eq!(object["ratio"], Value::Null);
        assert_eq!(object["target"], module_path!());
    }

    #[test]
    fn text_of_the_service_stays_in_its_line_and_causes_are_told() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("in\u{1b}[2Jner"));
        let text = heard(&settings(), || {
            tracing::warn!(error = &error as &dyn std::error::Error, body = %"a\nb", "\r\n2026 ERROR forged");
        });
        assert_eq!(
            without_times(&text),
            ["WARN  \\u{d}\\u{a}2026 ERROR forged error=\"outer: in\\u{1b}[2Jner\" body=a\\u{a}b"]
        );
    }

    #[test]
    fn the_file_gets_plain_lines_behind_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "earlier\n").unwrap();
        let settings = LogSettings {
            paint: Paint::Colored,
            file: Some(path.clone()),
            ..settings()
        };
        let text = heard(&settings, || tracing::warn!("late"));
        assert!(text.contains('\u{1b}'));
        assert!(text.contains("+00:00 "), "{text}");
        let file = std::fs::read_to_string(&path).unwrap();
        assert!(
            file.starts_with("earlier\n20") && file.ends_with("Z WARN  late\n"),
            "{file}"
        );
        assert!(!file.contains('\u{1b}'));

        let missing = LogSettings {
            file: Some(folder.path().join("missing/log")),
            ..settings
        };
        let error = subscriber(&missing, eyes, |_: &str| {}).err().unwrap();
        assert!(error.to_string().contains("missing"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_new_log_file_is_its_owners_alone() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let settings = LogSettings {
            file: Some(path.clone()),
            ..settings()
        };
        heard(&settings, || tracing::warn!("x"));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}
