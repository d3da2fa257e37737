//! The log: levels, formats and targets.
//!
//! Lines go to standard error through the progress, which keeps them out of the bars, and to a log file if there is
//! one. Write errors are ignored, because the log must not stop a run. Fields are escaped: each event is one line,
//! without control characters.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::platform;

use super::format_time::{Span, clock_time, error_chain, local_zone, visible, wrap};
use super::progress::Progress;
use super::terminal::{Color, Style, stderr_width};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Returns the filter for `-q` and the number of `-v`; `-v` wins.
pub(super) fn directives(verbose: u8, quiet: bool) -> &'static str {
    match verbose {
        0 if quiet => "error",
        0 => "warn",
        1 => "warn,mde_cancel=info",
        2 => "warn,mde_cancel=debug",
        _ => "debug,mde_cancel=trace",
    }
}

#[derive(Clone, Debug)]
pub(super) struct LogSettings {
    pub(super) format: LogFormat,
    /// Filter directives such as `warn,mde_cancel::store=trace`.
    pub(super) filter: String,
    /// Whether text lines on standard error are colored.
    pub(super) color: Color,
    /// A file for the same lines; appended to, and created private to its owner.
    pub(super) file: Option<PathBuf>,
}

/// Sets up the log of this process, once.
pub(super) fn start_logging(settings: &LogSettings, progress: &Progress) -> anyhow::Result<()> {
    let progress = progress.clone();
    subscriber(settings, stderr_target, move || progress.clone())?.try_init()?;
    Ok(())
}

/// Returns the current target: the window may have been resized, and the zone's offset may have changed.
fn stderr_target() -> LogTarget {
    match stderr_width() {
        // Leaves the last column free: text in it makes some terminals wrap.
        Some(columns) => LogTarget::Screen(local_zone(), usize::from(columns.saturating_sub(1))),
        None => LogTarget::Lines(local_zone()),
    }
}

fn subscriber(
    settings: &LogSettings,
    target: fn() -> LogTarget,
    stderr: impl for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
) -> anyhow::Result<impl Subscriber + Send + Sync> {
    // Filters by target and level only. Filters by span and field would need a regex library.
    let filter: Targets = (settings.filter.parse())
        .with_context(|| format!("log filter `{}` is not understood", settings.filter))?;
    let open = |path: &PathBuf| {
        platform::append_private_file(path)
            .with_context(|| format!("log file {} cannot be opened", path.display()))
    };
    let file = settings.file.as_ref().map(open).transpose()?;
    let lines = |target, color| LineFormat {
        format: settings.format,
        target,
        color,
    };
    let to_stderr = layer()
        .event_format(lines(target, settings.color))
        .log_internal_errors(false)
        .with_writer(stderr);
    let to_file = file.map(|file| {
        layer()
            .event_format(lines(|| LogTarget::Lines(TimeZone::UTC), Color::Plain))
            .log_internal_errors(false)
            // One write per line to a file opened for appending, so that lines of two processes never mix.
            .with_writer(Arc::new(file))
    });
    let registry = tracing_subscriber::registry().with(filter);
    Ok(registry.with(to_stderr).with(to_file))
}

/// Formats events as lines. There are no spans.
struct LineFormat {
    format: LogFormat,
    target: fn() -> LogTarget,
    color: Color,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = LogLine {
            time: Timestamp::now(),
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        out.write_str(&match self.format {
            LogFormat::Json => line.json(),
            LogFormat::Text => line.text(&(self.target)(), self.color),
        })
    }
}

#[derive(Clone, Debug)]
enum LogTarget {
    /// A file, or a program that collects standard error: full timestamps. Files use UTC.
    Lines(TimeZone),
    /// A terminal of this many columns: short times, no redundant fields, wrapped between words.
    Screen(TimeZone, usize),
}

/// The field for the run; left out on a terminal.
const RUN: &str = "run";

/// The field for a wait in seconds: a number in JSON, a span in text.
const WAIT: &str = "wait";

struct LogLine {
    time: Timestamp,
    level: Level,
    target: String,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl LogLine {
    fn record(&mut self, field: &Field, value: Value) {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        match field.name() {
            "message" => self.message = text(value),
            // The real target of events from libraries that use `log`.
            "log.target" => self.target = text(value),
            // Source locations in libraries don't help our users.
            name if name.starts_with("log.") => {}
            name => self.fields.push((name, value)),
        }
    }

    /// Returns the event as one line of JSON.
    fn json(&self) -> String {
        let head = [
            ("time", Value::from(self.time.to_string())),
            ("level", Value::from(self.level.as_str())),
            ("message", Value::from(self.message.as_str())),
            ("target", Value::from(self.target.as_str())),
        ];
        // Built by hand: serde_json's map would sort the names, and people look for the time first.
        let members: Vec<_> = head
            .iter()
            .chain(&self.fields)
            .map(|(name, value)| format!("{}:{value}", Value::from(*name)))
            .collect();
        format!("{{{}}}\n", members.join(","))
    }

    /// Returns the event as `time LEVEL message name=value`.
    fn text(&self, to: &LogTarget, color: Color) -> String {
        let time = match to {
            LogTarget::Lines(zone) if *zone == TimeZone::UTC => format!("{:.0}", self.time),
            LogTarget::Lines(zone) => {
                let time = self.time.to_zoned(zone.clone());
                time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
            }
            LogTarget::Screen(zone, _) => clock_time(self.time, self.time, zone),
        };
        let level = format!("{:<5}", self.level.as_str());
        let mut line = format!("{time} {level} {}", self.message);
        for (name, value) in &self.fields {
            if *name == RUN && matches!(to, LogTarget::Screen(..)) {
                continue;
            }
            let value = match value {
                Value::String(text) => quoted(text),
                Value::Number(seconds) if *name == WAIT => {
                    let seconds = seconds.as_f64().unwrap_or_default();
                    let wait = Duration::try_from_secs_f64(seconds).unwrap_or_default();
                    quoted(&Span(wait).to_string())
                }
                other => other.to_string(),
            };
            // Writing to a String can't fail.
            write!(line, " {name}={value}").ok();
        }
        let mut line = match to {
            LogTarget::Screen(_, columns) => wrap(&line, *columns, 2).join("\n"),
            LogTarget::Lines(_) => line,
        };
        line.push('\n');
        let style = match self.level {
            Level::ERROR => Style::Error,
            Level::WARN => Style::Warning,
            Level::INFO => Style::Good,
            Level::DEBUG | Level::TRACE => Style::Dim,
        };
        // After wrapping, which would count the colors as width. The time doesn't contain the level.
        line.replacen(&level, &color.apply(style, &level), 1)
    }
}

impl Visit for LogLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, Value::from(visible(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, Value::from(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &error_chain(value));
    }
}

/// Quotes a value that would otherwise read as several.
fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains([' ', '"', '=']) {
        format!("\"{}\"", text.replace('"', "\\\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;

    use super::*;

    fn settings() -> LogSettings {
        LogSettings {
            format: LogFormat::Text,
            filter: directives(0, false).to_owned(),
            color: Color::Plain,
            file: None,
        }
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Runs `speak` with these settings and returns the log.
    fn heard(settings: &LogSettings, speak: impl FnOnce()) -> String {
        let written = Written::default();
        let stderr = written.clone();
        let target = || LogTarget::Lines(TimeZone::fixed(jiff::tz::offset(2)));
        let subscriber = subscriber(settings, target, move || stderr.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, speak);
        let bytes = std::mem::take(&mut *written.0.lock().unwrap());
        String::from_utf8(bytes).unwrap()
    }

    fn refusal(settings: &LogSettings) -> String {
        let refused = subscriber(settings, stderr_target, io::sink);
        refused.err().unwrap().to_string()
    }

    fn without_times(text: &str) -> Vec<&str> {
        let lines = text.lines();
        lines.map(|line| line.split_once(' ').unwrap().1).collect()
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
                filter: directives(verbose, quiet).to_owned(),
                ..settings()
            };
            let text = heard(&settings, all_levels);
            let heard: Vec<_> = without_times(&text).iter().map(|line| &line[6..]).collect();
            assert_eq!(heard, messages, "{verbose} {quiet}");
        }
        let bad = LogSettings {
            filter: "mde_cancel=loud".to_owned(),
            ..settings()
        };
        assert!(refusal(&bad).contains("mde_cancel=loud"));
    }

    #[test]
    fn json_lines_are_one_object_each_with_the_fields_beside_the_message() {
        let settings = LogSettings {
            format: LogFormat::Json,
            ..settings()
        };
        let text = heard(&settings, || {
            tracing::warn!(
                run = "r1",
                attempt = 2_u64,
                ratio = f64::NAN,
                "line one\nline two \u{202e}"
            );
        });
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("{\"time\":\"20"), "{text}");
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["level"], "WARN");
        assert_eq!(object["message"], "line one\\u{a}line two \\u{202e}");
        assert_eq!(object["run"], "r1");
        assert_eq!(object["attempt"], 2);
        assert_eq!(object["ratio"], Value::Null);
        assert_eq!(object["target"], module_path!());
    }

    #[test]
    fn text_of_the_service_stays_in_its_line_and_causes_are_told() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("in\u{1b}[2Jner"));
        let text = heard(&settings(), || {
            tracing::warn!(error = &error as &dyn Error, body = %"a\nb", "\r\n2026 ERROR forged");
            tracing::error!(
                action = "other one",
                odd = "a=b",
                ok = false,
                "sent \"again\""
            );
        });
        assert_eq!(
            without_times(&text),
            [
                "WARN  \\u{d}\\u{a}2026 ERROR forged error=\"outer: in\\u{1b}[2Jner\" body=a\\u{a}b",
                "ERROR sent \"again\" action=\"other one\" odd=\"a=b\" ok=false",
            ]
        );
    }

    #[test]
    fn the_file_gets_plain_lines_behind_what_it_holds_and_a_new_one_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let settings = LogSettings {
            color: Color::Colored,
            file: Some(path.clone()),
            ..settings()
        };
        for message in ["early", "late"] {
            let text = heard(&settings, || tracing::warn!("{message}"));
            assert!(
                text.contains('\u{1b}') && text.contains("+02:00 "),
                "{text}"
            );
        }
        let file = std::fs::read_to_string(&path).unwrap();
        assert_eq!(without_times(&file), ["WARN  early", "WARN  late"]);
        assert!(file.contains("Z WARN"), "{file}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
        let missing = LogSettings {
            file: Some(folder.path().join("missing/log")),
            ..settings
        };
        assert!(refusal(&missing).contains("missing"));
    }

    #[test]
    fn a_terminal_shows_the_time_of_the_bars_and_not_the_run_and_breaks_no_word() {
        let line = LogLine {
            time: "2026-11-23T12:28:01.75Z".parse().unwrap(),
            level: Level::WARN,
            target: "mde_cancel".to_owned(),
            message: "throttled (429) with quota left: another client shares this quota".to_owned(),
            fields: vec![("run", "r1".into()), ("wait", 2.into())],
        };
        let east = || TimeZone::fixed(jiff::tz::offset(1));
        let text = |target| line.text(&target, Color::Plain);
        insta::assert_snapshot!(text(LogTarget::Lines(TimeZone::UTC)), @r#"2026-11-23T12:28:01Z WARN  throttled (429) with quota left: another client shares this quota run=r1 wait="2 s""#);
        insta::assert_snapshot!(text(LogTarget::Lines(east())), @r#"2026-11-23T13:28:01+01:00 WARN  throttled (429) with quota left: another client shares this quota run=r1 wait="2 s""#);
        let narrow = LogTarget::Screen(east(), 40);
        insta::assert_snapshot!(text(narrow.clone()), @r#"
        13:28:01 +01 WARN  throttled (429) with
          quota left: another client shares this
          quota wait="2 s"
        "#);
        let colored = line.text(&narrow, Color::Colored);
        assert!(colored.contains("\u{1b}["));
        assert_eq!(console::strip_ansi_codes(&colored), text(narrow));
    }
}
