//! Quota windows (a limit and a period), lists of them, and paces.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use crate::model::parse_duration;

/// At most `limit` calls in any interval of length `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub limit: NonZeroU32,
    pub period: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindow {
    #[error("`{0}` is not of the form N/DURATION, for example 100/1m or 1500/1h")]
    Form(String),
    #[error("`{0}` allows no call at all")]
    Zero(String),
    #[error("the period of `{0}` must be between one millisecond and 24 hours")]
    Period(String),
}

impl Window {
    /// Returns the quota named in a 429, if plausible: at most an hour, and at least a tenth of the documented quota
    /// for that time. A single odd text must not stall runs for a day.
    pub fn named(limit: u32, period: Duration) -> Option<Self> {
        let hour = Duration::from_secs(3600);
        let limit = NonZeroU32::new(limit)?;
        let documented = (period.as_secs_f64() / 60.0 * 100.0).min(1500.0);
        let is_believable = f64::from(limit.get()) * 10.0 >= documented;
        (period >= Duration::from_millis(1) && period <= hour && is_believable)
            .then_some(Self { limit, period })
    }

    /// Returns how long a slot stays taken after the reply: the period plus 0.1 %, because the service's clock may be
    /// slower.
    pub fn hold(&self) -> Duration {
        self.period + self.period / 1000
    }

    /// Parses `N/DURATION`, for example `100/1m`, `1500/1h` or `100/6s`.
    pub fn parse(text: &str) -> Result<Self, InvalidWindow> {
        let form = || InvalidWindow::Form(text.to_owned());
        let (limit, period) = text.trim().split_once('/').ok_or_else(form)?;
        let limit: u32 = limit.trim().parse().map_err(|_| form())?;
        let limit = NonZeroU32::new(limit).ok_or_else(|| InvalidWindow::Zero(text.to_owned()))?;
        let period = parse_period(period.trim()).ok_or_else(form)?;
        if period < Duration::from_millis(1) || period > Duration::from_secs(24 * 3600) {
            return Err(InvalidWindow::Period(text.to_owned()));
        }
        Ok(Self { limit, period })
    }
}

fn parse_period(text: &str) -> Option<Duration> {
    // Also accept `100/m`.
    let spelled = match text {
        "s" | "m" | "h" | "min" | "hour" | "minute" | "second" => format!("1{text}"),
        other => other.to_owned(),
    };
    parse_duration(&spelled)
}

impl FromStr for Window {
    type Err = InvalidWindow;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = SignedDuration::try_from(self.period).unwrap_or(SignedDuration::MAX);
        write!(f, "{}/{period:#}", self.limit)
    }
}

/// The windows of a scope. Every call must fit all of them; an empty list means no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

impl Windows {
    pub fn new(windows: Vec<Window>) -> Self {
        Self(windows)
    }

    /// No limit: for tests, and to measure overhead.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The documented quota of each destination: 100 a minute and 1500 an hour (MDE `cancel-machine-action.md`).
    pub fn documented() -> Self {
        Self::of(&[(100, 60), (1500, 3600)])
    }

    /// Half the documented quota, for reads: other clients of the app poll the same endpoints.
    pub fn half_of_documented() -> Self {
        Self::of(&[(50, 60), (750, 3600)])
    }

    fn of(pairs: &[(u32, u64)]) -> Self {
        Self(
            pairs
                .iter()
                .filter_map(|&(limit, seconds)| {
                    Some(Window {
                        limit: NonZeroU32::new(limit)?,
                        period: Duration::from_secs(seconds),
                    })
                })
                .collect(),
        )
    }

    pub fn as_slice(&self) -> &[Window] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how long a slot stays taken in the longest window.
    pub fn longest_hold(&self) -> Duration {
        self.0.iter().map(Window::hold).max().unwrap_or_default()
    }

    /// Adopts a limit that the service named, if it is lower than ours or its period is new. Returns whether anything
    /// changed.
    pub fn adopt(&mut self, limit: NonZeroU32, period: Duration) -> bool {
        match self.0.iter_mut().find(|window| window.period == period) {
            Some(window) if window.limit > limit => {
                window.limit = limit;
                true
            }
            Some(_) => false,
            None => {
                self.0.push(Window { limit, period });
                true
            }
        }
    }

    /// Divides every period by `factor`, for the sandbox's fast clock.
    #[must_use]
    pub fn scaled_down(&self, factor: u32) -> Self {
        Self(
            self.0
                .iter()
                .map(|window| Window {
                    limit: window.limit,
                    period: window.period / factor.max(1),
                })
                .collect(),
        )
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (position, window) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            window.fmt(f)?;
        }
        Ok(())
    }
}

/// An even rate: one call per [`Pace::interval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(Window);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a rate such as 50/s, or `none`")]
pub struct InvalidPace;

impl Pace {
    /// Spreads the calls of `window` evenly over its period.
    pub const fn new(window: Window) -> Self {
        Self(window)
    }

    /// Parses `N/DURATION`, or `none` for no pace.
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidPace> {
        if text.trim().eq_ignore_ascii_case("none") {
            return Ok(None);
        }
        let window = Window::parse(text).map_err(|_| InvalidPace)?;
        Ok(Some(Self(window)))
    }

    /// Returns the time between two calls, rounded up to a nanosecond so that the rate is never exceeded.
    pub fn interval(&self) -> Duration {
        let nanos = self
            .0
            .period
            .as_nanos()
            .div_ceil(u128::from(self.0.limit.get()));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_read_as_people_write_them() {
        for (text, limit, seconds) in [
            ("100/1m", 100, 60.0),
            ("1500/1h", 1500, 3600.0),
            (" 100 / 6s ", 100, 6.0),
            ("100/m", 100, 60.0),
            ("10/500ms", 10, 0.5),
        ] {
            let window = Window::parse(text).unwrap();
            assert_eq!(window.limit.get(), limit, "{text}");
            assert!(
                (window.period.as_secs_f64() - seconds).abs() < 1e-9,
                "{text}"
            );
        }
        for text in [
            "", "100", "x/1m", "100/", "100/x", "-1/1m", "100/0s", "100/25h", "100/-1m", "0/1m",
        ] {
            assert!(Window::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_far_below_the_documented_one_or_for_more_than_an_hour_is_not_believed() {
        let named = |text: &str| {
            let window = Window::parse(text).unwrap();
            Window::named(window.limit.get(), window.period) == Some(window)
        };
        for text in [
            "10/1m", "45/1m", "1/1s", "5/10s", "150/1h", "100/10m", "2000/1h",
        ] {
            assert!(named(text), "{text}");
        }
        for text in ["9/1m", "1/1m", "149/1h", "99/10m", "1/24h", "1500/2h"] {
            assert!(!named(text), "{text}");
        }
    }

    #[test]
    fn a_window_prints_as_it_is_read() {
        assert_eq!(Windows::documented().to_string(), "100/1m, 1500/1h");
        assert_eq!(Windows::none().to_string(), "none");
    }

    #[test]
    fn only_a_smaller_allowance_is_adopted() {
        let mut windows = Windows::documented();
        let minute = Duration::from_secs(60);
        assert!(!windows.adopt(NonZeroU32::new(100).unwrap(), minute));
        assert!(!windows.adopt(NonZeroU32::new(400).unwrap(), minute));
        assert!(windows.adopt(NonZeroU32::new(45).unwrap(), minute));
        assert_eq!(windows.to_string(), "45/1m, 1500/1h");
        assert!(windows.adopt(NonZeroU32::new(10).unwrap(), Duration::from_secs(1)));
        assert_eq!(windows.to_string(), "45/1m, 1500/1h, 10/1s");
    }
}

#[cfg(test)]
mod pace_tests {
    use super::*;

    #[test]
    fn a_pace_reads_as_people_write_it_and_prints_as_it_is_read() {
        let pace = Pace::parse("50/s").unwrap().unwrap();
        assert_eq!(pace.interval(), Duration::from_millis(20));
        assert_eq!(Pace::parse(&pace.to_string()), Ok(Some(pace)));
        assert_eq!(Pace::parse(" None "), Ok(None));
        for text in ["", "50", "fast", "0/s", "50/0s"] {
            assert!(Pace::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_interval_that_does_not_divide_is_rounded_up() {
        let pace = Pace::parse("3/s").unwrap().unwrap();
        assert_eq!(pace.interval(), Duration::from_nanos(333_333_334));
    }
}
