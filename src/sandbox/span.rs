//! Lengths of time as text, and the latency that is drawn from two of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use super::dice;

/// Reads `50ms`, `2s` or `1h30m`; `None` for anything else and for what is negative.
pub(super) fn parse_span(text: &str) -> Option<Duration> {
    Duration::try_from(SignedDuration::from_str(text.trim()).ok()?).ok()
}

/// Prints what [`parse_span`] reads.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        write!(f, "{signed:#}")
    }
}

/// How long an answer takes: at least the first, at most the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    least: Duration,
    most: Duration,
}

/// A text that is no latency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a latency, for example 50ms, 50ms..150ms or none")]
pub struct InvalidLatency(String);

impl Latency {
    /// No latency at all.
    pub const NONE: Latency = Latency {
        least: Duration::ZERO,
        most: Duration::ZERO,
    };

    /// Returns a latency between the two, whichever is the longer.
    pub fn between(one: Duration, other: Duration) -> Self {
        Self {
            least: one.min(other),
            most: one.max(other),
        }
    }

    /// Reads `none`, `50ms` or `50ms..150ms`.
    ///
    /// # Errors
    /// Returns the text where it is none of these.
    pub fn parse(text: &str) -> Result<Self, InvalidLatency> {
        let wrong = || InvalidLatency(text.to_owned());
        if text.trim() == "none" {
            return Ok(Self::NONE);
        }
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let least = parse_span(least).ok_or_else(wrong)?;
        let most = parse_span(most).ok_or_else(wrong)?;
        if least > most {
            return Err(wrong());
        }
        Ok(Self { least, most })
    }

    /// Returns the length that the dice `bits` choose.
    pub(super) fn draw(self, bits: u64) -> Duration {
        if self.least == self.most {
            return self.least;
        }
        let spread = self.most.saturating_sub(self.least);
        self.least + spread.mul_f64(dice::fraction(bits))
    }
}

impl FromStr for Latency {
    type Err = InvalidLatency;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            f.write_str("none")
        } else if self.least == self.most {
            Span(self.least).fmt(f)
        } else {
            write!(f, "{}..{}", Span(self.least), Span(self.most))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_reads_what_it_prints() {
        for text in ["none", "50ms", "50ms..150ms", "1m 30s..2m"] {
            assert_eq!(Latency::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "x", "150ms..50ms", "-5ms", "5", "1s..", "..1s"] {
            assert!(Latency::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_drawn_stays_between_the_ends() {
        let latency = Latency::parse("50ms..150ms").unwrap();
        for bits in [0, 1, u64::MAX / 2, u64::MAX] {
            let drawn = latency.draw(bits);
            assert!(drawn >= latency.least && drawn <= latency.most);
        }
        assert_eq!(Latency::NONE.draw(u64::MAX), Duration::ZERO);
    }
}
