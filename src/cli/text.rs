//! Small display types: times and lines as people read them, beside the numbers, counts and spans of
//! [`crate::model`], which reports show too.
//!
//! Pure: the time zone and the present are arguments, nothing here looks at the machine but [`local_zone`].

use std::error::Error;
use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::brief;

/// How much of a name is shown, in characters: more than any real host or user takes.
const NAME_WIDTH: usize = 64;

pub use crate::model::{Count, Number, Span, visible, window_name};

/// A point in time as seen at another: `14:05:09 CET` on the same day, `2026-11-24 03:14 CET` on another.
#[derive(Clone, Debug)]
pub struct ClockTime<'zone> {
    at: Timestamp,
    now: Timestamp,
    zone: &'zone TimeZone,
}

impl<'zone> ClockTime<'zone> {
    /// Shows `at` to somebody who lives at `now` in `zone`.
    pub fn new(at: Timestamp, now: Timestamp, zone: &'zone TimeZone) -> Self {
        Self { at, now, zone }
    }
}

impl fmt::Display for ClockTime<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.zone.to_datetime(self.at);
        let today = self.zone.to_datetime(self.now).date();
        let time = at.time();
        if at.date() == today {
            write!(
                f,
                "{:02}:{:02}:{:02}",
                time.hour(),
                time.minute(),
                time.second()
            )?;
        } else {
            write!(f, "{} {:02}:{:02}", at.date(), time.hour(), time.minute())?;
        }
        write!(f, " {}", zone_name(self.at, self.zone))
    }
}

/// Returns a time to the minute as seen at another: `14:05` on the same day, `2026-11-24 03:14` on another.
pub(super) fn day_time(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (at, today) = (zone.to_datetime(at), zone.to_datetime(now).date());
    let format = if at.date() == today {
        "%H:%M"
    } else {
        "%Y-%m-%d %H:%M"
    };
    at.strftime(format).to_string()
}

/// Returns what the zone calls itself at a time: `CET`, `UTC`, `+02`.
pub(super) fn zone_name(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Z").to_string()
}

/// Returns the machine's time zone, or UTC where it tells none.
pub fn local_zone() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

/// Returns a name that somebody else chose, cut so that it can't push the rest off the screen.
pub(super) fn short_name(name: &str) -> String {
    brief(name, NAME_WIDTH)
}

/// Returns why something stopped as what stopped it: `stopped by Ctrl-C`, or `stopped: sign-in: ...`.
pub(super) fn stopped(why: &str) -> String {
    let colon = if why.starts_with("by ") { "" } else { ":" };
    format!("stopped{colon} {}", visible(why))
}

/// Breaks `text` at blanks into lines of at most `columns`, the later ones indented; a longer word stays whole.
pub(super) fn wrap(text: &str, columns: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let fits =
            console::measure_text_width(&line) + 1 + console::measure_text_width(word) <= columns;
        if line.trim().is_empty() {
            line.push_str(word);
        } else if fits {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent) + word));
        }
    }
    lines.push(line);
    lines
}

/// Returns an error with its causes, each once: some libraries repeat a cause in the text of what it caused.
pub(super) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_name_the_day_only_where_it_is_another() {
        let now: Timestamp = "2026-11-23T14:05:09Z".parse().unwrap();
        let later: Timestamp = "2026-11-23T23:30:00Z".parse().unwrap();
        assert_eq!(
            ClockTime::new(now, now, &TimeZone::UTC).to_string(),
            "14:05:09 UTC"
        );
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(ClockTime::new(now, now, &east).to_string(), "16:05:09 +02");
        assert_eq!(
            ClockTime::new(later, now, &east).to_string(),
            "2026-11-24 01:30 +02"
        );
    }

    #[test]
    fn a_time_to_the_minute_names_its_zone() {
        let now: Timestamp = "2026-11-23T14:05:09Z".parse().unwrap();
        let east = TimeZone::fixed(jiff::tz::offset(10));
        assert_eq!(day_time(now, now, &TimeZone::UTC), "14:05");
        assert_eq!(day_time(now, now, &east), "00:05");
        let later: Timestamp = "2026-11-23T23:30:00Z".parse().unwrap();
        assert_eq!(
            day_time(later, "2026-11-23T13:00:00Z".parse().unwrap(), &east),
            "2026-11-24 09:30"
        );
        assert_eq!(zone_name(now, &TimeZone::UTC), "UTC");
        assert_eq!(zone_name(now, &east), "+10");
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(zone_name(now, &berlin), "CET");
    }
}
