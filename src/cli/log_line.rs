//! One line of the log, as text or as JSON.
//!
//! Pure. Whatever the fields hold, the result is one line and no terminal obeys any of it.

use std::error::Error;
use std::fmt;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;
use tracing::Level;
use tracing::field::Field;
use tracing::field::Visit;

use super::terminal::Paint;
use super::terminal::Tone;
use super::text::visible;

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
    pub(super) fn text(&self, paint: Paint) -> String {
        let tone = match self.level {
            Level::ERROR => Tone::Bad,
            Level::WARN => Tone::Caution,
            Level::INFO => Tone::Good,
            Level::DEBUG | Level::TRACE => Tone::Faint,
        };
        let level = paint.apply(tone, &format!("{:<5}", self.level.as_str()));
        let mut line = format!("{:.0} {level} {}", self.time, self.fields.message);
        for (name, value) in &self.fields.values {
            let value = match value {
                Value::String(text) => quoted(text),
                other => other.to_string(),
            };
            // Writing to a String cannot fail.
            write!(line, " {name}={value}").ok();
        }
        line.push('\n');
        line
    }

    fn target(&self) -> &str {
        self.fields.target.as_deref().unwrap_or(self.target)
    }
}

/// Puts quotes around a value that would otherwise read as several.
fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains([' ', '"', '=']) {
        format!("\"{}\"", text.replace('"', "\\\""))
    } else {
        text.to_owned()
    }
}
