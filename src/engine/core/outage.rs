//! Telling a service that is down from a row that is bad.
//!
//! A transient fault alone proves nothing about a row. After a few in a row with no proper answer between, calls of that
//! kind pause and one at a time probes, so that an outage costs time and hardly any allowance. Cancels and reads are
//! told apart: the one may be down while the other answers.

use rand::Rng;

use crate::model::Uptime;
use crate::retry::{RetrySettings, probe_pause};

/// So many transient faults in a row are an outage.
const FAULTS: u32 = 5;

/// Whether one kind of call gets proper answers.
#[derive(Debug, Default)]
pub(super) struct Outage {
    faults_in_row: u32,
    pauses: u32,
    /// Set while calls are paused.
    pause: Option<Pause>,
}

/// Names one pause, so that the answer to its probe is told from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProbeOf(u32);

#[derive(Clone, Copy, Debug)]
struct Pause {
    number: u32,
    until: Uptime,
    probes: u32,
    /// When the probe left that is under way.
    probing: Option<Uptime>,
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
    /// Counts a transient fault of a call, which may have been a probe. Returns until when calls pause, where a pause
    /// begins or goes on because of it.
    pub(super) fn fault(
        &mut self,
        now: Uptime,
        probe: Option<ProbeOf>,
        (settings, dice): (&RetrySettings, &mut impl Rng),
    ) -> Option<Uptime> {
        self.faults_in_row = self.faults_in_row.saturating_add(1);
        let (probes, from) = match self.pause {
            // Calls that left before the pause come back with faults, too; they say nothing new.
            Some(pause) if probe != Some(ProbeOf(pause.number)) => return None,
            // From its leaving, so that a probe that hangs does not lengthen the pause.
            Some(pause) => (pause.probes, pause.probing.unwrap_or(now)),
            None if self.faults_in_row < FAULTS => return None,
            None => {
                self.pauses = self.pauses.wrapping_add(1);
                (0, now)
            }
        };
        let until = from.after(probe_pause(settings, probes, dice)).max(now);
        self.pause = Some(Pause {
            number: self.pauses,
            until,
            probes: probes.saturating_add(1),
            probing: None,
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
            Some(pause) if pause.probing.is_some() => Passage::Wait(None),
            Some(pause) if pause.until > now => Passage::Wait(Some(pause.until)),
            Some(_) => Passage::Probe,
        }
    }

    /// Notes that the one probe is under way, and returns its name.
    pub(super) fn probe_leaves(&mut self, now: Uptime) -> Option<ProbeOf> {
        let pause = self.pause.as_mut()?;
        pause.probing = Some(now);
        Some(ProbeOf(pause.number))
    }

    /// Notes that a probe brought no news: it did not leave, or a gate in front of the service answered it.
    pub(super) fn probe_tells_nothing(&mut self, probe: ProbeOf) {
        if let Some(pause) = &mut self.pause
            && pause.number == probe.0
        {
            pause.probing = None;
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
                    let probe = (passage == Passage::Probe).then(|| outage.probe_leaves(now));
                    if probe.is_some() {
                        assert_eq!(outage.passage(now), Passage::Wait(None));
                    }
                    calls += 1;
                    outage.fault(now, probe.flatten(), (&settings, &mut dice));
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
            .filter_map(|_| outage.fault(now, None, (&settings, &mut dice)))
            .collect();
        assert_eq!(pauses.len(), 1);
        assert!(pauses[0].since(now) <= Duration::from_millis(1100));
    }

    #[test]
    fn only_the_probe_of_this_pause_ends_the_wait_for_it() {
        let settings = RetrySettings::default();
        let mut dice = SmallRng::seed_from_u64(1);
        let mut outage = Outage::default();
        let now = Uptime::from_nanos(0);
        for _ in 0..5 {
            outage.fault(now, None, (&settings, &mut dice));
        }
        let later = now.after(Duration::from_secs(2));
        let probe = outage.probe_leaves(later);
        assert_eq!(
            outage.fault(later, None, (&settings, &mut dice)),
            None,
            "a call from before"
        );
        assert_eq!(
            outage.passage(later),
            Passage::Wait(None),
            "the probe is still out"
        );
        assert!(outage.proper());
        for _ in 0..5 {
            outage.fault(later, None, (&settings, &mut dice));
        }
        assert!(outage.probe_leaves(later).is_some());
        assert_eq!(
            outage.fault(later, probe, (&settings, &mut dice)),
            None,
            "an older pause's probe"
        );
        assert!(
            outage
                .fault(later, Some(ProbeOf(2)), (&settings, &mut dice))
                .is_some()
        );
    }

    #[test]
    fn a_proper_answer_between_faults_keeps_the_lane_open() {
        let settings = RetrySettings::default();
        let mut dice = SmallRng::seed_from_u64(1);
        let mut outage = Outage::default();
        for round in 0..100 {
            assert_eq!(
                outage.fault(Uptime::from_nanos(round), None, (&settings, &mut dice)),
                None
            );
            if round % 4 == 3 {
                assert!(!outage.proper());
            }
        }
    }
}
