//! What both test binaries share: made-up ids, a config file, and a judge of runs by the service's log and final state.

use std::collections::BTreeMap;
use std::time::Duration;

use mde_cancel::model::{ActionId, Outcome};
use mde_cancel::sandbox::{CallKind, Sandbox, Status};

pub(crate) fn nth_id(number: usize) -> ActionId {
    ActionId::parse(&format!("00000000-0000-4000-8000-{number:012x}")).unwrap()
}

/// Writes a config file that only its owner may change, whatever the umask.
pub(crate) fn write_config(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
}

/// What a report says about an action.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: ActionId,
    pub(crate) outcome: Outcome,
    pub(crate) attempts: u32,
    pub(crate) reason: String,
}

/// What the service's log says about an action's cancels.
#[derive(Clone, Debug, Default)]
struct Seen {
    arrivals: u32,
    changed: u32,
}

/// Asserts that each outcome matches the service's final state and log, and that every cancel that arrived is
/// journaled.
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

/// Returns the most of the sorted `arrivals` that are less than one period apart.
pub(crate) fn most_in_any(period: Duration, arrivals: &[Duration]) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, at) in arrivals.iter().enumerate() {
        while *at >= arrivals[first] + period {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}
