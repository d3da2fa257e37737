//! A run whose journal fails at one commit, and the one that goes on with it in the same folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mde_cancel::clock::{Clock as _, SystemClock};
use mde_cancel::engine::core::Core;
use mde_cancel::engine::{
    Beyond, EngineError, Intake, LaneShare, LaneShares, Planner, RunEnd, RunParts, execute,
};
use mde_cancel::input::{Input, InputCheckpoint, open};
use mde_cancel::model::{ActionId, LaneId, Outcome, ReportRow, RowNumber, RunId};
use mde_cancel::sandbox::{CallKind, Sandbox};
use mde_cancel::store::{Reader, RunRecord, Store, StoreOptions, state_file};

use super::{Recorder, Scenario, as_a_run_reads, new_run, open_store};

/// What became of both.
pub(crate) struct GoneOn {
    /// How often a kind of call was allowed by the journal as the first run left it, and how often it arrived by then.
    pub(crate) allowed: BTreeMap<&'static str, (usize, usize)>,
    /// Whether the first run broke off at all.
    pub(crate) was_broken: bool,
    pub(crate) end: RunEnd,
    pub(crate) rows: Vec<ReportRow>,
    pub(crate) sandbox: Sandbox,
}

impl Scenario {
    /// Plays with a store whose `k`-th commit fails, and goes on with a sound one.
    pub(crate) fn play_past_a_failed_commit(self, k: u64) -> GoneOn {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.break_and_go_on(k))
    }

    async fn break_and_go_on(self, k: u64) -> GoneOn {
        let (sandbox, base) = self.serve().await;
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            grace: Duration::ZERO,
            fail_at_commit: Some(k),
            ..StoreOptions::default()
        };
        let first = self.go_on(folder.path(), &base, options).await;
        let log = sandbox.log();
        let kinds = [
            (CallKind::Cancel, "cancel"),
            (CallKind::Get, "get"),
            (CallKind::List, "list"),
        ];
        let allowed = kinds.map(|(kind, name)| {
            let arrived = log.iter().filter(|call| call.kind == kind).count();
            (name, (calls_in_ledger(folder.path(), name), arrived))
        });
        let options = StoreOptions {
            grace: Duration::ZERO,
            fail_at_commit: None,
            ..StoreOptions::default()
        };
        let end = self.go_on(folder.path(), &base, options).await.unwrap();
        let reader = Reader::open(folder.path()).unwrap();
        let id = reader.runs().unwrap()[0].begun.id;
        let rows = reader.report_rows(id).unwrap().map(Result::unwrap);
        GoneOn {
            allowed: allowed.into_iter().collect(),
            was_broken: first.is_err(),
            end,
            rows: rows.collect(),
            sandbox,
        }
    }

    /// Begins the run, or takes it up where the folder knows one already.
    async fn go_on(
        &self,
        folder: &Path,
        base: &str,
        options: StoreOptions,
    ) -> Result<RunEnd, EngineError> {
        let store = open_store(folder, options);
        let clock = SystemClock::new();
        let known = Reader::open(folder)?.runs()?.pop();
        let (run, before, planner, intake) = match known {
            None => {
                let id = RunId::new(uuid::Uuid::now_v7());
                let run = store.create_run(new_run(id, clock.now().wall)).await?;
                let planner = Planner::new(Arc::default());
                (run, LaneShares::default(), planner, self.all_of_it(folder))
            }
            Some(past) => {
                store.reopen_run(past.key, clock.now().wall).await?;
                let (before, planner) = recall(&store, &past);
                (past.key, before, planner, self.rest_of_it(folder, &past))
            }
        };
        let lane = self.lane(&store, clock.now()).await?;
        let parts = RunParts {
            store,
            clock: Arc::new(clock),
            run,
            core: Core::new(self.core(run), vec![lane]),
            lanes: vec![Ok(Arc::new(self.handles(base)))],
            intake,
            before,
            planner,
        };
        let (_keep, mut stop) = tokio::sync::mpsc::channel(1);
        execute(parts, &mut stop, &mut Recorder(Vec::new())).await
    }

    fn all_of_it(&self, folder: &Path) -> Intake {
        Intake::Read {
            inputs: self.inputs(folder),
            beyond: Beyond::Nothing,
        }
    }

    fn rest_of_it(&self, folder: &Path, past: &RunRecord) -> Intake {
        let mark = &past.intake;
        if mark.complete {
            return Intake::Nothing;
        }
        let Some(position) = &mark.position else {
            assert_eq!(mark.rows_read, 0, "read, and no place noted");
            return self.all_of_it(folder);
        };
        let checkpoint: InputCheckpoint = serde_json::from_str(position).unwrap();
        let path = Input::File(folder.join("ids.csv"));
        let mut inputs = open(&[path], &as_a_run_reads()).unwrap();
        inputs[0].resume(&checkpoint).unwrap();
        Intake::Read {
            inputs,
            beyond: Beyond::Nothing,
        }
    }
}

/// What the journal holds of a run already.
fn recall(store: &Store, past: &RunRecord) -> (LaneShares, Planner) {
    let rows = store.reader().unwrap().report_rows(past.begun.id).unwrap();
    let mut share = LaneShare::default();
    let mut known = Vec::new();
    for (number, row) in (1..).map(RowNumber).zip(rows.map(Result::unwrap)) {
        share.last = number;
        share.rows += 1;
        let id = ActionId::parse(&row.action_id).unwrap();
        known.push((LaneId(0), id, number));
        if row.settled_at.is_some() {
            assert_ne!(row.outcome, Outcome::Duplicate, "read twice: {row:?}");
            *share.settled.entry(row.outcome).or_default() += 1;
        }
    }
    let planner = Planner::new(Arc::default()).behind(known, share.last);
    (LaneShares::from([(LaneId(0), share)]), planner)
}

/// Counts the calls to one destination that the ledger has ever let leave.
fn calls_in_ledger(folder: &Path, destination: &str) -> usize {
    let file = rusqlite::Connection::open(state_file(folder)).unwrap();
    let sql =
        "SELECT count(*) FROM calls JOIN scopes ON calls.scope = scopes.id WHERE destination = ?1";
    let count: i64 = file
        .query_row(sql, [destination], |row| row.get(0))
        .unwrap();
    usize::try_from(count).unwrap()
}
