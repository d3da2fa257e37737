//! Formats times and lines for people. Numbers, counts and spans come from [`crate::model`], because reports use them
//! too.
//!
//! Time and time zone are arguments; only [`local_zone`] reads them from the machine.

use std::error::Error;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::truncate_line;

/// The longest name shown, in characters: longer than any real host or user.
const NAME_WIDTH: usize = 64;

pub use crate::model::{Count, Number, Span, visible, window_name};

/// Formats a time as seen at another: `14:05:09 CET` on the same day, `2026-11-24 03:14 CET` on another.
pub(super) fn clock_time(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    on_day(at, now, zone, "%H:%M:%S %Z", "%Y-%m-%d %H:%M %Z")
}

/// Formats a time to the minute: `14:05` on the same day, `2026-11-24 03:14` on another.
pub(super) fn day_time(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    on_day(at, now, zone, "%H:%M", "%Y-%m-%d %H:%M")
}

/// Like [`day_time`], with the zone.
pub(super) fn zoned_day_time(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    on_day(at, now, zone, "%H:%M %Z", "%Y-%m-%d %H:%M %Z")
}

fn on_day(at: Timestamp, now: Timestamp, zone: &TimeZone, same: &str, other: &str) -> String {
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let format = if at.date() == now.date() { same } else { other };
    at.strftime(format).to_string()
}

/// Returns the zone's abbreviation at a time: `CET`, `UTC`, `+02`.
pub(super) fn zone_name(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Z").to_string()
}

/// Returns the machine's time zone, or UTC if it can't be read.
pub fn local_zone() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

/// Shortens a name from outside, so that it can't push the rest off the screen.
pub(super) fn short_name(name: &str) -> String {
    truncate_line(name, NAME_WIDTH)
}

/// Returns why something stopped: `stopped by Ctrl-C`, or `stopped: sign-in: ...`.
pub(super) fn stopped(why: &str) -> String {
    let colon = if why.starts_with("by ") { "" } else { ":" };
    format!("stopped{colon} {}", visible(why))
}

/// Wraps `text` at spaces to `columns`, with `indent` before all lines but the first. Longer words stay whole.
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

/// Returns an error with its causes, each once: some libraries repeat a cause in their own text.
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
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(clock_time(now, now, &TimeZone::UTC), "14:05:09 UTC");
        assert_eq!(clock_time(now, now, &east), "16:05:09 +02");
        assert_eq!(clock_time(later, now, &east), "2026-11-24 01:30 +02");
    }

    #[test]
    fn a_time_to_the_minute_names_its_zone() {
        let now: Timestamp = "2026-11-23T14:05:09Z".parse().unwrap();
        let east = TimeZone::fixed(jiff::tz::offset(10));
        assert_eq!(day_time(now, now, &TimeZone::UTC), "14:05");
        assert_eq!(day_time(now, now, &east), "00:05");
        let later: Timestamp = "2026-11-23T23:30:00Z".parse().unwrap();
        let before: Timestamp = "2026-11-23T13:00:00Z".parse().unwrap();
        assert_eq!(zoned_day_time(later, before, &east), "2026-11-24 09:30 +10");
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(zone_name(now, &berlin), "CET");
    }
}
