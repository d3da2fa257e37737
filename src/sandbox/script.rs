//! A script of mishaps in play: counts the calls that each rule fits and says what meets this one.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::ActionId;

use super::call::CallKind;
use super::dice;
use super::fault::{Fault, FaultKind};
use super::rule::{Faults, Rule, Turn};

/// What the script does to one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// Latency on top of the usual one.
    pub(super) delay: Duration,
    /// What goes wrong.
    pub(super) fault: Option<Fault>,
}

struct Running {
    rule: Rule,
    fitting: u64,
    met: u64,
    // By id, so that which calls are met does not depend on the order in which concurrent ones arrive.
    by_id: HashMap<ActionId, u64>,
}

/// The rules with their counts.
pub(super) struct Script {
    seed: u64,
    rules: Vec<Running>,
}

impl Script {
    pub(super) fn new(faults: &Faults, seed: u64) -> Self {
        let rules = faults
            .as_slice()
            .iter()
            .map(|rule| Running {
                rule: rule.clone(),
                fitting: 0,
                met: 0,
                by_id: HashMap::new(),
            })
            .collect();
        Self { seed, rules }
    }

    /// Counts a call about `ids` that arrived `since` the start, and returns what meets it.
    pub(super) fn meet(&mut self, kind: CallKind, ids: &[ActionId], since: Duration) -> Fate {
        let mut fate = Fate::default();
        for (position, running) in self.rules.iter_mut().enumerate() {
            if !running.meets(kind, ids, since, self.seed ^ position as u64) {
                continue;
            }
            match running.rule.fault.kind {
                FaultKind::Latency(latency) => {
                    let drawn = dice::roll(self.seed, running.met, b"latency");
                    fate.delay = fate.delay.saturating_add(latency.draw(drawn));
                }
                _ if fate.fault.is_none() => fate.fault = Some(running.rule.fault),
                _ => {}
            }
        }
        fate
    }

    /// Returns each rule's counts, to be taken up again by [`Script::recount`].
    pub(super) fn counts(&self) -> Vec<(u64, u64)> {
        self.rules
            .iter()
            .map(|running| (running.fitting, running.met))
            .collect()
    }

    /// Takes up counts of the same rules.
    pub(super) fn recount(&mut self, counts: &[(u64, u64)]) {
        for (running, &(fitting, met)) in self.rules.iter_mut().zip(counts) {
            (running.fitting, running.met) = (fitting, met);
        }
    }
}

impl Running {
    fn meets(&mut self, kind: CallKind, ids: &[ActionId], since: Duration, seed: u64) -> bool {
        let rule = &self.rule;
        let of_kind = match rule.on {
            Some(on) => on == kind,
            None => kind != CallKind::Token,
        };
        let fits = of_kind
            && rule.id.is_none_or(|id| ids.contains(&id))
            && rule.from.is_none_or(|from| since >= from)
            && rule.until.is_none_or(|until| since < until);
        if !fits {
            return false;
        }
        self.fitting += 1;
        let Some(place) = self.fitting.checked_sub(rule.after).filter(|n| *n > 0) else {
            return false;
        };
        let its_turn = match rule.turn {
            Turn::Each => true,
            Turn::Nth(nth) => place == nth.get(),
            Turn::Every(every) => place % every == 0,
            Turn::Share(share) => {
                let bits = match ids {
                    [id] => {
                        let times = self.by_id.entry(*id).or_default();
                        *times += 1;
                        dice::roll(seed, *times, id.as_bytes())
                    }
                    _ => dice::roll(seed, place, b"call"),
                };
                dice::fraction(bits) < share
            }
        };
        let meets = its_turn && rule.count.is_none_or(|count| self.met < count);
        if meets {
            self.met += 1;
        }
        meets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn met(text: &str, calls: u64) -> Vec<u64> {
        let mut script = Script::new(&Faults::parse(text).unwrap(), 1);
        (1..=calls)
            .filter(|_| script.meet(CallKind::Cancel, &[], NOW).fault.is_some())
            .collect()
    }

    #[test]
    fn rules_count_as_their_table_says() {
        assert_eq!(met("503@nth=3", 10), [3]);
        assert_eq!(met("503@every=4", 10), [4, 8]);
        assert_eq!(met("503@after=6,count=2", 10), [7, 8]);
        assert_eq!(met("503@after=2,every=3,count=2", 20), [5, 8]);
        assert!(met("503@on=get", 10).is_empty());
        assert!(met("503@on=token", 10).is_empty());
        assert!(met("503@from=4s,until=5s", 3).is_empty());
        assert_eq!(met("503@from=5s,until=6s", 3), [1, 2, 3]);
    }

    #[test]
    fn the_first_rule_decides_and_latencies_add_up() {
        let faults = Faults::parse("latency:1s;503;hang;latency:2s").unwrap();
        let fate = Script::new(&faults, 1).meet(CallKind::Get, &[], NOW);
        assert_eq!(fate.delay, Duration::from_secs(3));
        assert_eq!(fate.fault, Fault::parse("503"));
    }

    #[test]
    fn a_share_falls_by_id_whatever_the_order() {
        let faults = Faults::parse("503@p=0.5").unwrap();
        let ids: Vec<_> = (1..=200_u8)
            .map(|n| ActionId::from_bytes([n; 16]).unwrap())
            .collect();
        let mut forward = Script::new(&faults, 9);
        let mut backward = Script::new(&faults, 9);
        let hit = |script: &mut Script, id: &ActionId| {
            script.meet(CallKind::Cancel, &[*id], NOW).fault.is_some()
        };
        let one: Vec<_> = ids.iter().map(|id| hit(&mut forward, id)).collect();
        let mut other: Vec<_> = ids.iter().rev().map(|id| hit(&mut backward, id)).collect();
        other.reverse();
        assert_eq!(one, other);
        let hits = one.iter().filter(|hit| **hit).count();
        assert!((60..140).contains(&hits), "{hits}");
    }

    #[test]
    fn counts_can_be_taken_up_again() {
        let faults = Faults::parse("503@nth=3").unwrap();
        let mut first = Script::new(&faults, 1);
        (0..2).for_each(|_| assert_eq!(first.meet(CallKind::Get, &[], NOW).fault, None));
        let mut second = Script::new(&faults, 1);
        second.recount(&first.counts());
        assert!(second.meet(CallKind::Get, &[], NOW).fault.is_some());
    }
}
