//! Reads outside a run, with the real ledger and client, against the sandbox on a free port.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::api::{ListQuery, ReadClient};
use mde_cancel::auth::{Credential, StaticToken, TokenSource};
use mde_cancel::clock::{Clock, SystemClock};
use mde_cancel::engine::core::{Core, CoreSettings, LaneSettings, StopReason};
use mde_cancel::engine::{
    Planner, Precheck, ReadClients, Reads, ReadsError, ReadsSettings, RemainingInput, RunParts,
    SkipRules, plan, recall,
};
use mde_cancel::model::{ActionId, Destination, LaneId, RowContext, RowNumber, Source};
use mde_cancel::quota::Windows;
use mde_cancel::retry::RetrySettings;
use mde_cancel::sandbox::{Faults, MockAction, Sandbox, SandboxSettings, Status};
use mde_cancel::store::{InputProgress, LoadFrom, NewRow, ScopeKey, Store};

use crate::support::{any_token, connect, gate, new_run, nth_id, open_store, sandbox_scope, serve};

struct Bench {
    reads: Reads,
    sandbox: Sandbox,
    store: Store,
    scope: ScopeKey,
    clock: Arc<SystemClock>,
    base: String,
    folder: tempfile::TempDir,
}

impl Bench {
    /// `count` Pending Isolates, each a second older than the one before, in a service with these faults. Retry times
    /// are a hundredth of the real ones.
    async fn with(count: usize, faults: &str) -> Self {
        let settings = SandboxSettings {
            quota: Windows::none(),
            faults: Faults::parse(faults).unwrap(),
            ..SandboxSettings::default()
        };
        let records = (1..=count).map(|number| {
            let second = 1_790_000_000 - i64::try_from(number).unwrap();
            let created = Timestamp::from_second(second).unwrap();
            MockAction::new(nth_id(number), "Isolate", Status::Pending, created)
        });
        let (sandbox, base) = serve(settings, records.collect()).await;
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(folder.path());
        let clock = Arc::new(SystemClock::new());
        let scope = sandbox_scope(&store, Destination::List, clock.now());
        let scope = scope.await.unwrap();
        let reads = Reads::new(
            Arc::new(handles(&base, any_token())),
            store.clone(),
            Arc::clone(&clock) as Arc<dyn Clock>,
            settings_for(scope),
        );
        Self {
            reads,
            sandbox,
            store,
            scope,
            clock,
            base,
            folder,
        }
    }

    /// Reads the first page of three. Returns how many records it has.
    async fn read(&mut self) -> Result<usize, ReadsError> {
        let page = self.reads.page(&query(3, 0)).await?;
        Ok(page.records.len())
    }

    /// Reads with these from here on.
    fn read_as(&mut self, credential: Credential, settings: ReadsSettings) {
        self.reads = Reads::new(
            Arc::new(handles(&self.base, credential)),
            self.store.clone(),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            settings,
        );
    }

    async fn slots_taken(&self) -> u32 {
        let windows = Arc::new(Windows::documented());
        let usage = self.store.usage(self.scope, windows, self.clock.now());
        usage.await.unwrap().windows[1].taken
    }

    fn statuses(&self) -> Vec<Option<u16>> {
        let calls = self.sandbox.log();
        calls.iter().map(|call| call.status).collect()
    }
}

fn handles(base: &str, credential: Credential) -> ReadClients {
    let connection = connect(base, Duration::from_secs(20));
    ReadClients::new(ReadClient::new(connection), credential)
}

fn settings_for(scope: ScopeKey) -> ReadsSettings {
    ReadsSettings {
        gate: gate(scope, Windows::none(), 1),
        retry: RetrySettings::default().scaled_down(100),
        patience: Duration::from_millis(600),
        seed: 1,
    }
}

fn ids(numbers: std::ops::RangeInclusive<usize>) -> Vec<ActionId> {
    numbers.map(nth_id).collect()
}

fn query(top: u32, skip: u32) -> ListQuery {
    ListQuery {
        filter: Some("status eq 'Pending'".to_owned()),
        top: NonZeroU32::new(top).unwrap(),
        skip,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_come_newest_first() {
    let mut bench = Bench::with(7, "").await;
    let read = bench.reads.page(&query(3, 2)).await.unwrap();
    let read: Vec<_> = read.records.iter().map(|action| action.id).collect();
    assert_eq!(read, ids(3..=5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_is_waited_out_in_the_ledger_and_the_call_goes_again() {
    let mut bench = Bench::with(3, "429-storm:1s@nth=1").await;
    let before = bench.clock.now().uptime;
    assert_eq!(bench.read().await.unwrap(), 3);
    assert_eq!(bench.statuses(), [Some(429), Some(200)]);
    // A slow machine may take longer.
    assert!(bench.clock.now().uptime.since(before) >= Duration::from_secs(1));
    assert_eq!(bench.slots_taken().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_teaches_a_pace_that_later_runs_begin_with() {
    let mut bench = Bench::with(3, "429-storm:1s@nth=1").await;
    let mut settings = settings_for(bench.scope);
    settings.gate.windows = Arc::new(Windows::documented().scaled_down(100));
    bench.read_as(any_token(), settings);
    bench.read().await.unwrap();
    let name = bench.store.scopes().await.unwrap().remove(0).1;
    let known = bench.store.scope(&name, bench.clock.now()).await.unwrap();
    assert_eq!(known.pace.unwrap().as_rate().to_string(), "95/600ms");
}

/// Returns the name of the stop reason.
fn stop_of(read: Result<usize, ReadsError>) -> String {
    match read.unwrap_err() {
        ReadsError::Stopped(reason) => format!("{reason:?}").split('(').next().unwrap().to_owned(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_try_cannot_mend_is_not_tried_again() {
    for (faults, reason) in [("403", "ReadingForbidden"), ("401", "SignIn")] {
        let mut bench = Bench::with(3, faults).await;
        assert_eq!(stop_of(bench.read().await), reason);
        let status: u16 = faults.parse().unwrap();
        assert_eq!(bench.statuses(), [Some(status)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_renewed_once_and_the_call_goes_again() {
    for (faults, expected) in [
        ("401@nth=1", vec![Some(401), Some(200)]),
        ("401", vec![Some(401), Some(401)]),
    ] {
        let mut bench = Bench::with(3, faults).await;
        let path = bench.folder.path().join("token");
        let mut file = mde_cancel::platform::open_private_file(&path).unwrap();
        file.write_all(b"a-token-that-is-long-enough").unwrap();
        let ready = StaticToken::from_file(&path).unwrap();
        let credential = Credential::new(TokenSource::Ready(ready), None);
        bench.read_as(credential, settings_for(bench.scope));
        let read = bench.read().await;
        assert_eq!(bench.statuses(), expected);
        match read {
            Ok(count) => assert_eq!(count, 3),
            stopped => assert_eq!(stop_of(stopped), "SignIn"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transient_faults_are_tried_again_and_an_outage_is_given_up() {
    let script = "503@nth=1;reset@nth=1;html@nth=1";
    let mut bench = Bench::with(3, script).await;
    assert_eq!(bench.read().await.unwrap(), 3);
    let mut bench = Bench::with(3, "503").await;
    assert_eq!(stop_of(bench.read().await), "GaveUp");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_retry_wait_outlasts_the_time_limit() {
    let mut bench = Bench::with(3, "503").await;
    let mut settings = settings_for(bench.scope);
    // If waits were drawn from this base alone, the first would outlast any test.
    settings.retry.base = Duration::from_hours(1000);
    settings.retry.cap = settings.retry.base;
    bench.read_as(any_token(), settings);
    assert_eq!(stop_of(bench.read().await), "GaveUp");
    assert!(bench.statuses().len() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_wrong_is_refused_and_not_tried_again() {
    let mut bench = Bench::with(3, "").await;
    let wrong = ListQuery {
        filter: Some("colour eq 'red'".to_owned()),
        ..query(3, 0)
    };
    let error = bench.reads.page(&wrong).await.unwrap_err();
    assert!(matches!(error, ReadsError::Refused(_)), "{error}");
    assert!(error.to_string().contains("colour"), "{error}");
    assert_eq!((bench.reads.calls(), bench.slots_taken().await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_given_up_on_the_wire_holds_its_slot() {
    let mut bench = Bench::with(3, "hang").await;
    let sandbox = bench.sandbox.clone();
    {
        let wanted = query(3, 0);
        let mut read = std::pin::pin!(bench.reads.page(&wanted));
        while sandbox.log().is_empty() {
            assert!(futures::poll!(read.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(bench.slots_taken().await, 1);
}

/// Makes the parts of a plan whose rows have these ids.
async fn plan_of(bench: &Bench, numbers: std::ops::RangeInclusive<usize>) -> RunParts<ReadClients> {
    let run = new_run(1, bench.clock.now().wall);
    let store = &bench.store;
    let run = store.create_run(run).await.unwrap();
    let rows = (1..).zip(ids(numbers)).map(|(number, id)| NewRow {
        number: RowNumber(number),
        lane: LaneId(0),
        source: Source {
            file: "ids.csv".into(),
            line: 1,
        },
        id: Ok(id),
        context: RowContext::default(),
        settlement: None,
    });
    let appended = store.append_rows(run, rows.collect(), InputProgress::default());
    appended.await.unwrap();
    let ReadsSettings {
        gate, retry, seed, ..
    } = settings_for(bench.scope);
    let rules = SkipRules {
        precheck: Precheck::ReadFirst,
        ..SkipRules::default()
    };
    let patience = Duration::from_secs(60);
    let settings = CoreSettings::to_read(run, retry, Arc::new(rules), patience, seed);
    let lane = LaneSettings {
        send: gate.clone(),
        get: gate.clone(),
        list: gate,
    };
    RunParts {
        store: store.clone(),
        clock: Arc::clone(&bench.clock) as Arc<dyn Clock>,
        run,
        core: Core::new(settings, vec![lane]),
        lanes: vec![Ok(Arc::new(handles(&bench.base, any_token())))],
        intake: RemainingInput::Nothing,
        planner: Planner::new(Arc::default()),
        before: recall(&store.reader().unwrap(), run).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_whose_time_is_over_leaves_the_rest_to_the_run_and_one_with_time_reads_all() {
    for (patience, known, calls) in [(Some(Duration::ZERO), 0, 0), (None, 250, 3)] {
        let bench = Bench::with(250, "").await;
        let parts = plan_of(&bench, 1..=250).await;
        let (store, run) = (bench.store.clone(), parts.run);
        let (_stop, mut stop) = tokio::sync::mpsc::channel(1);
        let end = plan(parts, None, patience, &mut stop).await.unwrap();
        assert!(end.stops.is_empty(), "{:?}", end.stops);
        assert_eq!(
            (end.reads, bench.sandbox.log().len()),
            (calls, 3.min(known))
        );
        let rows = store.load_rows(run, LaneId(0), LoadFrom::After(RowNumber(0)), 1000);
        let rows = rows.await.unwrap();
        let checked = rows.iter().filter(|row| row.checked_at.is_some());
        assert_eq!((rows.len(), checked.count()), (250, known));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_ids_that_are_all_unknown_stops_and_settles_none() {
    let bench = Bench::with(1, "").await;
    let parts = plan_of(&bench, 100..=400).await;
    let (store, run) = (bench.store.clone(), parts.run);
    let (_stop, mut stop) = tokio::sync::mpsc::channel(1);
    let end = plan(parts, None, None, &mut stop).await.unwrap();
    assert_eq!(end.stops, [(LaneId(0), StopReason::AllMissing)]);
    let before = recall(&store.reader().unwrap(), run).unwrap();
    assert!(before[&LaneId(0)].settled.is_empty(), "{before:?}");
}
