//! Formats numbers, counts and durations for people, on the terminal and in reports. Independent of locale and time
//! zone.

use std::fmt;
use std::time::Duration;

/// A number with thousands separators: `1,204`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// A number with a noun: `1 action`, `1,500 actions`, `2 retries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<'noun> {
    number: u64,
    noun: &'noun str,
}

impl<'noun> Count<'noun> {
    /// `noun` is the singular; the plural is derived.
    pub fn new(number: u64, noun: &'noun str) -> Self {
        Self { number, noun }
    }
}

impl fmt::Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", Number(self.number))?;
        if self.number == 1 {
            return f.write_str(self.noun);
        }
        match self.noun.strip_suffix('y') {
            Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => write!(f, "{stem}ies"),
            _ => write!(f, "{}s", self.noun),
        }
    }
}

/// A duration such as `0.3 s`, `12 s`, `2 min 05 s`, `3 h 04 min` or `1 d 02 h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Round before choosing the unit, so that 59.7 s becomes `1 min 00 s` and never `60 s`.
        let millis = self.0.as_millis();
        let tenths = millis.saturating_add(50) / 100;
        let seconds = millis.saturating_add(500) / 1000;
        let minutes = millis.saturating_add(30_000) / 60_000;
        let hours = millis.saturating_add(1_800_000) / 3_600_000;
        let text = if tenths < 10 && tenths > 0 {
            format!("0.{tenths} s")
        } else if seconds < 60 {
            format!("{seconds} s")
        } else if seconds < 3600 {
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        } else if minutes < 24 * 60 {
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        } else {
            format!("{} d {:02} h", hours / 24, hours % 24)
        };
        f.pad(&text)
    }
}

/// Says how often something happened.
pub fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// Names a quota window as it follows "per": `minute`, `hour`, `6 s`, `6 min` or `2 h`.
pub fn window_name(period: Duration) -> String {
    match (period.as_secs(), period.subsec_nanos()) {
        (1, 0) => "second".to_owned(),
        (60, 0) => "minute".to_owned(),
        (3600, 0) => "hour".to_owned(),
        (86_400, 0) => "day".to_owned(),
        (seconds, 0) if seconds > 0 && seconds.is_multiple_of(3600) => {
            format!("{} h", seconds / 3600)
        }
        (seconds, 0) if seconds > 0 && seconds.is_multiple_of(60) => {
            format!("{} min", seconds / 60)
        }
        _ => Span(period).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_set_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(Number(number).to_string(), text);
        }
        assert_eq!(format!("{:>6}|", Number(1204)), " 1,204|");
    }

    #[test]
    fn counts_agree_with_their_nouns() {
        for (number, noun, text) in [
            (0, "action", "0 actions"),
            (1, "action", "1 action"),
            (1500, "action", "1,500 actions"),
            (1, "retry", "1 retry"),
            (2, "retry", "2 retries"),
            (2, "day", "2 days"),
        ] {
            assert_eq!(Count::new(number, noun).to_string(), text);
        }
    }

    #[test]
    fn spans_round_into_the_next_unit_and_never_overflow_one() {
        for (millis, text) in [
            (0, "0 s"),
            (49, "0 s"),
            (300, "0.3 s"),
            (960, "1 s"),
            (12_000, "12 s"),
            (59_700, "1 min 00 s"),
            (125_000, "2 min 05 s"),
            (3_599_600, "1 h 00 min"),
            (11_040_000, "3 h 04 min"),
            (86_399_000, "1 d 00 h"),
            (93_600_000, "1 d 02 h"),
        ] {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text);
        }
        assert!(Span(Duration::MAX).to_string().ends_with(" h"));
    }

    #[test]
    fn windows_are_named_by_their_period() {
        assert_eq!(window_name(Duration::from_secs(60)), "minute");
        assert_eq!(window_name(Duration::from_secs(3600)), "hour");
        assert_eq!(window_name(Duration::from_secs(6)), "6 s");
        assert_eq!(window_name(Duration::from_secs(360)), "6 min");
        assert_eq!(window_name(Duration::from_secs(7200)), "2 h");
        assert_eq!(window_name(Duration::from_secs(90)), "1 min 30 s");
        assert_eq!(window_name(Duration::ZERO), "0 s");
        assert_eq!(window_name(Duration::from_millis(600)), "0.6 s");
    }
}
