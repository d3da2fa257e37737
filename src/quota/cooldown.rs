//! How long the service asked a scope to stay silent.

use crate::model::Uptime;

/// A silence until an instant, which is only ever moved later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cooldown {
    until: Option<Uptime>,
}

impl Cooldown {
    /// Nobody asked for silence yet.
    pub const fn new() -> Self {
        Self { until: None }
    }

    /// Moves the end of the silence to `until`, unless it lies later already.
    pub fn extend(&mut self, until: Uptime) {
        // `None` is less than every instant.
        self.until = self.until.max(Some(until));
    }

    /// Returns when the silence ends, where it still holds at `now`.
    pub fn holds(&self, now: Uptime) -> Option<Uptime> {
        self.until.filter(|until| now < *until)
    }

    /// Returns the latest end that was ever asked for, past or not: what a state file keeps.
    pub fn until(&self) -> Option<Uptime> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Uptime {
        Uptime::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_cooldown_holds_up_to_its_end_and_not_at_it() {
        let mut cooldown = Cooldown::new();
        assert_eq!(cooldown.holds(Uptime::MIN), None);
        cooldown.extend(at(30));
        assert_eq!(cooldown.holds(at(29)), Some(at(30)));
        assert_eq!(cooldown.holds(at(30)), None);
    }

    #[test]
    fn a_shorter_hint_never_ends_a_longer_one() {
        let mut cooldown = Cooldown::new();
        for seconds in [30, 10, -5, 29] {
            cooldown.extend(at(seconds));
        }
        assert_eq!(cooldown.until(), Some(at(30)));
        cooldown.extend(at(31));
        assert_eq!(cooldown.holds(at(30)), Some(at(31)));
    }
}
