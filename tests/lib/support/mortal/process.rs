//! What happens to one run of the mortal world, and what dies with each of its processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mde_cancel::engine::core::{
    CallToken, CommentRule, Core, CoreSettings, GateSettings, LaneSettings,
};
use mde_cancel::engine::{Precheck, SkipRules};
use mde_cancel::model::RowNumber;
use mde_cancel::quota::{Pace, Windows};
use mde_cancel::retry::RetrySettings;
use mde_cancel::store::{CallId, RunKey, ScopeKey};

use super::journal::Journal;
use super::wire::GRACE;

/// How a process ends before its run does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// At once, in mid-step.
    Death,
    /// It is told to stop, and drains.
    Stop,
}

/// What happens to one run.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) rows: u32,
    pub(crate) windows: Windows,
    pub(crate) pace: Option<Pace>,
    pub(crate) concurrency: usize,
    pub(crate) readable: bool,
    pub(crate) triage: Precheck,
    pub(crate) verify_for: Option<Duration>,
    /// How many calls of a hundred go wrong.
    pub(crate) mishaps: u32,
    /// After how many effects each process ends, how, and how long it takes until the next one begins.
    pub(crate) ends: Vec<(u32, End, Duration)>,
    /// When the wall clock of the machine is set, from the beginning, and by how many seconds.
    pub(crate) steps: Vec<(Duration, i64)>,
    /// How long the ledger takes calls of a dead process to be under way; [`GRACE`] where it is right.
    pub(crate) grace_of_ledger: Duration,
}

/// What the world has seen when the run is over.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) processes: usize,
    pub(crate) cancels: usize,
    pub(crate) reads: usize,
    /// Cancels whose good answer a dead process never took in, and that were sent again.
    pub(crate) repeated: usize,
    /// Windows that were exceeded, in words.
    pub(crate) exceeded: Vec<String>,
}

/// What dies with a process.
pub(super) struct Process {
    pub(super) core: Core,
    pub(super) granted: BTreeMap<CallToken, CallId>,
    pub(super) stopping: bool,
    pub(super) effects: u32,
    /// Rows whose cancel was answered well to this process.
    pub(super) answered: BTreeSet<RowNumber>,
}

impl Process {
    pub(super) fn new(schedule: &Schedule, journal: &Journal, number: u64) -> Self {
        let gate = |scope, windows: &Windows, concurrency| GateSettings {
            scope: ScopeKey(scope),
            windows: Arc::new(windows.clone()),
            pace: schedule.pace,
            concurrency,
            cooldown: journal.cooldown(ScopeKey(scope)),
            learned: None,
        };
        let lane = LaneSettings {
            cancel: gate(1, &schedule.windows, schedule.concurrency),
            get: gate(2, &schedule.windows, 2),
            list: gate(3, &schedule.windows, 2),
        };
        let retry = RetrySettings {
            timeout_grace: GRACE,
            ..RetrySettings::default()
        };
        let settings = CoreSettings {
            run: RunKey(1),
            retry,
            comment: CommentRule {
                always: None,
                otherwise: Arc::from("by the simulation"),
            },
            rules: Arc::new(SkipRules {
                precheck: schedule.triage,
                ..SkipRules::default()
            }),
            verify_for: schedule.verify_for,
            reach_timeout: Duration::from_secs(60),
            give_up_after: Duration::from_secs(90 * 60),
            max_failures: None,
            seed: schedule.seed.wrapping_add(number),
        };
        Self {
            core: Core::new(settings, vec![lane]),
            granted: BTreeMap::new(),
            stopping: false,
            effects: 0,
            answered: BTreeSet::new(),
        }
    }
}
