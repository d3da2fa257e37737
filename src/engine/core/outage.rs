//! Telling a service that is down from a row that is bad.
//!
//! A transient fault alone proves nothing about a row. After a few in a row with no proper answer between, the lane
//! pauses and probes with one call at a time, so that an outage costs time and hardly any allowance.

use rand::Rng;

use crate::domain::Uptime;
use crate::retry::RetrySettings;
use crate::retry::probe_pause;

/// So many transient faults in a row are an outage.
const FAULTS: u32 = 5;

/// Whether the service seems to be up.
#[derive(Debug, Default)]
pub(super) struct Outage {
    faults_in_row: u32,
    /// Set while the lane is paused: when the next probe may leave, and how many have left.
    pause: Option<Pause>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Uptime,
    probes: u32,
    probing: bool,
}

/// Whether a call may leave as far as outages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// The service is up.
    Open,
    /// It is down, and one probe may leave.
    Probe,
    /// Nothing leaves before this; `None` while a probe is under way.
    Wait(Option<Uptime>),
}

impl Outage {
    /// Counts a transient fault. Returns until when the lane pauses, where a pause begins or goes on because of it.
    pub(super) fn fault(
        &mut self,
        now: Uptime,
        settings: &RetrySettings,
        dice: &mut impl Rng,
    ) -> Option<Uptime> {
        self.faults_in_row = self.faults_in_row.saturating_add(1);
        let probes = match self.pause {
            // Calls that left before the pause come back with faults, too; they say nothing new.
            Some(pause) if !pause.probing => return None,
            Some(pause) => pause.probes,
            None if self.faults_in_row < FAULTS => return None,
            None => 0,
        };
        let until = now.after(probe_pause(settings, probes, dice));
        self.pause = Some(Pause {
            until,
            probes: probes.saturating_add(1),
            probing: false,
        });
        Some(until)
    }

    /// Counts a proper answer. Returns whether it ended a pause.
    pub(super) fn proper(&mut self) -> bool {
        self.faults_in_row = 0;
        self.pause.take().is_some()
    }

    /// Says whether a call may leave.
    pub(super) fn passage(&self, now: Uptime) -> Passage {
        match self.pause {
            None => Passage::Open,
            Some(pause) if pause.probing => Passage::Wait(None),
            Some(pause) if pause.until > now => Passage::Wait(Some(pause.until)),
            Some(_) => Passage::Probe,
        }
    }

    /// Notes that the one probe is under way.
    pub(super) fn probe_leaves(&mut self) {
        if let Some(pause) = &mut self.pause {
            pause.probing = true;
        }
    }

    /// Notes that the probe brought no news: it did not leave, or a gate in front of the service answered it.
    pub(super) fn probe_tells_nothing(&mut self) {
        if let Some(pause) = &mut self.pause {
            pause.probing = false;
        }
    }

    /// Returns whether the lane is paused.
    pub(super) fn is_down(&self) -> bool {
        self.pause.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn a_ten_minute_outage_costs_few_probes() {
        let settings = RetrySettings::default();
        let mut dice = SmallRng::seed_from_u64(1);
        let mut outage = Outage::default();
        let mut now = Uptime::from_nanos(0);
        let mut calls = 0;
        while now < Uptime::from_nanos(600_000_000_000) {
            match outage.passage(now) {
                Passage::Wait(Some(until)) => now = until,
                Passage::Wait(None) => panic!("the probe has been answered"),
                passage => {
                    if passage == Passage::Probe {
                        outage.probe_leaves();
                        assert_eq!(outage.passage(now), Passage::Wait(None));
                    }
                    calls += 1;
                    outage.fault(now, &settings, &mut dice);
                }
            }
        }
        assert!((10..=25).contains(&calls), "{calls}");
        assert!(outage.proper());
        assert_eq!(outage.passage(now), Passage::Open);
    }

    #[test]
    fn late_faults_of_calls_sent_before_the_pause_do_not_lengthen_it() {
        let settings = RetrySettings::default();
        let mut dice = SmallRng::seed_from_u64(1);
        let mut outage = Outage::default();
        let now = Uptime::from_nanos(0);
        let pauses: Vec<_> = (0..16)
            .filter_map(|_| outage.fault(now, &settings, &mut dice))
            .collect();
        assert_eq!(pauses.len(), 1);
        assert!(pauses[0].since(now) <= Duration::from_millis(1100));
    }

    #[test]
    fn a_proper_answer_between_faults_keeps_the_lane_open() {
        let settings = RetrySettings::default();
        let mut dice = SmallRng::seed_from_u64(1);
        let mut outage = Outage::default();
        for round in 0..100 {
            assert_eq!(
                outage.fault(Uptime::from_nanos(round), &settings, &mut dice),
                None
            );
            if round % 4 == 3 {
                assert!(!outage.proper());
            }
        }
    }
}
