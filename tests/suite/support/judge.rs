//! Judges a run by what the service itself saw: its log of calls and the state in which it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use mde_cancel::model::{ActionId, Outcome};
use mde_cancel::quota::Windows;
use mde_cancel::sandbox::{CallEnd, CallKind, LoggedCall, Sandbox, Status};

use super::model_server::most_in_any;

/// What a report says about one action.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: ActionId,
    pub(crate) outcome: Outcome,
    pub(crate) attempts: u32,
    pub(crate) reason: String,
}

/// What the service's log says about the cancels of one action.
#[derive(Clone, Debug, Default)]
struct Seen {
    arrivals: u32,
    changed: u32,
}

/// Asserts that no window was exceeded by any kind of call, by the stamps of the service.
pub(crate) fn assert_quotas_kept(sandbox: &Sandbox, windows: &Windows) {
    let log = sandbox.log();
    for kind in [CallKind::Cancel, CallKind::Get, CallKind::List] {
        let of_kind = log.iter().filter(|call| call.kind == kind);
        let mut arrivals: Vec<_> = of_kind.map(|call| call.since_start).collect();
        arrivals.sort_unstable();
        for window in windows.as_slice() {
            let most = most_in_any(window.period, &arrivals);
            let allowed = window.limit.get() as usize;
            assert!(
                most <= allowed,
                "{most} calls of {kind} within {:?}",
                window.period
            );
        }
    }
    assert_eq!(sandbox.violations(), 0);
}

/// Asserts that each outcome agrees with the service's final state and log, and that nothing arrived there of which the
/// journal knows nothing.
pub(crate) fn assert_agrees(sandbox: &Sandbox, told: &[Told]) {
    let mut seen: BTreeMap<ActionId, Seen> = BTreeMap::new();
    for call in sandbox.log() {
        if call.kind == CallKind::Cancel {
            for id in call.ids {
                let seen = seen.entry(id).or_default();
                seen.arrivals += 1;
                seen.changed += u32::from(call.changed);
            }
        }
    }
    for row in told {
        let seen = seen.remove(&row.id).unwrap_or_default();
        assert!(
            seen.arrivals <= row.attempts,
            "{row:?}: {} cancels arrived, and so many were never journaled",
            seen.arrivals
        );
        assert!(seen.changed <= 1, "{row:?}");
        let status = sandbox.action(row.id).map(|record| record.status);
        let agrees = match row.outcome {
            Outcome::Cancelled => status == Some(Status::Cancelled) && seen.changed == 1,
            Outcome::AlreadyCancelled => status == Some(Status::Cancelled) && seen.changed == 0,
            Outcome::AlreadyFinal => {
                seen.changed == 0
                    && status.is_some_and(|status| status.is_final() && status != Status::Cancelled)
            }
            Outcome::Failed => seen.changed == 0,
            Outcome::NotFound => status.is_none(),
            Outcome::NotAttempted => seen.arrivals == 0 || row.attempts > 0,
            _ => true,
        };
        let why = &row.reason;
        assert!(
            agrees,
            "{row:?} ({why}), and the service has {status:?}, {seen:?}"
        );
    }
    assert!(
        seen.is_empty(),
        "cancelled although no row names it: {seen:?}"
    );
}

/// Returns for each process, of those that began at `starts`, how many of its cancels were answered well and sent again
/// all the same by a later one.
pub(crate) fn repeated(log: &[LoggedCall], starts: &[Duration]) -> Vec<usize> {
    let mut counts = vec![0; starts.len()];
    let mut last: BTreeMap<ActionId, &LoggedCall> = BTreeMap::new();
    for call in log.iter().filter(|call| call.kind == CallKind::Cancel) {
        for &id in &call.ids {
            let Some(before) = last.insert(id, call) else {
                continue;
            };
            let was_good = before.fault.is_none()
                && matches!(before.end, CallEnd::Answered | CallEnd::Abandoned);
            if was_good {
                let began = starts.partition_point(|start| *start <= before.since_start);
                counts[began.saturating_sub(1)] += 1;
            }
        }
    }
    counts
}
