//! Fault scripts: what goes wrong, and with which calls.
//!
//! A script is a list of rules, separated by `;`:
//! `503@every=7;hang@nth=12;applied-reset@p=0.05;429-storm:8s@after=40,count=5`.
//! A rule is a fault and, after `@`, comma-separated conditions, all of which must be met.
//!
//! | fault | effect for the client |
//! |---|---|
//! | `latency:50ms..150ms` | a later response; combines with other faults |
//! | `hang` | no response, ever |
//! | `reset`, `close` | the connection ends without a response (RST, FIN) |
//! | `503`, `503:8s`, any 4xx or 5xx but 429 | that status, with `Retry-After` if a wait is given |
//! | `429-storm`, `429-storm:8s`, `…:header`, `…:hint` | 429 regardless of quotas; the wait is in header, text or both |
//! | `html`, `broken-json`, `empty` | 200 with a portal page, half a record, or nothing |
//! | `202`, `302` | accepted without a body; redirect to a sign-in page |
//! | `slow:2s` | a body in pieces over that time |
//!
//! The prefix `applied-` (`applied-reset`) means that the request takes effect despite the fault, `unapplied-` that it
//! doesn't. By default, it does for `broken-json`, `empty` and `202` only. `latency` and `slow` never prevent the effect
//! and take no prefix.
//!
//! | condition | the call is |
//! |---|---|
//! | `on=cancel` (`release`, `get`, `list`, `token`) | of this kind; by default any but a sign-in |
//! | `id=GUID` | about this action |
//! | `from=10s`, `until=20s` | in this time after the sandbox's start |
//! | `after=40` | not among the first 40 of these |
//! | `nth=12`, `every=7`, `p=0.05` | the 12th of the rest, every 7th, or 5 % of them by the hash of the id |
//! | `count=5` | among the first five matches of the rule |
//!
//! The first matching rule decides; latencies add up. Calls that a quota rejects are not counted.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{ActionId, parse_duration};

use super::call_log::CallKind;
use super::random;
use super::settings::Latency;

/// Why a fault script is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFaults {
    #[error("`{0}` names no fault")]
    Fault(String),
    #[error("`{0}` is no condition of a fault")]
    Condition(String),
    #[error("the condition `{0}` has a value that cannot be used")]
    Value(String),
    #[error("the condition `{0}` contradicts an earlier one")]
    Twice(String),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults(Vec<Rule>);

impl Faults {
    /// `none` and blank text mean no faults.
    pub fn parse(text: &str) -> Result<Self, InvalidFaults> {
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        let rules = text.split(';').filter(|part| !part.trim().is_empty());
        rules.map(Rule::parse).collect::<Result<_, _>>().map(Self)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A fault, and whether the request takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScriptedFault {
    /// As in the script.
    pub(super) text: Arc<str>,
    pub(super) kind: FaultKind,
    /// Whether the request takes effect despite the fault.
    pub(super) is_applied: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    Latency(Latency),
    Hang,
    Reset,
    Close,
    /// An error status, with `Retry-After` if a wait is given.
    Status(u16, Option<Duration>),
    /// A 429 regardless of quotas, and where to put its wait.
    Storm {
        wait: Option<Duration>,
        in_header: bool,
        in_text: bool,
    },
    Html,
    BrokenJson,
    Empty,
    Accepted,
    Redirect,
    Slow(Duration),
}

impl ScriptedFault {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (is_forced, name) = match text.strip_prefix("applied-") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let kind = FaultKind::parse(name)?;
        // A delay can't prevent the effect.
        let delays = matches!(kind, FaultKind::Latency(_) | FaultKind::Slow(_));
        if delays && is_forced {
            return None;
        }
        let is_late = delays || matches!(name, "broken-json" | "empty" | "202");
        Some(Self {
            text: text.into(),
            kind,
            is_applied: is_forced || is_late,
        })
    }
}

impl FaultKind {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<_> = text.split(':').map(str::trim).collect();
        Some(match parts[..] {
            ["latency", range] => Self::Latency(Latency::parse(range).ok()?),
            ["slow", span] => Self::Slow(parse_duration(span)?),
            ["429-storm" | "429", ref told @ ..] => {
                let (wait, place) = match *told {
                    [] => (None, None),
                    [wait] => (Some(parse_duration(wait)?), None),
                    [wait, place @ ("header" | "hint")] => {
                        (Some(parse_duration(wait)?), Some(place))
                    }
                    _ => return None,
                };
                Self::Storm {
                    wait,
                    in_header: place != Some("hint"),
                    in_text: place != Some("header"),
                }
            }
            ["hang"] => Self::Hang,
            ["reset"] => Self::Reset,
            ["close"] => Self::Close,
            ["html"] => Self::Html,
            ["broken-json"] => Self::BrokenJson,
            ["empty"] => Self::Empty,
            ["202"] => Self::Accepted,
            ["302"] => Self::Redirect,
            [code] => Self::Status(error_status(code)?, None),
            [code, wait] => Self::Status(error_status(code)?, Some(parse_duration(wait)?)),
            _ => return None,
        })
    }
}

fn error_status(text: &str) -> Option<u16> {
    let code: u16 = text.parse().ok()?;
    (text.len() == 3 && (400..600).contains(&code)).then_some(code)
}

/// A fault and its conditions, with the calls that met them.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    fault: ScriptedFault,
    /// `None`: any kind but a sign-in.
    on: Option<CallKind>,
    id: Option<ActionId>,
    /// Since the sandbox's start.
    from: Duration,
    until: Duration,
    /// How many calls to skip first.
    after: u64,
    turn: CallPick,
    /// The most matches.
    count: u64,
    /// How many calls met the conditions before [`Rule::turn`].
    fitting: u64,
    matched: u64,
    // By id, so that the arrival order of concurrent calls doesn't matter.
    by_id: HashMap<ActionId, u64>,
}

/// Which of the calls that meet the other conditions match.
#[derive(Clone, Copy, Debug, PartialEq)]
enum CallPick {
    Nth(NonZeroU64),
    Every(NonZeroU64),
    /// This share of calls, by hash; between 0 and 1.
    Share(f64),
}

impl Rule {
    fn parse(text: &str) -> Result<Self, InvalidFaults> {
        let (name, conditions) = match text.split_once('@') {
            Some((name, conditions)) => (name, Some(conditions)),
            None => (text, None),
        };
        let fault = ScriptedFault::parse(name)
            .ok_or_else(|| InvalidFaults::Fault(name.trim().to_owned()))?;
        let mut rule = Self {
            fault,
            on: None,
            id: None,
            from: Duration::ZERO,
            until: Duration::MAX,
            after: 0,
            turn: CallPick::Every(NonZeroU64::MIN),
            count: u64::MAX,
            fitting: 0,
            matched: 0,
            by_id: HashMap::new(),
        };
        let mut seen = Vec::new();
        for condition in conditions.into_iter().flat_map(|all| all.split(',')) {
            let condition = condition.trim();
            let Some((key, value)) = condition.split_once('=') else {
                return Err(InvalidFaults::Condition(condition.to_owned()));
            };
            let (key, value) = (key.trim(), value.trim());
            let slot = match key {
                "nth" | "every" | "p" => "turn",
                key => key,
            };
            if seen.contains(&slot) {
                return Err(InvalidFaults::Twice(condition.to_owned()));
            }
            seen.push(slot);
            let set = match key {
                "on" => CallKind::parse(value).map(|kind| rule.on = Some(kind)),
                "id" => ActionId::parse(value).ok().map(|id| rule.id = Some(id)),
                "from" => parse_duration(value).map(|from| rule.from = from),
                "until" => parse_duration(value).map(|until| rule.until = until),
                "after" => read(value).map(|after| rule.after = after),
                "count" => read(value).map(|count| rule.count = count),
                "nth" => read(value).map(|nth| rule.turn = CallPick::Nth(nth)),
                "every" => read(value).map(|every| rule.turn = CallPick::Every(every)),
                "p" => read(value)
                    .filter(|share| (0.0..=1.0).contains(share))
                    .map(|share| rule.turn = CallPick::Share(share)),
                _ => return Err(InvalidFaults::Condition(condition.to_owned())),
            };
            set.ok_or_else(|| InvalidFaults::Value(condition.to_owned()))?;
        }
        Ok(rule)
    }
}

fn read<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

/// The effect of a script on a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Injected {
    /// Added to the normal latency.
    pub(super) delay: Duration,
    pub(super) fault: Option<ScriptedFault>,
}

/// Applies a script, counting the calls for each rule.
pub(super) struct FaultInjector {
    seed: u64,
    rules: Vec<Rule>,
}

impl FaultInjector {
    pub(super) fn new(faults: &Faults, seed: u64) -> Self {
        let rules = faults.0.clone();
        Self { seed, rules }
    }

    /// Counts a call about `ids` that arrived `since` the start, and returns its faults.
    pub(super) fn inject(&mut self, kind: CallKind, ids: &[ActionId], since: Duration) -> Injected {
        let mut injected = Injected::default();
        for (position, rule) in self.rules.iter_mut().enumerate() {
            if !rule.matches(kind, ids, since, self.seed ^ position as u64) {
                continue;
            }
            if let FaultKind::Latency(latency) = rule.fault.kind {
                let bits = random::roll(self.seed, rule.matched, b"latency");
                injected.delay = injected.delay.saturating_add(latency.draw(bits));
            } else if injected.fault.is_none() {
                injected.fault = Some(rule.fault.clone());
            }
        }
        injected
    }

    /// Returns the counts of each rule, for [`FaultInjector::restore`].
    pub(super) fn counts(&self) -> Vec<(u64, u64)> {
        let counts = self.rules.iter();
        counts.map(|rule| (rule.fitting, rule.matched)).collect()
    }

    /// Restores counts of the same rules.
    pub(super) fn restore(&mut self, counts: &[(u64, u64)]) {
        for (rule, &(fitting, matched)) in self.rules.iter_mut().zip(counts) {
            (rule.fitting, rule.matched) = (fitting, matched);
        }
    }
}

impl Rule {
    fn matches(&mut self, kind: CallKind, ids: &[ActionId], since: Duration, seed: u64) -> bool {
        let is_of_kind = match self.on {
            Some(on) => on == kind,
            None => kind != CallKind::Token,
        };
        let fits = is_of_kind
            && self.id.is_none_or(|id| ids.contains(&id))
            && (self.from..self.until).contains(&since);
        if !fits {
            return false;
        }
        self.fitting += 1;
        let Some(place) = self.fitting.checked_sub(self.after).filter(|n| *n > 0) else {
            return false;
        };
        let is_its_turn = match self.turn {
            CallPick::Nth(nth) => place == nth.get(),
            CallPick::Every(every) => place % every == 0,
            CallPick::Share(share) => {
                let bits = match ids {
                    [id] => {
                        let times = self.by_id.entry(*id).or_default();
                        *times += 1;
                        random::roll(seed, *times, id.as_bytes())
                    }
                    _ => random::roll(seed, place, b"call"),
                };
                random::fraction(bits) < share
            }
        };
        let matches = is_its_turn && self.matched < self.count;
        self.matched += u64::from(matches);
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn hit(text: &str, calls: u64) -> Vec<u64> {
        let mut injector = FaultInjector::new(&Faults::parse(text).unwrap(), 1);
        let mut hit = |_: &u64| injector.inject(CallKind::Cancel, &[], NOW).fault.is_some();
        (1..=calls).filter(|call| hit(call)).collect()
    }

    #[test]
    fn what_names_no_fault_is_refused() {
        for text in [
            "",
            "boom",
            "200",
            "399",
            "600",
            "+503",
            "503:x",
            "503:1s:hint",
            "hang:1s",
            "latency",
            "applied-latency:1s",
            "429-storm:1s:both",
            "429-storm:1s:hint:x",
            "applied-applied-hang",
            "unapplied-202",
        ] {
            assert_eq!(ScriptedFault::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_follows_the_work_has_done_it() {
        let applied = |text: &str| ScriptedFault::parse(text).unwrap().is_applied;
        for text in ["empty", "202", "broken-json", "applied-503", "slow:2s"] {
            assert!(applied(text), "{text}");
        }
        for text in ["503", "html", "reset", "429-storm:8s:hint"] {
            assert!(!applied(text), "{text}");
        }
    }

    #[test]
    fn the_error_names_the_part_that_is_wrong() {
        use InvalidFaults::{Condition, Fault, Twice, Value};
        assert_eq!(Faults::parse(" ; ").unwrap(), Faults::default());
        for (text, expected) in [
            ("503;boom@nth=1", Fault("boom".into())),
            ("503@x=1", Condition("x=1".into())),
            ("503@", Condition(String::new())),
            ("503@nth=0", Value("nth=0".into())),
            ("503@p=1.5", Value("p=1.5".into())),
            ("503@p=NaN", Value("p=NaN".into())),
            ("503@nth=1,every=2", Twice("every=2".into())),
            ("503@on=get,on=list", Twice("on=list".into())),
        ] {
            assert_eq!(Faults::parse(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn rules_count_as_their_table_says() {
        assert_eq!(hit("503@nth=3", 10), [3]);
        assert_eq!(hit(" 503 @ every = 4 ; ", 10), [4, 8]);
        assert_eq!(hit("503@after=6,count=2", 10), [7, 8]);
        assert_eq!(hit("503@after=2,every=3,count=2", 20), [5, 8]);
        assert!(hit("503@on=get", 10).is_empty());
        assert!(hit("503@on=token", 10).is_empty());
        assert!(hit("503@from=4s,until=5s", 3).is_empty());
        assert_eq!(hit("503@from=5s,until=6s", 3), [1, 2, 3]);
    }

    #[test]
    fn the_first_rule_decides_and_latencies_add_up() {
        let faults = Faults::parse("latency:1s;503;hang;latency:2s").unwrap();
        let injected = FaultInjector::new(&faults, 1).inject(CallKind::Get, &[], NOW);
        assert_eq!(injected.delay, Duration::from_secs(3));
        assert_eq!(injected.fault, ScriptedFault::parse("503"));
    }

    #[test]
    fn a_share_falls_by_id_whatever_the_order() {
        let faults = Faults::parse("503@p=0.5").unwrap();
        let ids: Vec<_> = (1..=200_u8)
            .map(|n| ActionId::from_bytes([n; 16]).unwrap())
            .collect();
        let hit = |injector: &mut FaultInjector, id: &ActionId| {
            let injected = injector.inject(CallKind::Cancel, &[*id], NOW);
            injected.fault.is_some()
        };
        let mut forward = FaultInjector::new(&faults, 9);
        let one: Vec<_> = ids.iter().map(|id| hit(&mut forward, id)).collect();
        let mut backward = FaultInjector::new(&faults, 9);
        let mut other: Vec<_> = ids.iter().rev().map(|id| hit(&mut backward, id)).collect();
        other.reverse();
        assert_eq!(one, other);
        let hits = one.iter().filter(|hit| **hit).count();
        assert!((60..140).contains(&hits), "{hits}");
    }
}
