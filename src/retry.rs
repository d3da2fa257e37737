//! What a reply or a record means for a row, and how long to wait before a retry.
//!
//! Pure functions: time and randomness are arguments. This is the only retry policy in the program; queues, gates and
//! attempts in flight belong to the engine.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::Rng;

use crate::model::{
    ActionStatus, CancelReply, MachineAction, Moment, Outcome, ReadPage, ReplyKind, RetryAfter,
    ServiceError, Throttle, Uptime,
};

/// The service may truncate a comment of at least this many bytes.
const LONG_COMMENT: usize = 500;

/// If the first responses are this many 404s that are not the service's own, the address counts as wrong.
pub const MAX_UNEXPLAINED_404S: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// How many attempts a row gets.
    pub max_attempts: u32,
    /// The first backoff is drawn from zero to this.
    pub base: Duration,
    /// The longest backoff.
    pub cap: Duration,
    /// A longer wait requested by the server is ignored and reported.
    pub hint_bound: Duration,
    /// How long after a timeout the request may still reach the service.
    pub timeout_grace: Duration,
    /// How long after a 404 an id is read again.
    pub missing_again: Duration,
    /// The longest pause between two probes while the service is down.
    pub probe_cap: Duration,
    /// How long new rows may delay a due retry.
    pub patience: Duration,
    /// A record older than this is read again before its action is sent.
    pub stale_after: Duration,
    /// The first pause before reading the record of an accepted cancel; it doubles each time.
    pub watch_pause: Duration,
    /// The longest of these pauses.
    pub watch_cap: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 6,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            hint_bound: Duration::from_secs(24 * 3600),
            timeout_grace: Duration::from_secs(120),
            missing_again: Duration::from_secs(30),
            probe_cap: Duration::from_secs(45),
            // Half of the two minutes in which a due retry must be sent, so that a queue of them has time to drain.
            patience: Duration::from_secs(60),
            stale_after: Duration::from_secs(300),
            watch_pause: Duration::from_secs(5),
            watch_cap: Duration::from_secs(30),
        }
    }
}

impl RetrySettings {
    /// Divides every wait by `factor`, for the sandbox's fast clock.
    #[must_use]
    pub fn scaled_down(self, factor: u32) -> Self {
        let factor = factor.max(1);
        Self {
            max_attempts: self.max_attempts,
            base: self.base / factor,
            cap: self.cap / factor,
            hint_bound: self.hint_bound / factor,
            timeout_grace: self.timeout_grace / factor,
            missing_again: self.missing_again / factor,
            probe_cap: self.probe_cap / factor,
            patience: self.patience / factor,
            stale_after: self.stale_after / factor,
            watch_pause: self.watch_pause / factor,
            watch_cap: self.watch_cap / factor,
        }
    }
}

/// Whether a request without a good response may have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEffect {
    NotApplied,
    Unknown,
}

/// What the response to a request means, regardless of the row's history.
#[derive(Clone, Debug, PartialEq)]
pub enum SendVerdict {
    /// The record shows the requested result.
    Done(Box<MachineAction>),
    /// 2xx; the record is open, or none was sent.
    Accepted(Option<Box<MachineAction>>),
    /// 2xx, but the record shows that the action ended otherwise.
    AlreadyEnded(Box<MachineAction>),
    NotFound,
    Refused,
    /// A transient fault: retry, no earlier than the service asks.
    Fault(CallEffect, Option<RetryAfter>),
    /// No byte was sent: a network fault, not an attempt.
    NoAttempt,
    Throttled(Throttle),
    /// The token was rejected.
    SignInAgain,
    Forbidden,
}

/// The error code if the same request is already open on the machine.
const ALREADY_UNDER_WAY: &str = "ActiveRequestAlreadyExists";

/// Judges the response to a release. A release creates a new action, whose id is needed to verify it. Without that id,
/// or if a release is already open, the action must be found among the machine's actions.
pub fn judge_release(reply: &CancelReply) -> SendVerdict {
    let is_under_way = |error: &ServiceError| error.code == ALREADY_UNDER_WAY;
    match &reply.kind {
        ReplyKind::Answer(None) => SendVerdict::Fault(CallEffect::Unknown, None),
        ReplyKind::Refused if reply.error.as_ref().is_some_and(is_under_way) => {
            SendVerdict::Fault(CallEffect::Unknown, None)
        }
        ReplyKind::Answer(Some(record)) => {
            let boxed = Box::new(record.clone());
            match &record.status {
                Some(ActionStatus::Succeeded) => SendVerdict::Done(boxed),
                Some(status) if !status.is_open() => SendVerdict::AlreadyEnded(boxed),
                _ => SendVerdict::Accepted(Some(boxed)),
            }
        }
        _ => judge_cancel(reply),
    }
}

pub fn judge_cancel(reply: &CancelReply) -> SendVerdict {
    match &reply.kind {
        ReplyKind::Answer(None) => SendVerdict::Accepted(None),
        ReplyKind::Answer(Some(record)) => {
            let boxed = Box::new(record.clone());
            match &record.status {
                Some(ActionStatus::Cancelled) => SendVerdict::Done(boxed),
                Some(status) if status.is_final() => SendVerdict::AlreadyEnded(boxed),
                _ => SendVerdict::Accepted(Some(boxed)),
            }
        }
        ReplyKind::Throttled(throttle) => SendVerdict::Throttled(*throttle),
        ReplyKind::Unauthorized => SendVerdict::SignInAgain,
        ReplyKind::Forbidden => SendVerdict::Forbidden,
        ReplyKind::NotFound => SendVerdict::NotFound,
        ReplyKind::Refused => SendVerdict::Refused,
        ReplyKind::NotApplied(wait) => SendVerdict::Fault(CallEffect::NotApplied, *wait),
        // Something else answered; the service never saw the call.
        ReplyKind::Redirected | ReplyKind::NoSuchAddress(_) => {
            SendVerdict::Fault(CallEffect::NotApplied, None)
        }
        ReplyKind::ServerFault(wait) => SendVerdict::Fault(CallEffect::Unknown, *wait),
        ReplyKind::InvalidBody | ReplyKind::TimedOut | ReplyKind::Broken(_) => {
            SendVerdict::Fault(CallEffect::Unknown, None)
        }
        ReplyKind::NotSent(_) | ReplyKind::NoSuchHost(_) => SendVerdict::NoAttempt,
    }
}

/// What we know about a row's own attempts when its record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAttempts<'row> {
    /// The comment sent with the request, if any.
    pub comment_sent: Option<&'row str>,
    pub first_sent_at: Option<Timestamp>,
    /// Whether a response was 200.
    pub was_accepted: bool,
    /// Whether an attempt may have been applied.
    pub fate_unknown: bool,
    /// Whether an earlier read showed the action open.
    pub was_open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordVerdict {
    Settle(Outcome),
    Open,
}

/// Judges a record from a read or a response.
pub fn judge_record(record: &MachineAction, history: &OwnAttempts<'_>) -> RecordVerdict {
    match &record.status {
        Some(ActionStatus::Cancelled) => RecordVerdict::Settle(whose_cancel(record, history)),
        Some(status) if status.is_final() => {
            if history.was_accepted && history.was_open {
                RecordVerdict::Settle(Outcome::TooLate)
            } else {
                RecordVerdict::Settle(Outcome::AlreadyFinal)
            }
        }
        _ => RecordVerdict::Open,
    }
}

/// Judges the record of the action that releases a row's machine.
pub fn judge_release_record(record: &MachineAction, history: &OwnAttempts<'_>) -> RecordVerdict {
    match &record.status {
        Some(ActionStatus::Succeeded) => RecordVerdict::Settle(whose_release(record, history)),
        Some(status) if !status.is_open() => RecordVerdict::Settle(Outcome::Failed),
        _ => RecordVerdict::Open,
    }
}

/// Decides whether a successful release is ours or another client's.
fn whose_release(record: &MachineAction, history: &OwnAttempts<'_>) -> Outcome {
    let is_ours = match (history.first_sent_at, &record.requestor_comment) {
        (None, _) => false,
        (Some(_), Some(kept)) => history
            .comment_sent
            .is_some_and(|sent| is_same_comment(sent, kept)),
        (Some(first_sent_at), None) => record
            .created_at
            .is_none_or(|at| at.duration_since(first_sent_at) >= -MAX_SKEW),
    };
    if is_ours {
        Outcome::Released
    } else {
        Outcome::AlreadyReleased
    }
}

/// A client whose clock is off by more gets no token.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Decides whether a cancel is ours or another client's.
fn whose_cancel(record: &MachineAction, history: &OwnAttempts<'_>) -> Outcome {
    let Some(first_sent_at) = history.first_sent_at else {
        return Outcome::AlreadyCancelled;
    };
    let is_ours = match (history.comment_sent, &record.cancellation_comment) {
        (Some(sent), Some(kept)) => is_same_comment(sent, kept),
        _ => false,
    };
    if is_ours {
        return Outcome::Cancelled;
    }
    // Other clients may cancel without a comment too. Then only a time that clock skew can't explain is proof.
    let skew = match record.cancellation_comment {
        Some(_) => SignedDuration::ZERO,
        None => MAX_SKEW,
    };
    if record
        .cancelled_at
        .is_some_and(|at| at.duration_since(first_sent_at) < -skew)
    {
        return Outcome::AlreadyCancelled;
    }
    // No proof: count it as ours if one of our attempts may have done it.
    if history.was_accepted || history.fate_unknown {
        Outcome::Cancelled
    } else {
        Outcome::AlreadyCancelled
    }
}

/// Compares comments; the service may have truncated a long one.
fn is_same_comment(sent: &str, kept: &str) -> bool {
    sent == kept || (kept.len() >= LONG_COMMENT && sent.starts_with(kept))
}

/// What a page means for the requested ids that it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The service doesn't know them.
    Proven,
    /// The page is incomplete: request the rest at once.
    Cut,
    /// The page may have reached a size limit: read the ids once more.
    Unclear,
    /// The page doesn't answer the request: request fewer ids at once.
    Unrelated,
}

/// Judges a page for `asked` ids. The service is known to return up to `known_size` records in a page.
pub fn judge_absence(page: &ReadPage, asked: usize, known_size: usize) -> Absence {
    let found = page.records.len();
    if page.is_whole && page.listed == found && (found == 0 || found <= known_size) {
        Absence::Proven
    } else if found == 0 {
        Absence::Unrelated
    } else if !page.is_whole || page.listed >= asked {
        Absence::Cut
    } else {
        Absence::Unclear
    }
}

/// Draws the wait after `faults` faults: exponential backoff with full jitter, up to the cap.
pub fn backoff(settings: &RetrySettings, faults: u32, rng: &mut impl Rng) -> Duration {
    longest_backoff(settings, faults).mul_f64(rng.random_range(0.0..=1.0))
}

/// Returns the upper bound of [`backoff`].
pub fn longest_backoff(settings: &RetrySettings, faults: u32) -> Duration {
    let doublings = faults.saturating_sub(1).min(20);
    let doubled = settings.base.saturating_mul(1_u32 << doublings);
    doubled.min(settings.cap)
}

/// Returns the pause before read number `look` (from 0) of an accepted cancel's record: 5, 10, 20, 30, 30 … s.
pub fn watch_pause(settings: &RetrySettings, look: u32) -> Duration {
    let doubled = settings.watch_pause.saturating_mul(1_u32 << look.min(20));
    doubled.min(settings.watch_cap)
}

/// Returns the pause before probe number `probe` (from 0) while the service is down: 1, 2, 4 … 45 s, ±10 %.
pub fn probe_pause(settings: &RetrySettings, probe: u32, rng: &mut impl Rng) -> Duration {
    let doubled = settings.base.saturating_mul(1_u32 << probe.min(20));
    doubled
        .min(settings.probe_cap)
        .mul_f64(rng.random_range(0.9..=1.1))
}

/// The result of a 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CooldownVerdict {
    /// No call of the scope is sent before this.
    pub until: Uptime,
    /// Whether a wait over [`RetrySettings::hint_bound`] was ignored.
    pub hint_ignored: bool,
}

/// Returns the latest of the header, the body's hint and our own backoff.
pub fn judge_throttle(
    now: Moment,
    throttle: &Throttle,
    own: Duration,
    settings: &RetrySettings,
) -> CooldownVerdict {
    let header = throttle.retry_after.map(|hint| wait_of(now, hint));
    // A window that is named without a time: wait a twentieth of it, then try again.
    let named = throttle.allowance.map(|(_, period)| period / 20);
    let mut longest = own;
    let mut hint_ignored = false;
    let told = [header, throttle.body_wait];
    let guessed = named.filter(|_| told.iter().all(Option::is_none));
    for hint in told.into_iter().chain([guessed]).flatten() {
        if hint > settings.hint_bound {
            hint_ignored = true;
        } else {
            longest = longest.max(hint);
        }
    }
    CooldownVerdict {
        until: now.uptime.after(longest),
        hint_ignored,
    }
}

/// Converts a server's hint to a wait from `now`; zero if its time has passed.
pub fn wait_of(now: Moment, hint: RetryAfter) -> Duration {
    match hint {
        RetryAfter::Wait(wait) => wait,
        RetryAfter::At(at) => Duration::try_from(at.duration_since(now.wall)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::model::ActionId;

    fn record(status: &str) -> MachineAction {
        let id = ActionId::parse("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2").unwrap();
        MachineAction {
            status: Some(ActionStatus::parse(status)),
            ..MachineAction::bare(id)
        }
    }

    fn now() -> Moment {
        Moment {
            uptime: Uptime::from_nanos(5_000_000_000),
            wall: Timestamp::from_second(1_800_000_000).unwrap(),
        }
    }

    #[test]
    fn a_cancelled_record_is_ours_unless_it_is_proven_to_be_anothers() {
        let sent_at = Timestamp::from_second(1_000).unwrap();
        let history = OwnAttempts {
            comment_sent: Some("ours"),
            first_sent_at: Some(sent_at),
            was_accepted: false,
            fate_unknown: true,
            was_open: false,
        };
        let by = |comment: Option<&str>, second: Option<i64>| MachineAction {
            cancellation_comment: comment.map(str::to_owned),
            cancelled_at: second.map(|second| Timestamp::from_second(second).unwrap()),
            ..record("Cancelled")
        };
        let refused = OwnAttempts {
            fate_unknown: false,
            ..history
        };
        let unsent = OwnAttempts {
            first_sent_at: None,
            comment_sent: None,
            fate_unknown: false,
            ..history
        };
        let cases = [
            (by(Some("ours"), Some(10)), history, Outcome::Cancelled),
            (
                by(Some("theirs"), Some(10)),
                history,
                Outcome::AlreadyCancelled,
            ),
            (by(Some("theirs"), Some(2_000)), history, Outcome::Cancelled),
            (by(None, None), history, Outcome::Cancelled),
            (by(None, Some(10)), history, Outcome::AlreadyCancelled),
            (by(None, Some(900)), history, Outcome::Cancelled),
            (by(None, None), refused, Outcome::AlreadyCancelled),
            (
                by(Some("theirs"), Some(2_000)),
                refused,
                Outcome::AlreadyCancelled,
            ),
            (by(Some("ours"), Some(2_000)), refused, Outcome::Cancelled),
            (by(None, None), unsent, Outcome::AlreadyCancelled),
        ];
        for (record, history, expected) in cases {
            assert_eq!(
                judge_record(&record, &history),
                RecordVerdict::Settle(expected),
                "{record:?}"
            );
        }
    }

    #[test]
    fn a_final_record_is_too_late_only_after_an_acceptance_while_open() {
        for (was_accepted, was_open, expected) in [
            (false, false, Outcome::AlreadyFinal),
            (true, false, Outcome::AlreadyFinal),
            (false, true, Outcome::AlreadyFinal),
            (true, true, Outcome::TooLate),
        ] {
            let history = OwnAttempts {
                comment_sent: Some("ours"),
                first_sent_at: Some(Timestamp::UNIX_EPOCH),
                was_accepted,
                fate_unknown: false,
                was_open,
            };
            for status in ["Succeeded", "Failed", "TimeOut"] {
                assert_eq!(
                    judge_record(&record(status), &history),
                    RecordVerdict::Settle(expected)
                );
            }
            assert_eq!(judge_record(&record("Odd"), &history), RecordVerdict::Open);
        }
    }

    #[test]
    fn the_latest_of_all_hints_wins_and_an_absurd_one_is_ignored() {
        let settings = RetrySettings::default();
        let own = Duration::from_secs(3);
        let until = |throttle: Throttle| {
            let verdict = judge_throttle(now(), &throttle, own, &settings);
            (
                verdict.until.since(now().uptime).as_secs(),
                verdict.hint_ignored,
            )
        };
        let wait = |seconds| Some(RetryAfter::Wait(Duration::from_secs(seconds)));
        let at = RetryAfter::At(now().after(Duration::from_secs(46 * 60)).wall);
        let past = RetryAfter::At(Timestamp::UNIX_EPOCH);
        for (retry_after, body, expected) in [
            (None, None, (3, false)),
            (wait(1), None, (3, false)),
            (wait(8), Some(20), (20, false)),
            (wait(30), Some(20), (30, false)),
            (Some(at), None, (46 * 60, false)),
            (Some(past), None, (3, false)),
            (wait(1_000_000_000), None, (3, true)),
            (wait(1_000_000_000), Some(9), (9, true)),
            (wait(u64::MAX), None, (3, true)),
        ] {
            let throttle = Throttle {
                retry_after,
                body_wait: body.map(Duration::from_secs),
                allowance: None,
            };
            assert_eq!(until(throttle), expected, "{throttle:?}");
        }
    }

    #[test]
    fn only_a_whole_page_that_cannot_have_been_cut_proves_that_an_id_is_unknown() {
        let id = ActionId::parse("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2").unwrap();
        let page = |found, listed, is_whole| ReadPage {
            records: vec![MachineAction::bare(id); found],
            listed,
            is_whole,
        };
        for (page, known_size, expected) in [
            (page(0, 0, true), 0, Absence::Proven),
            (page(95, 95, true), 100, Absence::Proven),
            (page(95, 95, true), 95, Absence::Proven),
            (page(30, 30, true), 0, Absence::Unclear),
            (page(95, 95, true), 94, Absence::Unclear),
            (page(30, 30, false), 100, Absence::Cut),
            (page(30, 100, true), 100, Absence::Cut),
            (page(0, 0, false), 100, Absence::Unrelated),
            (page(0, 100, true), 100, Absence::Unrelated),
        ] {
            assert_eq!(judge_absence(&page, 100, known_size), expected, "{page:?}");
        }
    }

    #[test]
    fn backoff_grows_is_jittered_and_bounded() {
        let settings = RetrySettings::default();
        let mut rng = SmallRng::seed_from_u64(7);
        for faults in 0_u32..200 {
            let ceiling = Duration::from_secs(1_u64 << (faults.clamp(1, 7) - 1)).min(settings.cap);
            for _ in 0..20 {
                assert!(backoff(&settings, faults, &mut rng) <= ceiling, "{faults}");
            }
        }
        let longest = (0..1000)
            .map(|_| backoff(&settings, 7, &mut rng))
            .max()
            .unwrap();
        assert!(longest > Duration::from_secs(50), "full jitter reaches far");
    }

    #[test]
    fn probes_come_ever_more_rarely_up_to_the_cap() {
        let settings = RetrySettings::default();
        let mut rng = SmallRng::seed_from_u64(7);
        for (probe, seconds) in [(0, 1.0), (1, 2.0), (5, 32.0), (6, 45.0), (60, 45.0)] {
            let pause = probe_pause(&settings, probe, &mut rng).as_secs_f64();
            assert!(
                (seconds * 0.9..=seconds * 1.1).contains(&pause),
                "{probe}: {pause}"
            );
        }
    }
}
