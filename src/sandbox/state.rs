//! Everything that changes while a sandbox runs, behind one lock, and the one place where a call is admitted.
//!
//! A call is stamped, counted, given its fate, worked on and entered in the log in one go: no two calls interleave,
//! and what was decided about a call no longer depends on whether its caller stays to hear it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{ActionId, Moment};

use super::actions::{Actions, Worked};
use super::allowance::Allowances;
use super::answer::{Answer, Problem};
use super::call::CallKind;
use super::fault::{Fault, Work};
use super::line::Line;
use super::log::{CallEnd, LoggedCall};
use super::record::Record;
use super::script::{Fate, Script};
use super::settings::{CallMemory, SandboxSettings};
use super::token::Caller;

/// A call on its way.
pub(super) struct Call {
    pub(super) kind: CallKind,
    pub(super) ids: Vec<ActionId>,
    pub(super) caller: Arc<Caller>,
    /// Why it is turned away before it is even counted.
    pub(super) refused: Option<Problem>,
    /// Any of these permits it; none is needed where there are none.
    pub(super) wanted: &'static [&'static str],
    /// Scheme and host, for links.
    pub(super) host: String,
    pub(super) line: Option<Line>,
}

/// Everything that changes.
pub(super) struct State {
    pub(super) actions: Actions,
    pub(super) allowances: Allowances,
    pub(super) script: Script,
    pub(super) calls: Vec<LoggedCall>,
    /// How many calls have arrived.
    pub(super) number: u64,
}

/// A call with all that was decided about it.
pub(super) struct Admitted {
    pub(super) number: u64,
    pub(super) fate: Fate,
    /// What the work came to; none where a mishap stands in its place.
    pub(super) answer: Option<Answer>,
    /// What is known for the log, where anybody keeps one.
    pub(super) logged: Option<LoggedCall>,
    /// Where in the remembered calls it stands.
    pub(super) place: Option<usize>,
}

/// Who keeps a log, besides memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogFile {
    Written,
    None,
}

impl State {
    pub(super) fn new(settings: &SandboxSettings, start: Moment) -> Self {
        Self {
            actions: Actions::new(settings.unknown_ids.clone(), start.wall),
            allowances: Allowances::default(),
            script: Script::new(&settings.faults, settings.seed),
            calls: Vec::new(),
            number: 0,
        }
    }

    /// Stamps a call that arrives `now`, decides everything about it, and does its work.
    pub(super) fn admit(
        &mut self,
        call: &mut Call,
        (start, now): (Moment, Moment),
        settings: &SandboxSettings,
        file: LogFile,
        work: impl FnOnce(&mut Actions, Timestamp) -> Worked,
    ) -> Admitted {
        self.number += 1;
        let mut over_quota = false;
        let mut fate = Fate::default();
        let worked = if let Some(problem) = call.refused.take() {
            Some(Worked::refused(problem))
        } else if let Err(refusal) =
            self.allowances
                .arrive(call.kind, &call.caller.party, now.uptime, &settings.quota)
        {
            over_quota = true;
            let problem = Problem::over_quota(refusal, settings.quota.retry_after, now.wall);
            Some(Worked::refused(problem))
        } else {
            let since = now.uptime.since(start.uptime);
            fate = self.script.meet(call.kind, &call.ids, since);
            let skipped = fate.fault.is_some_and(|fault| fault.work == Work::Skipped);
            (!skipped).then(|| work(&mut self.actions, now.wall))
        };
        let changed = worked.as_ref().is_some_and(|worked| worked.changed);
        let answer = worked.map(|worked| worked.answer);
        let logged =
            (settings.memory == CallMemory::Kept || file == LogFile::Written).then(|| LoggedCall {
                number: self.number,
                at: now.wall,
                since_start: now.uptime.since(start.uptime),
                kind: call.kind,
                ids: std::mem::take(&mut call.ids),
                party: call.caller.party.to_string(),
                status: None,
                fault: fate.fault.as_ref().map(Fault::to_string),
                over_quota,
                changed,
                end: CallEnd::Open,
            });
        let mut admitted = Admitted {
            number: self.number,
            fate,
            answer,
            logged,
            place: None,
        };
        if settings.memory == CallMemory::Kept {
            self.remember(&mut admitted);
        }
        admitted
    }

    fn remember(&mut self, admitted: &mut Admitted) {
        if let Some(logged) = &admitted.logged {
            admitted.place = Some(self.calls.len());
            self.calls.push(logged.clone());
        }
    }
}

/// A sandbox put away, to be taken up by another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedSandbox {
    pub(super) records: Vec<Record>,
    pub(super) absent: Vec<String>,
    /// Endpoint, party, and when each counted call arrived.
    pub(super) arrivals: Vec<(CallKind, String, Vec<Timestamp>)>,
    pub(super) script: Vec<(u64, u64)>,
    pub(super) number: u64,
    /// When the made-up world is as its mix says.
    pub(super) epoch: Timestamp,
}
