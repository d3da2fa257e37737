//! Settings of a sandbox.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::SecretString;

use crate::clock::Clock;
use crate::model::{Moment, Uptime, parse_duration};
use crate::quota::{InvalidWindow, Window, Windows};

use super::actions::CancelEffect;
use super::faults::Faults;
use super::generate::Generator;
use super::random;

/// All settings. The default is a service without actions that enforces the documented quotas and never fails.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// The quota of each endpoint, per tenant and app.
    pub quota: Windows,
    pub latency: Latency,
    pub faults: Faults,
    /// For random latency and faults.
    pub seed: u64,
    pub tokens: TokenSettings,
    pub cancels: CancelSettings,
    pub releases: SandboxRelease,
    /// The most records on a page of a list.
    pub page: usize,
    /// Generates unknown actions; without it, the service doesn't know them.
    pub unknown_ids: Option<Generator>,
    /// Whether [`Sandbox::log`](super::Sandbox::log) keeps every call in memory.
    pub keeps_calls: bool,
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
            unknown_ids: None,
            keeps_calls: true,
            clock: SandboxClock::Real(Instant::now()),
        }
    }
}

impl SandboxSettings {
    /// Returns settings for the first run: realistic latency, some 503s and 429s, a cancel and a release that are
    /// applied without a response, some offline machines, and the documented quotas with every period divided by
    /// `factor`.
    pub fn demo(factor: u32, seed: u64) -> Self {
        let faults = "503@on=cancel,nth=9;503:1s@on=cancel,nth=31;applied-reset@on=cancel,nth=23;\
                      429-storm:2s@on=cancel,after=60,count=4;applied-reset@on=release,nth=3";
        Self {
            quota: Windows::documented().scaled_down(factor),
            latency: Latency::between(Duration::from_millis(40), Duration::from_millis(120)),
            // A test parses this constant.
            faults: Faults::parse(faults).unwrap_or_default(),
            seed,
            unknown_ids: Some(Generator::realistic(seed)),
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

/// Parses `none`, or windows separated by commas (`100/1m,1500/1h`).
pub fn parse_quota(text: &str) -> Result<Windows, InvalidWindow> {
    if text.trim() == "none" {
        return Ok(Windows::none());
    }
    let windows: Result<_, _> = text.split(',').map(Window::parse).collect();
    Ok(Windows::new(windows?))
}

/// The range of response times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    least: Duration,
    most: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a latency, for example 50ms, 50ms..150ms or none")]
pub struct InvalidLatency(String);

impl Latency {
    pub const NONE: Latency = Latency {
        least: Duration::ZERO,
        most: Duration::ZERO,
    };

    /// Accepts the bounds in any order.
    pub fn between(one: Duration, other: Duration) -> Self {
        Self {
            least: one.min(other),
            most: one.max(other),
        }
    }

    /// Parses `none`, `50ms` or `50ms..150ms`.
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

    /// Chooses the latency for random `bits`.
    pub(super) fn draw(self, bits: u64) -> Duration {
        if self.least == self.most {
            return self.least;
        }
        let spread = self.most.saturating_sub(self.least);
        self.least + spread.mul_f64(random::fraction(bits))
    }
}

#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// Accepts only valid tokens of this sandbox with the right audience and roles; otherwise any text.
    pub strict: bool,
    pub lifetime: Duration,
    /// The only accepted client secret; `None` accepts any.
    pub secret: Option<SecretString>,
    /// The only existing tenants; if empty, any exists.
    pub tenants: Vec<String>,
    /// The permissions of issued tokens.
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

/// The effects of a cancel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelSettings {
    pub open: CancelEffect,
    pub of_final: FinalCancelAnswer,
}

/// The effects of a release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SandboxRelease {
    /// How long an online machine takes.
    pub takes: Duration,
    /// How long lists omit a new action.
    pub list_lag: Duration,
    /// The percentage of offline machines, whose release stays Pending.
    pub offline_percent: u8,
}

/// The response to a cancel of a final action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FinalCancelAnswer {
    /// 200 with the unchanged record.
    #[default]
    Record,
    /// 200 without a body.
    Empty,
    BadRequest,
    NotFound,
    Conflict,
}

/// The sandbox's clock for windows, delays and timestamps.
#[derive(Clone, Debug)]
pub enum SandboxClock {
    /// The machine's clocks; uptimes count from the given instant.
    // Not the program's own clock, in which a mistake would then go unnoticed.
    Real(Instant),
    /// A clock that a test advances.
    Manual(Arc<dyn Clock>),
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
