//! Points in time, as values: nothing here reads a clock.
//!
//! Two clocks are needed. Waiting and counting use [`Uptime`], which no operator can set and which goes on while the
//! machine sleeps. Stamps that people or the service read use wall time. A [`Moment`] is one look at both.

use std::fmt;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp};

/// A point on the suspend-counting clock of one boot, in nanoseconds since that boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uptime(i64);

impl Uptime {
    /// The earliest point there is; a call that ended then has long given its slot back.
    pub const MIN: Uptime = Uptime(i64::MIN);
    /// The latest point there is; nothing waits for it to come.
    pub const MAX: Uptime = Uptime(i64::MAX);

    /// Returns the point `nanos` nanoseconds after the boot; negative before it.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the boot.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Returns the time from `earlier` to this point, or zero where `earlier` is the later one.
    pub fn since(self, earlier: Uptime) -> Duration {
        let nanos = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    /// Returns the point `wait` later; far futures stop at [`Uptime::MAX`].
    #[must_use]
    pub fn after(self, wait: Duration) -> Uptime {
        let nanos = i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX);
        Uptime(self.0.saturating_add(nanos))
    }

    /// Returns the point `span` earlier; far pasts stop at [`Uptime::MIN`].
    #[must_use]
    pub fn before(self, span: Duration) -> Uptime {
        let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        Uptime(self.0.saturating_sub(nanos))
    }
}

/// One look at both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For waiting and counting.
    pub uptime: Uptime,
    /// For stamps that people and the service read.
    pub wall: Timestamp,
}

impl Moment {
    /// Returns the moment `wait` later on both clocks.
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

    /// Returns the wall time at which `uptime` will be reached, if neither clock is set meanwhile.
    pub fn wall_at(self, uptime: Uptime) -> Timestamp {
        let nanos = i128::from(uptime.as_nanos()) - i128::from(self.uptime.as_nanos());
        let span = jiff::SignedDuration::from_nanos_i128(nanos);
        self.wall.checked_add(span).unwrap_or(if nanos > 0 {
            Timestamp::MAX
        } else {
            Timestamp::MIN
        })
    }

    /// Returns the uptime at which the wall clock shows `wall`, if neither clock is set meanwhile.
    pub fn uptime_at(self, wall: Timestamp) -> Uptime {
        let nanos = wall.duration_since(self.wall).as_nanos() + i128::from(self.uptime.as_nanos());
        let clamped = nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Uptime(i64::try_from(clamped).unwrap_or(i64::MAX))
    }
}

/// Names one boot of one machine: uptimes of different boots cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BootId(String);

impl BootId {
    /// Wraps the text by which the platform names this boot.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns that text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
