//! Durations as people write them in flags, files and selections: one grammar for all.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// Reads a duration such as `90s`, `1h30m`, `7d` or `2w`; a day has 24 hours, whatever the clocks do. `None` for anything
/// else, and for what is negative.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let span: Span = text.trim().parse().ok()?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(span).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_to_weeks_are_read_and_nothing_longer_or_negative() {
        for (text, seconds) in [
            ("30s", 30),
            (" 2m ", 120),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            ("PT1M", 60),
            ("1d", 86_400),
            ("1d12h", 129_600),
            ("2w", 1_209_600),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "30",
            "fast",
            "-5s",
            "-1d",
            "1mo",
            "1 year",
            "\u{0}",
            "99999999999999999999h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
