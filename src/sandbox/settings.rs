//! How one sandbox behaves, resolved before it starts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

use crate::quota::{InvalidWindow, Window, Windows};

use super::call::CallKind;
use super::mix::Mix;
use super::record::CancelEffect;
use super::rule::Faults;
use super::span::Latency;
use super::time::SandboxClock;

/// Everything that can be chosen. The default is a service that knows no action, enforces the documented quotas and
/// never fails.
#[derive(Clone, Debug, Default)]
pub struct SandboxSettings {
    /// The allowances.
    pub quota: QuotaSettings,
    /// How long each answer takes.
    pub latency: Latency,
    /// What goes wrong.
    pub faults: Faults,
    /// What the dice of latency and faults start from.
    pub seed: u64,
    /// Who may call, and what tokens are handed out.
    pub tokens: TokenSettings,
    /// What a cancel does.
    pub cancels: CancelSettings,
    /// How lists behave.
    pub lists: ListSettings,
    /// What an id is that nobody seeded; without a mix it is unknown to the service.
    pub unknown_ids: Option<Mix>,
    /// Whether calls are remembered.
    pub memory: CallMemory,
    /// The time.
    pub clock: SandboxClock,
}

impl SandboxSettings {
    /// Returns a service for the first run: believable latency, two 503s, one cancel that is applied without an
    /// answer, a short storm of 429s, and the documented quotas with every period divided by `factor`.
    pub fn demo(factor: u32, seed: u64) -> Self {
        let faults = "503@on=cancel,nth=9;503:1s@on=cancel,nth=31;applied-reset@on=cancel,nth=23;\
                      429-storm:2s@on=cancel,after=60,count=4";
        Self {
            quota: QuotaSettings::same_for_all(Windows::documented().scaled_down(factor)),
            latency: Latency::between(Duration::from_millis(40), Duration::from_millis(120)),
            // The text is a constant that a test reads; a mistake in it would cost the demo its mishaps, no more.
            faults: Faults::parse(faults).unwrap_or_default(),
            seed,
            unknown_ids: Some(Mix::believable(seed)),
            ..Self::default()
        }
    }
}

/// Whether calls are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallMemory {
    /// Every call, until the sandbox ends.
    #[default]
    Kept,
    /// None: for measuring and for long runs.
    Off,
}

/// Whether reading single actions has an allowance of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// It has.
    #[default]
    Separate,
    /// Reads of one action take room in the cancels' windows.
    GetWithCancel,
}

/// Whether a refused call takes room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefusedCalls {
    /// It takes none.
    #[default]
    Free,
    /// It takes room as any other.
    Counted,
}

/// In what form a 429 says when to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryAfterForm {
    /// In whole seconds, at least one.
    #[default]
    Seconds,
    /// As a date.
    HttpDate,
    /// Not at all; the text still has its hint.
    Absent,
    /// In a thousand million seconds, as a broken gateway might.
    Absurd,
}

/// The allowances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaSettings {
    /// For cancels.
    pub cancel: Windows,
    /// For reads of one action, and of machines.
    pub get: Windows,
    /// For lists.
    pub list: Windows,
    /// Which of them are one.
    pub sharing: Sharing,
    /// What refused calls cost.
    pub refused_calls: RefusedCalls,
    /// How a refusal says when to come back.
    pub retry_after: RetryAfterForm,
}

impl QuotaSettings {
    /// Returns the same windows for every endpoint, each counted apart.
    pub fn same_for_all(windows: Windows) -> Self {
        Self {
            cancel: windows.clone(),
            get: windows.clone(),
            list: windows,
            sharing: Sharing::Separate,
            refused_calls: RefusedCalls::Free,
            retry_after: RetryAfterForm::Seconds,
        }
    }

    /// Reads `none`, or windows parted by commas (`100/1m,1500/1h`) that hold for every endpoint.
    ///
    /// # Errors
    /// Returns the window that cannot be used.
    pub fn parse(text: &str) -> Result<Self, InvalidWindow> {
        let windows = match text.trim() {
            "none" => Windows::none(),
            list => Windows::new(
                list.split(',')
                    .map(Window::parse)
                    .collect::<Result<_, _>>()?,
            ),
        };
        Ok(Self::same_for_all(windows))
    }

    pub(super) fn windows(&self, kind: CallKind) -> &[Window] {
        match kind {
            CallKind::Cancel => self.cancel.as_slice(),
            CallKind::Get | CallKind::Machine => self.get.as_slice(),
            CallKind::List => self.list.as_slice(),
            CallKind::Token => &[],
        }
    }
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self::same_for_all(Windows::documented())
    }
}

impl FromStr for QuotaSettings {
    type Err = InvalidWindow;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for QuotaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.get == self.cancel && self.list == self.cancel {
            self.cancel.fmt(f)
        } else {
            write!(
                f,
                "cancel {}; get {}; list {}",
                self.cancel, self.get, self.list
            )
        }
    }
}

/// Which tokens are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenCheck {
    /// Any text.
    #[default]
    Any,
    /// Only what this sandbox handed out, while it is valid, for the right audience, with the right roles.
    Strict,
}

/// Who may call, and what tokens are handed out.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// Which tokens are taken.
    pub check: TokenCheck,
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
            check: TokenCheck::Any,
            lifetime: Duration::from_secs(3599),
            secret: None,
            tenants: Vec::new(),
            roles: roles.map(str::to_owned).to_vec(),
        }
    }
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
    /// 200 with the record turned Cancelled, whatever it was.
    Overwritten,
}

/// What a cancel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelSettings {
    /// To an open action.
    pub open: CancelEffect,
    /// To a final one.
    pub of_final: FinalAnswer,
}

/// How lists behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSettings {
    /// How long an action that was just added is missing from lists.
    pub lag: Duration,
    /// How many records a page holds at most.
    pub page: usize,
    /// The longest path and query that is read; 414 beyond.
    pub url_limit: Option<usize>,
    /// The host to which a `nextLink` points, with its scheme; the caller's own where there is none.
    pub next_link_host: Option<String>,
}

impl Default for ListSettings {
    fn default() -> Self {
        Self {
            lag: Duration::ZERO,
            page: 10_000,
            url_limit: None,
            next_link_host: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_goes_wrong_in_all_the_ways_it_promises() {
        let demo = SandboxSettings::demo(10, 1);
        assert_eq!(demo.faults.as_slice().len(), 4);
        assert_eq!(demo.quota.to_string(), "100/6s, 1500/6m");
    }

    #[test]
    fn quotas_read_as_people_write_them() {
        assert_eq!(
            QuotaSettings::parse("100/1m,1500/1h").unwrap(),
            QuotaSettings::default()
        );
        assert!(QuotaSettings::parse("none").unwrap().cancel.is_empty());
        assert!(QuotaSettings::parse("100/1m,").is_err());
    }
}
