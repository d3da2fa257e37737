//! How work comes back after a cooldown: one probe, then 2, 4, 8 and so on, never a full burst.
//!
//! Chosen: rounds that end only when every call of theirs came back. Refused: a width that grows with each good reply,
//! which lets the third call leave before the second one has proved anything.

/// The width of the rounds after a cooldown; off in normal times.
///
/// A round of width `w` lets `w` calls leave, no more. Once all `w` came back good, a round of width `2w` begins, or the
/// slow start is over where that reaches the bound. One bad reply (a 429 or a transient fault) begins again with one
/// probe. A call that was withdrawn is no reply: another takes its place in the round.
///
/// Only replies to calls of the present [`generation`](SlowStart::generation) may be reported, and only such calls count
/// as in flight: what was sent before says nothing about whether the service is well now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    round: Option<Round>,
    generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round {
    width: usize,
    good: usize,
    bound: usize,
}

impl SlowStart {
    /// Nothing holds calls back.
    pub const fn off() -> Self {
        Self {
            round: None,
            generation: 0,
        }
    }

    /// Begins with one probe; over once a round would be `bound` wide, which is what may be in flight in normal times.
    pub fn begin(&mut self, bound: usize) {
        self.generation = self.generation.wrapping_add(1);
        self.round = Some(Round {
            width: 1,
            good: 0,
            bound,
        });
    }

    /// Returns which beginning this is. A call is stamped with it when it is sent, and belongs to the present rounds as
    /// long as the stamp is still the same.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Returns whether calls are held back.
    pub fn is_on(&self) -> bool {
        self.round.is_some()
    }

    /// Returns whether one more call may leave while `in_flight_since` of this generation are in flight.
    pub fn allows(&self, in_flight_since: usize) -> bool {
        self.round
            .is_none_or(|round| in_flight_since.saturating_add(round.good) < round.width)
    }

    /// Counts a proper answer to a call of this generation.
    pub fn on_good_reply(&mut self) {
        let Some(round) = &mut self.round else {
            return;
        };
        round.good += 1;
        if round.good >= round.width {
            round.width = round.width.saturating_mul(2);
            round.good = 0;
            if round.width >= round.bound {
                self.round = None;
            }
        }
    }

    /// Begins again with one probe, where calls are held back at all.
    pub fn on_bad_reply(&mut self) {
        if let Some(round) = self.round {
            self.begin(round.bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends whatever may leave, then answers all of it well; returns how many left.
    fn one_good_round(slow: &mut SlowStart) -> usize {
        let left = (0..100)
            .find(|in_flight| !slow.allows(*in_flight))
            .unwrap_or(100);
        (0..left).for_each(|_| slow.on_good_reply());
        left
    }

    #[test]
    fn rounds_double_until_the_bound_and_then_nothing_is_held_back() {
        let mut slow = SlowStart::off();
        assert!(slow.allows(usize::MAX));
        slow.begin(16);
        let rounds: Vec<_> = (0..5).map(|_| one_good_round(&mut slow)).collect();
        assert_eq!(rounds, [1, 2, 4, 8, 100]);
        assert!(!slow.is_on());
    }

    #[test]
    fn a_round_lets_no_other_call_leave_until_all_of_it_came_back() {
        let mut slow = SlowStart::off();
        slow.begin(16);
        one_good_round(&mut slow);
        assert!(slow.allows(1));
        slow.on_good_reply();
        assert!(!slow.allows(1));
        slow.on_good_reply();
        assert!(slow.allows(3) && !slow.allows(4));
    }

    #[test]
    fn a_withdrawn_call_leaves_its_place_to_another() {
        let mut slow = SlowStart::off();
        slow.begin(16);
        assert!(!slow.allows(1));
        assert!(slow.allows(0));
    }

    #[test]
    fn one_bad_reply_begins_again_with_one_probe() {
        let mut slow = SlowStart::off();
        slow.begin(16);
        let before: Vec<_> = (0..3).map(|_| one_good_round(&mut slow)).collect();
        assert_eq!(before, [1, 2, 4]);
        let generation = slow.generation();
        slow.on_good_reply();
        slow.on_bad_reply();
        assert_ne!(slow.generation(), generation);
        assert!(slow.allows(0) && !slow.allows(1));
        let rounds: Vec<_> = (0..4).map(|_| one_good_round(&mut slow)).collect();
        assert_eq!(rounds, [1, 2, 4, 8]);
    }

    #[test]
    fn replies_in_normal_times_change_nothing() {
        let mut slow = SlowStart::off();
        slow.on_bad_reply();
        slow.on_good_reply();
        assert_eq!(slow, SlowStart::off());
    }
}
