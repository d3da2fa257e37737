//! The log: what is said, in which form, and where it goes.
//!
//! Lines go to standard error through the progress, so that they never tear the bars, and to a file where one is named. A
//! line that cannot be written is lost: the log may neither fail nor stop a run. What the run must not lose is in the
//! journal. Whatever the fields hold, a line is one line, and no terminal obeys any of it.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::platform;

use super::progress::Progress;
use super::terminal::{Paint, Tone, stderr_width};
use super::text::{ClockTime, Span, local_zone, visible, wrap};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Returns the filter directives for `-q` and the number of `-v`; the latter wins where both are given.
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
    /// Whether text lines on standard error are coloured.
    pub(super) paint: Paint,
    /// Where the same lines go, too; appended to, and its owner's alone when made new.
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LoggingError {
    #[error("the log is set up already")]
    Again(#[source] TryInitError),
    #[error("log file {} cannot be opened", .path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("log filter `{text}` is not understood")]
    Filter { text: String, source: ParseError },
}

/// Sets the log of this process up, once.
pub(super) fn start_logging(
    settings: &LogSettings,
    progress: &Progress,
) -> Result<(), LoggingError> {
    let mut writer = progress.clone();
    let stderr = move |line: &str| {
        writer.write_all(line.as_bytes()).ok();
    };
    subscriber(settings, stderr_target, stderr)?
        .try_init()
        .map_err(LoggingError::Again)
}

/// Returns where standard error goes now: a window may have changed its width, and the zone its offset.
fn stderr_target() -> LogTarget {
    match stderr_width() {
        // The last column is left free: what stands in it makes some terminals wrap.
        Some(columns) => LogTarget::Screen(local_zone(), usize::from(columns.saturating_sub(1))),
        None => LogTarget::Stream(local_zone()),
    }
}

fn subscriber(
    settings: &LogSettings,
    target: impl Fn() -> LogTarget + Send + Sync + 'static,
    stderr: impl FnMut(&str) + Clone + Send + Sync + 'static,
) -> Result<impl Subscriber + Send + Sync, LoggingError> {
    // Not by spans and their fields, too: that takes a library of regular expressions along.
    let filter: Targets = (settings.filter.parse()).map_err(|source| LoggingError::Filter {
        text: settings.filter.clone(),
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
        target,
        stderr,
        file: settings.file.as_ref().map(open).transpose()?,
    };
    Ok(tracing_subscriber::registry().with(filter).with(lines))
}

/// Turns events into lines and hands them out.
struct Lines<E, W> {
    format: LogFormat,
    paint: Paint,
    target: E,
    stderr: W,
    file: Option<File>,
}

impl<E: Fn() -> LogTarget, W: FnMut(&str) + Clone> Lines<E, W> {
    fn write(&self, line: &LogLine<'_>) {
        let form = |to: &LogTarget, paint| match self.format {
            LogFormat::Json => line.json(),
            LogFormat::Text => line.text(to, paint),
        };
        let mut stderr = self.stderr.clone();
        stderr(&form(&(self.target)(), self.paint));
        if let Some(mut file) = self.file.as_ref() {
            // One call a line: the file is opened for appending, so that lines of two processes never mix.
            file.write_all(form(&LogTarget::File, Paint::Plain).as_bytes())
                .ok();
        }
    }
}

impl<S, E, W> Layer<S> for Lines<E, W>
where
    E: Fn() -> LogTarget + Send + Sync + 'static,
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

/// What stands at the top of each JSON object besides the fields; a field of such a name gets a `_` at its end.
const RESERVED: [&str; 4] = ["time", "level", "message", "target"];

/// The named values of one event, or of a span around it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fields {
    message: String,
    /// What a library that speaks `log` calls its target.
    target: Option<String>,
    values: Vec<(String, Value)>,
}

impl Fields {
    /// Takes over the values of `inner`, which win over ours of the same name.
    fn extend(&mut self, inner: &Fields) {
        for (name, value) in &inner.values {
            self.put(name, value.clone());
        }
    }

    /// Puts the values of what is `around` before ours, which win over them.
    fn within(self, mut around: Fields) -> Fields {
        around.extend(&self);
        Fields {
            values: around.values,
            ..self
        }
    }

    fn put(&mut self, name: &str, value: Value) {
        match self.values.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.values.push((name.to_owned(), value)),
        }
    }

    fn record(&mut self, field: &Field, value: Value) {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        match field.name() {
            "message" => self.message = text(value),
            "log.target" => self.target = Some(text(value)),
            // Where in a library's source a line was written tells our users nothing.
            name if name.starts_with("log.") => {}
            name if RESERVED.contains(&name) => self.put(&format!("{name}_"), value),
            name => self.put(name, value),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, Value::from(visible(&format!("{value:?}"))));
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
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            write!(text, ": {error}").ok();
            cause = error.source();
        }
        self.record_str(field, &text);
    }
}

/// Where a line of text goes.
#[derive(Clone, Debug)]
enum LogTarget {
    /// A file: whole stamps in UTC, for it is read later and elsewhere.
    File,
    /// A program that collects our standard error: whole stamps, in the time that the machine's own log shows.
    Stream(TimeZone),
    /// Somebody at a terminal of so many columns: the time as the bars show it, nothing that is known anyway, and no
    /// word broken.
    Screen(TimeZone, usize),
}

/// The field that names the run: a terminal shows only one.
const RUN: &str = "run";

/// The field that holds a wait in seconds: a number for programs, a span for people.
const WAIT: &str = "wait";

#[derive(Clone, Debug)]
struct LogLine<'event> {
    time: Timestamp,
    level: Level,
    target: &'event str,
    fields: &'event Fields,
}

impl LogLine<'_> {
    /// Returns one JSON object and a line feed.
    fn json(&self) -> String {
        let target = self.target();
        let head = [
            ("time", Value::from(self.time.to_string())),
            ("level", Value::from(self.level.as_str())),
            ("message", Value::from(self.fields.message.as_str())),
            ("target", Value::from(target)),
        ];
        let rest = self.fields.values.iter();
        let rest = rest.map(|(name, value)| (name.as_str(), value.clone()));
        // By hand, for the library's map would sort the names, and people read the time first.
        let members: Vec<_> = head
            .into_iter()
            .chain(rest)
            .map(|(name, value)| format!("{}:{value}", Value::from(name)))
            .collect();
        format!("{{{}}}\n", members.join(","))
    }

    /// Returns `time LEVEL message name=value`, and a line feed.
    fn text(&self, to: &LogTarget, paint: Paint) -> String {
        let time = match to {
            LogTarget::File => format!("{:.0}", self.time),
            LogTarget::Stream(zone) => {
                let time = self.time.to_zoned(zone.clone());
                time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
            }
            LogTarget::Screen(zone, _) => ClockTime::new(self.time, self.time, zone).to_string(),
        };
        let level = format!("{:<5}", self.level.as_str());
        let mut line = format!("{time} {level} {}", self.fields.message);
        for (name, value) in &self.fields.values {
            if name == RUN && matches!(to, LogTarget::Screen(..)) {
                continue;
            }
            let value = match value {
                Value::String(text) => quoted(text),
                Value::Number(seconds) if name == WAIT => wait(seconds),
                other => other.to_string(),
            };
            // Writing to a String cannot fail.
            write!(line, " {name}={value}").ok();
        }
        let mut line = match to {
            LogTarget::Screen(_, columns) => wrap(&line, *columns, 2).join("\n"),
            LogTarget::File | LogTarget::Stream(_) => line,
        };
        line.push('\n');
        // After the layout, which would count the colours as width. The time holds no such word.
        line.replacen(&level, &paint.apply(self.tone(), &level), 1)
    }

    fn tone(&self) -> Tone {
        match self.level {
            Level::ERROR => Tone::Bad,
            Level::WARN => Tone::Caution,
            Level::INFO => Tone::Good,
            Level::DEBUG | Level::TRACE => Tone::Faint,
        }
    }

    fn target(&self) -> &str {
        self.fields.target.as_deref().unwrap_or(self.target)
    }
}

/// Spells a wait, which is in seconds for programs, as people read it.
fn wait(seconds: &serde_json::Number) -> String {
    let seconds = seconds.as_f64().unwrap_or_default();
    let span = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    quoted(&Span(span).to_string())
}

/// Puts quotes around a value that would otherwise read as several.
fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains([' ', '"', '=']) {
        format!("\"{}\"", text.replace('"', "\\\""))
    } else {
        text.to_owned()
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
            filter: directives(0, false).to_owned(),
            paint: Paint::Plain,
            file: None,
        }
    }

    /// Runs `speak` under the settings and returns the lines, without their times.
    fn heard(settings: &LogSettings, speak: impl FnOnce()) -> String {
        let heard = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&heard);
        let stderr = move |line: &str| sink.lock().unwrap().push_str(line);
        let target = || LogTarget::Stream(TimeZone::UTC);
        tracing::subscriber::with_default(subscriber(settings, target, stderr).unwrap(), speak);
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
                filter: directives(verbose, quiet).to_owned(),
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
            filter: "off,hyper=info".to_owned(),
            ..settings()
        };
        assert_eq!(heard(&settings, all_levels).lines().count(), 2);
        settings.filter = "mde_cancel=loud".to_owned();
        let error = subscriber(&settings, stderr_target, |_: &str| {})
            .err()
            .unwrap();
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
        let error = subscriber(&missing, stderr_target, |_: &str| {})
            .err()
            .unwrap();
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

    fn warning(message: &str, values: &[(&str, Value)]) -> Fields {
        let mut fields = Fields {
            message: message.to_owned(),
            ..Fields::default()
        };
        for (name, value) in values {
            fields.put(name, value.clone());
        }
        fields
    }

    fn text(fields: &Fields, target: &LogTarget, paint: Paint) -> String {
        let line = LogLine {
            time: "2026-11-23T12:28:01.75Z".parse().unwrap(),
            level: Level::WARN,
            target: "mde_cancel",
            fields,
        };
        line.text(target, paint)
    }

    fn east() -> TimeZone {
        TimeZone::fixed(jiff::tz::offset(1))
    }

    #[test]
    fn a_terminal_shows_the_time_of_the_bars_and_not_the_run() {
        let fields = warning(
            "it waits",
            &[("run", Value::from("r1")), ("row", Value::from(7))],
        );
        for (target, line) in [
            (
                LogTarget::File,
                "2026-11-23T12:28:01Z WARN  it waits run=r1 row=7\n",
            ),
            (
                LogTarget::Stream(east()),
                "2026-11-23T13:28:01+01:00 WARN  it waits run=r1 row=7\n",
            ),
            (
                LogTarget::Screen(east(), 60),
                "13:28:01 +01 WARN  it waits row=7\n",
            ),
        ] {
            assert_eq!(text(&fields, &target, Paint::Plain), line);
        }
    }

    #[test]
    fn no_word_is_broken_on_a_terminal() {
        let message = "throttled (429) with quota left: another client shares this quota";
        let fields = warning(message, &[("wait", Value::from("2 s"))]);
        let target = LogTarget::Screen(east(), 40);
        insta::assert_snapshot!(text(&fields, &target, Paint::Plain), @r#"
        13:28:01 +01 WARN  throttled (429) with
          quota left: another client shares this
          quota wait="2 s"
        "#);
        let colored = text(&fields, &target, Paint::Colored);
        assert!(colored.contains("\u{1b}["));
        let plain = text(&fields, &target, Paint::Plain);
        assert_eq!(console::strip_ansi_codes(&colored), plain);
    }
}
