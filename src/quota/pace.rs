//! An even rate, as flags spell it.

use std::fmt;
use std::time::Duration;

use super::window::{InvalidWindow, Window};

/// So many calls per period, evenly spread: one each [`Pace::interval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(Window);

/// Why a text is no pace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPace {
    /// Neither the word nor a rate.
    #[error("pace `{text}` is neither `none` nor a rate such as 50/s")]
    NotARate {
        /// What was written.
        text: String,
        /// What is wrong with it as a rate.
        #[source]
        source: InvalidWindow,
    },
}

impl Pace {
    /// Returns the pace that lets a whole `window` leave in one of its periods.
    pub const fn new(window: Window) -> Self {
        Self(window)
    }

    /// Reads `N/DURATION`, or `none` for no pace at all.
    ///
    /// # Errors
    /// Returns what is wrong with the text.
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidPace> {
        if text.trim().eq_ignore_ascii_case("none") {
            return Ok(None);
        }
        match Window::parse(text) {
            Ok(window) => Ok(Some(Self(window))),
            Err(source) => Err(InvalidPace::NotARate {
                text: text.to_owned(),
                source,
            }),
        }
    }

    /// Returns the time between two calls, rounded up to the nanosecond so that the rate is never exceeded.
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
