//! How one sandbox behaves, resolved before it starts.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::SecretString;

use crate::clock::{Clock as _, ManualClock};
use crate::model::{Moment, Uptime, parse_duration};
use crate::quota::{InvalidWindow, Window, Windows};

use super::actions::CancelEffect;
use super::faults::Faults;
use super::generate::Generator;
use super::random;

/// Everything that can be chosen. The default is a service that knows no action, enforces the documented quotas and
/// never fails.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// What each endpoint allows each tenant and app.
    pub quota: Windows,
    /// How long each answer takes.
    pub latency: Latency,
    /// What goes wrong.
    pub faults: Faults,
    /// What latency and faults are drawn from.
    pub seed: u64,
    /// Who may call, and what tokens are handed out.
    pub tokens: TokenSettings,
    /// What a cancel does.
    pub cancels: CancelSettings,
    /// What a release does.
    pub releases: SandboxRelease,
    /// The most records on a page of a list.
    pub page: usize,
    /// The longest path and query that is read; 414 beyond.
    pub url_limit: Option<usize>,
    /// Makes up actions that nobody seeded; without it the service doesn't know them.
    pub unknown_ids: Option<Generator>,
    /// Whether every call is kept for [`Sandbox::log`](super::Sandbox::log), in memory that grows with each.
    pub keeps_calls: bool,
    /// The time.
    pub clock: SandboxClock,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            quota: Windows::documented(),
            latency: Latency::NONE,
            faults: Faults::default(),
            seed: 0,
            tokens: TokenSettings::default(),
            cancels: CancelSettings::default(),
            releases: SandboxRelease::default(),
            page: 10_000,
            url_limit: None,
            unknown_ids: None,
            keeps_calls: true,
            clock: SandboxClock::Real(Instant::now()),
        }
    }
}

impl SandboxSettings {
    /// Returns a service for the first run: believable latency, two 503s, one cancel that is applied without an
    /// answer, a short storm of 429s, one release that is applied
    /// without an answer, some machines that are offline, and the documented quotas with every period divided by `factor`.
    pub fn demo(factor: u32, seed: u64) -> Self {
        let faults = "503@on=cancel,nth=9;503:1s@on=cancel,nth=31;applied-reset@on=cancel,nth=23;\
                      429-storm:2s@on=cancel,after=60,count=4;applied-reset@on=release,nth=3";
        Self {
            quota: Windows::documented().scaled_down(factor),
            latency: Latency::between(Duration::from_millis(40), Duration::from_millis(120)),
            // A test reads this constant.
            faults: Faults::parse(faults).unwrap_or_default(),
            seed,
            unknown_ids: Some(Generator::believable(seed)),
            keeps_calls: false,
            releases: SandboxRelease {
                takes: Duration::from_secs(20) / factor.max(1),
                list_lag: Duration::from_secs(10) / factor.max(1),
                offline_percent: 10,
            },
            ..Self::default()
        }
    }
}

/// Reads `none`, or windows separated by commas (`100/1m,1500/1h`).
pub fn parse_quota(text: &str) -> Result<Windows, InvalidWindow> {
    if text.trim() == "none" {
        return Ok(Windows::none());
    }
    let windows: Result<_, _> = text.split(',').map(Window::parse).collect();
    Ok(Windows::new(windows?))
}

/// How long an answer takes: at least the first, at most the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub fn parse(text: &str) -> Result<Self, InvalidLatency> {
        if text.trim() == "none" {
            return Ok(Self::NONE);
        }
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        match (parse_duration(least), parse_duration(most)) {
            (Some(least), Some(most)) if least <= most => Ok(Self { least, most }),
            _ => Err(InvalidLatency(text.to_owned())),
        }
    }

    /// Returns the latency that random `bits` choose.
    pub(super) fn draw(self, bits: u64) -> Duration {
        if self.least == self.most {
            return self.least;
        }
        let spread = self.most.saturating_sub(self.least);
        self.least + spread.mul_f64(random::fraction(bits))
    }
}

/// Who may call, and what tokens are handed out.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// Takes only tokens that this sandbox handed out, while they are valid, for the right audience and with the right
    /// roles; else any text will do.
    pub strict: bool,
    /// How long a token is valid.
    pub lifetime: Duration,
    /// The one client secret that is right; any is where there is none.
    pub secret: Option<SecretString>,
    /// The only tenants there are; any is where there are none.
    pub tenants: Vec<String>,
    /// What tokens permit.
    pub roles: Vec<String>,
}

impl Default for TokenSettings {
    fn default() -> Self {
        let roles = [
            "Machine.CollectForensics",
            "Machine.Isolate",
            "Machine.LiveResponse",
            "Machine.Offboard",
            "Machine.Read.All",
            "Machine.RestrictExecution",
            "Machine.Scan",
            "Machine.StopAndQuarantine",
        ];
        Self {
            strict: false,
            lifetime: Duration::from_secs(3599),
            secret: None,
            tenants: Vec::new(),
            roles: roles.map(str::to_owned).to_vec(),
        }
    }
}

/// What a cancel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelSettings {
    /// To an open action.
    pub open: CancelEffect,
    /// To a final one.
    pub of_final: FinalAnswer,
}

/// What a release of a machine does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SandboxRelease {
    /// How long a machine takes that is online.
    pub takes: Duration,
    /// How long a new action is in no list.
    pub list_lag: Duration,
    /// How many machines of a hundred are offline, so that their release stays Pending.
    pub offline_percent: u8,
}

/// What a cancel of a final action answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FinalAnswer {
    /// 200 with the record as it is.
    #[default]
    Record,
    /// 200 without a body.
    Empty,
    /// 400.
    BadRequest,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
}

/// The clock by which the sandbox counts windows, delays and stamps.
#[derive(Clone, Debug)]
pub enum SandboxClock {
    /// The machine's clocks; uptimes count from the given instant.
    // Not the program's own clock: a fault in that one would then cancel itself out.
    Real(Instant),
    /// A clock that a test moves.
    Manual(ManualClock),
}

impl SandboxClock {
    pub(super) fn now(&self) -> Moment {
        match self {
            Self::Real(start) => Moment {
                uptime: Uptime::from_nanos(0).after(start.elapsed()),
                wall: Timestamp::now(),
            },
            Self::Manual(clock) => clock.now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_its_faults_and_quotas_read_as_people_write_them() {
        let demo = SandboxSettings::demo(10, 1);
        assert_eq!(demo.faults.len(), 5);
        assert_eq!(demo.quota.to_string(), "100/6s, 1500/6m");
        let quota = parse_quota("100/1m,1500/1h").unwrap();
        assert_eq!(quota, Windows::documented());
        assert!(parse_quota("none").unwrap().is_empty());
        assert!(parse_quota("100/1m,").is_err());
    }

    #[test]
    fn a_latency_is_a_time_or_a_range_and_is_drawn_from_within() {
        for text in ["", "x", "150ms..50ms", "-5ms", "5", "1s..", "..1s"] {
            assert!(Latency::parse(text).is_err(), "{text}");
        }
        let fixed = Latency::parse("50ms").unwrap();
        assert_eq!(fixed.draw(u64::MAX), Duration::from_millis(50));
        assert_eq!(Latency::parse("none").unwrap(), Latency::NONE);
        let range = Latency::parse("50ms..150ms").unwrap();
        for bits in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!((range.least..=range.most).contains(&range.draw(bits)));
        }
    }
}
