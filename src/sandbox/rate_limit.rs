//! Enforces quotas with an exact rolling log of calls, timestamped on arrival.
//!
//! It shares no rule with the client's quota code, only the window type, so that a mistake in that code leads to 429s.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::Uptime;
use crate::quota::Window;

use super::call_log::CallKind;

/// A rejected call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OverQuota {
    /// The window that frees up last.
    pub(super) window: Window,
    /// The time until it has room.
    pub(super) wait: Duration,
}

/// The calls that count, by client and endpoint.
#[derive(Default)]
pub(super) struct RateLimiter {
    arrivals: HashMap<(Arc<str>, CallKind), VecDeque<Uptime>>,
    pub(super) refused: u64,
}

impl RateLimiter {
    /// Counts a call at `now`. A rejected call does not count.
    pub(super) fn admit(
        &mut self,
        client: &Arc<str>,
        kind: CallKind,
        now: Uptime,
        windows: &[Window],
    ) -> Result<(), OverQuota> {
        let Some(longest) = windows.iter().map(|window| window.period).max() else {
            return Ok(());
        };
        let arrivals = self.arrivals.entry((client.clone(), kind)).or_default();
        drop(arrivals.drain(..arrivals.len() - within(arrivals, now, longest)));
        let refusals = windows
            .iter()
            .filter_map(|window| refusal(arrivals, now, *window));
        if let Some(refusal) = refusals.max_by_key(|refusal| refusal.wait) {
            self.refused += 1;
            return Err(refusal);
        }
        arrivals.push_back(now);
        Ok(())
    }

    pub(super) fn counted(&self) -> impl Iterator<Item = (&str, CallKind, &VecDeque<Uptime>)> {
        let all = self.arrivals.iter();
        all.map(|((client, kind), arrivals)| (&**client, *kind, arrivals))
    }

    /// Restores earlier calls, earliest first.
    pub(super) fn restore(&mut self, client: &str, kind: CallKind, arrivals: VecDeque<Uptime>) {
        self.arrivals.insert((client.into(), kind), arrivals);
    }
}

fn refusal(arrivals: &VecDeque<Uptime>, now: Uptime, window: Window) -> Option<OverQuota> {
    let taken = within(arrivals, now, window.period);
    let surplus = taken.checked_sub(window.limit.get() as usize)?;
    // There is room once the surplus and one more call have left the window.
    let leaver = arrivals.get(arrivals.len() - taken + surplus)?;
    Some(OverQuota {
        window,
        wait: leaver.after(window.period).since(now),
    })
}

fn within(arrivals: &VecDeque<Uptime>, now: Uptime, period: Duration) -> usize {
    arrivals.len() - arrivals.partition_point(|arrival| now.since(*arrival) >= period)
}

/// Formats a period like the service: `00:01:00`, with days and fractions of a second only if nonzero.
pub(super) fn period_text(period: Duration) -> String {
    let seconds = period.as_secs();
    let days = match seconds / 86_400 {
        0 => String::new(),
        days => format!("{days}."),
    };
    let ticks = match period.subsec_nanos() / 100 {
        0 => String::new(),
        ticks => format!(".{ticks:07}"),
    };
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days}{hours:02}:{minutes:02}:{:02}{ticks}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(windows: &[&str], arrivals: &[i64]) -> Vec<Option<u128>> {
        let windows: Vec<_> = windows
            .iter()
            .map(|text| Window::parse(text).unwrap())
            .collect();
        let (mut limiter, client) = (RateLimiter::default(), "t/a".into());
        let mut wait = |millis: i64| {
            let now = Uptime::from_nanos(millis * 1_000_000);
            let admitted = limiter.admit(&client, CallKind::Cancel, now, &windows);
            admitted.err().map(|refusal| refusal.wait.as_millis())
        };
        arrivals.iter().map(|millis| wait(*millis)).collect()
    }

    #[test]
    fn a_window_rolls_with_each_arrival_and_the_one_that_frees_last_is_named() {
        assert_eq!(
            waits(&["2/1s"], &[0, 400, 999, 1000, 1001, 1400]),
            [None, None, Some(1), None, Some(399), None]
        );
        assert_eq!(
            waits(&["1/1s", "2/10s"], &[0, 2000, 2500]),
            [None, None, Some(7500)]
        );
    }

    #[test]
    fn periods_print_as_the_service_prints_them() {
        for (millis, text) in [
            (60_000, "00:01:00"),
            (3_600_000, "01:00:00"),
            (600, "00:00:00.6000000"),
            (86_400_000, "1.00:00:00"),
        ] {
            assert_eq!(period_text(Duration::from_millis(millis)), text);
        }
    }
}
