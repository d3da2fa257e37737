//! One line of the log, as text or as JSON.
//!
//! Pure. Whatever the fields hold, the result is one line and no terminal obeys any of it.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use tracing::Level;
use tracing::field::{Field, Visit};

use super::terminal::{Paint, Tone};
use super::text::{ClockTime, Span, visible, wrap};

/// What stands at the top of each JSON object besides the fields; a field of such a name gets a `_` at its end.
const RESERVED: [&str; 4] = ["time", "level", "message", "target"];

/// The named values of one event, or of a span around it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fields {
    message: String,
    /// What a library that speaks `log` calls its target.
    target: Option<String>,
    values: Vec<(String, Value)>,
}

impl Fields {
    /// Takes over the values of `inner`, which win over ours of the same name.
    pub(super) fn extend(&mut self, inner: &Fields) {
        for (name, value) in &inner.values {
            self.put(name, value.clone());
        }
    }

    /// Puts the values of what is `around` before ours, which win over them.
    pub(super) fn within(self, mut around: Fields) -> Fields {
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

/// Who reads a line of text.
#[derive(Clone, Debug)]
pub(super) enum Eyes {
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

/// One line of the log.
#[derive(Clone, Debug)]
pub(super) struct LogLine<'event> {
    pub(super) time: Timestamp,
    pub(super) level: Level,
    pub(super) target: &'event str,
    pub(super) fields: &'event Fields,
}

impl LogLine<'_> {
    /// Returns one JSON object and a line feed.
    pub(super) fn json(&self) -> String {
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
    pub(super) fn text(&self, eyes: &Eyes, paint: Paint) -> String {
        let time = match eyes {
            Eyes::File => format!("{:.0}", self.time),
            Eyes::Stream(zone) => {
                let time = self.time.to_zoned(zone.clone());
                time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
            }
            Eyes::Screen(zone, _) => ClockTime::new(self.time, self.time, zone).to_string(),
        };
        let level = format!("{:<5}", self.level.as_str());
        let mut line = format!("{time} {level} {}", self.fields.message);
        for (name, value) in &self.fields.values {
            if name == RUN && matches!(eyes, Eyes::Screen(..)) {
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
        let mut line = match eyes {
            Eyes::Screen(_, columns) => wrap(&line, *columns, 2).join("\n"),
            Eyes::File | Eyes::Stream(_) => line,
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
    use super::*;

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

    fn text(fields: &Fields, eyes: &Eyes, paint: Paint) -> String {
        let line = LogLine {
            time: "2026-11-23T12:28:01.75Z".parse().unwrap(),
            level: Level::WARN,
            target: "mde_cancel",
            fields,
        };
        line.text(eyes, paint)
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
        for (eyes, line) in [
            (
                Eyes::File,
                "2026-11-23T12:28:01Z WARN  it waits run=r1 row=7\n",
            ),
            (
                Eyes::Stream(east()),
                "2026-11-23T13:28:01+01:00 WARN  it waits run=r1 row=7\n",
            ),
            (
                Eyes::Screen(east(), 60),
                "13:28:01 +01 WARN  it waits row=7\n",
            ),
        ] {
            assert_eq!(text(&fields, &eyes, Paint::Plain), line);
        }
    }

    #[test]
    fn no_word_is_broken_on_a_terminal() {
        let message = "throttled (429) with quota left: another client shares this quota";
        let fields = warning(message, &[("wait", Value::from("2 s"))]);
        let eyes = Eyes::Screen(east(), 40);
        insta::assert_snapshot!(text(&fields, &eyes, Paint::Plain), @r#"
        13:28:01 +01 WARN  throttled (429) with
          quota left: another client shares this
          quota wait="2 s"
        "#);
        let colored = text(&fields, &eyes, Paint::Colored);
        assert!(colored.contains("\u{1b}["));
        let plain = text(&fields, &eyes, Paint::Plain);
        assert_eq!(console::strip_ansi_codes(&colored), plain);
    }
}
