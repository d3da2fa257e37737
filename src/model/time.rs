//! Points in time as values; nothing here reads a clock.
//!
//! [`Uptime`] is for waiting and counting: nobody can set it, and it advances during suspend. Wall time is for
//! timestamps that people or the service read. A [`Moment`] is a reading of both.

use std::fmt;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp};

/// Nanoseconds since boot, including suspend. Comparable only within one boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uptime(i64);

impl Uptime {
    /// The earliest point; the quota slot of a call that ended then is free.
    pub const MIN: Uptime = Uptime(i64::MIN);
    /// The latest point, which is never reached.
    pub const MAX: Uptime = Uptime(i64::MAX);

    /// `nanos` may be negative: before the boot.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later.
    pub fn since(self, earlier: Uptime) -> Duration {
        let nanos = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    /// Saturates at [`Uptime::MAX`].
    #[must_use]
    pub fn after(self, wait: Duration) -> Uptime {
        let nanos = i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX);
        Uptime(self.0.saturating_add(nanos))
    }

    /// Saturates at [`Uptime::MIN`].
    #[must_use]
    pub fn before(self, span: Duration) -> Uptime {
        let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        Uptime(self.0.saturating_sub(nanos))
    }
}

/// A reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For waiting and counting.
    pub uptime: Uptime,
    /// For timestamps that people and the service read.
    pub wall: Timestamp,
}

impl Moment {
    /// Advances both clocks by `wait`.
    #[must_use]
    pub fn after(self, wait: Duration) -> Moment {
        let wall = jiff::SignedDuration::try_from(wait)
            .ok()
            .and_then(|wait| self.wall.checked_add(wait).ok())
            .unwrap_or(Timestamp::MAX);
        Moment {
            uptime: self.uptime.after(wait),
            wall,
        }
    }

    /// Converts to wall time, assuming that neither clock is set meanwhile.
    pub fn wall_at(self, uptime: Uptime) -> Timestamp {
        let nanos = i128::from(uptime.as_nanos()) - i128::from(self.uptime.as_nanos());
        let span = jiff::SignedDuration::from_nanos_i128(nanos);
        self.wall.checked_add(span).unwrap_or(if nanos > 0 {
            Timestamp::MAX
        } else {
            Timestamp::MIN
        })
    }

    /// Converts to uptime, assuming that neither clock is set meanwhile.
    pub fn uptime_at(self, wall: Timestamp) -> Uptime {
        let nanos = wall.duration_since(self.wall).as_nanos() + i128::from(self.uptime.as_nanos());
        let clamped = nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Uptime(i64::try_from(clamped).unwrap_or(i64::MAX))
    }
}

/// Identifies one boot of a machine: uptimes of different boots cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BootId(String);

impl BootId {
    /// Takes the platform's name of this boot.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parses a duration such as `90s`, `1h30m`, `7d` or `2w`. A day always has 24 hours. Returns `None` for anything else
/// and for negative durations.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let span: Span = text.trim().parse().ok()?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(span).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_never_go_below_zero_and_sums_never_wrap() {
        let early = Uptime::from_nanos(5);
        let late = early.after(Duration::from_nanos(7));
        assert_eq!(late.since(early), Duration::from_nanos(7));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.after(Duration::MAX), Uptime::MAX);
        assert_eq!(Uptime::MIN.before(Duration::MAX), Uptime::MIN);
        assert!(Uptime::MAX.since(Uptime::MIN) > Duration::from_secs(3600));
    }

    #[test]
    fn a_moment_translates_between_its_clocks() {
        let now = Moment {
            uptime: Uptime::from_nanos(1_000_000_000),
            wall: Timestamp::UNIX_EPOCH,
        };
        let later = now.after(Duration::from_secs(90));
        assert_eq!(now.wall_at(later.uptime), later.wall);
        assert_eq!(now.uptime_at(later.wall), later.uptime);
        assert_eq!(now.wall_at(Uptime::MAX), now.wall_at(Uptime::MAX));
        assert_eq!(now.after(Duration::MAX).wall, Timestamp::MAX);
    }
}

#[cfg(test)]
mod duration_tests {
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
