//! The real engine with the real journal and client, in this process, against the sandbox on a free port: to its end,
//! past a commit that fails, or stopped while a call hangs.
//!
//! The [simulator](super::Simulation) drives only the core, in virtual time. Scenarios prove what the core never sees:
//! how answers are read off the wire, that calls match the journal, and how the runner ends.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::api::{
    Connection, Proxies, ReadClient, RootCerts, Scheme, SendClient, WebSettings, web_client,
};
use mde_cancel::auth::{
    Credential, EntraSignIn, GrantType, LoginClient, SecretOrigin, SignInMethod, StaticToken,
    TokenSource,
};
use mde_cancel::clock::{Clock, SystemClock};
use mde_cancel::engine::core::{
    CommentRule, Core, CoreSettings, GateSettings, LaneSettings, RunEvent, StopReason,
};
use mde_cancel::engine::{
    EngineError, InputCut, LaneClients, Observer, Planner, Precheck, RemainingInput, RunEnd,
    RunParts, RunView, SkipRules, execute, recall,
};
use mde_cancel::input::{Input, InputCheckpoint, InputSettings, open};
use mde_cancel::model::{Destination, LaneId, Moment, Operation, Outcome, ReportRow, Scope};
use mde_cancel::quota::Windows;
use mde_cancel::retry::RetrySettings;
use mde_cancel::sandbox::{CallKind, Faults, MockAction, Sandbox, SandboxSettings, Status};
use mde_cancel::store::{
    InputProgress, Process, Reader, RunKey, ScopeKey, Store, StoreError, StoreOptions, state_file,
};
use secrecy::SecretString;
use tokio::sync::mpsc;

use super::{ManualClock, new_run, nth_id};

/// A run that takes longer waits for a call that never ends.
const STUCK: Duration = Duration::from_secs(60);

/// A run and its service.
#[must_use]
pub(crate) struct Scenario {
    sandbox: SandboxSettings,
    records: Vec<MockAction>,
    ids: Vec<String>,
    timeout: Duration,
    max_attempts: u32,
    precheck: Precheck,
}

pub(crate) struct Played {
    pub(crate) end: RunEnd,
    pub(crate) rows: Vec<ReportRow>,
    pub(crate) sandbox: Sandbox,
    pub(crate) events: Vec<RunEvent>,
}

/// A run whose journal failed, and the run that resumed it.
pub(crate) struct GoneOn {
    /// By kind of call: how many the journal of the first run allowed, and how many had arrived by then.
    pub(crate) allowed: BTreeMap<&'static str, (usize, usize)>,
    pub(crate) was_broken: bool,
    pub(crate) played: Played,
}

/// What hangs when the stop comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangs {
    /// The first call to the API.
    FirstCall,
    /// The sign-in before it.
    SignIn,
}

pub(crate) struct Stopped {
    pub(crate) played: Played,
    /// When each call in the ledger counts as ended, from the start.
    pub(crate) ends: Vec<Duration>,
}

impl Scenario {
    /// `count` Pending Isolates in a service without faults and quota. Retry times are a hundredth of the real ones.
    pub(crate) fn with_actions(count: usize) -> Self {
        let ids = (1..=count).map(|number| format!("{},Isolate", nth_id(number)));
        let created = Timestamp::from_second(1_790_000_000).unwrap();
        let records = (1..=count)
            .map(|number| MockAction::new(nth_id(number), "Isolate", Status::Pending, created));
        let sandbox = SandboxSettings {
            quota: Windows::none(),
            ..SandboxSettings::default()
        };
        Self {
            sandbox,
            records: records.collect(),
            ids: ids.collect(),
            timeout: Duration::from_secs(20),
            max_attempts: 6,
            precheck: Precheck::Skip,
        }
    }

    pub(crate) fn sandbox(mut self, change: impl FnOnce(&mut SandboxSettings)) -> Self {
        change(&mut self.sandbox);
        self
    }

    pub(crate) fn faults(mut self, script: &str) -> Self {
        self.sandbox.faults = Faults::parse(script).unwrap();
        self
    }

    pub(crate) fn action(mut self, number: usize, change: impl FnOnce(&mut MockAction)) -> Self {
        change(&mut self.records[number - 1]);
        self
    }

    /// Makes the n-th action unknown to the service.
    pub(crate) fn missing(mut self, number: usize) -> Self {
        let id = nth_id(number);
        self.records.retain(|record| record.id != id);
        self
    }

    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    pub(crate) fn play(self) -> Played {
        block_on(async {
            let (sandbox, base) = self.serve().await;
            let folder = tempfile::tempdir().unwrap();
            let (store, clock) = (open_store(folder.path()), Arc::new(SystemClock::new()));
            let handles = handles(connect(&base, self.timeout), any_token());
            let parts = self.parts(&store, clock, folder.path(), handles).await;
            let mut recorder = Recorder::default();
            let (_keep, mut stop) = mpsc::channel(1);
            let end = execute(parts.unwrap(), &mut stop, &mut recorder).await;
            recorder.played(end.unwrap(), folder.path(), sandbox)
        })
    }

    /// Plays with a store whose `k`-th commit fails, and resumes with a working one.
    pub(crate) fn play_past_a_failed_commit(self, k: u64) -> GoneOn {
        block_on(async {
            let (sandbox, base) = self.serve().await;
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path();
            let mut recorder = Recorder::default();
            let first = self.go_on(folder, &base, Some(k), &mut recorder).await;
            let log = sandbox.log();
            let kinds = [
                (CallKind::Cancel, "cancel"),
                (CallKind::Get, "get"),
                (CallKind::List, "list"),
            ];
            let allowed = kinds.map(|(kind, name)| {
                let arrived = log.iter().filter(|call| call.kind == kind).count();
                (name, (calls_in_ledger(folder, name), arrived))
            });
            let mut recorder = Recorder::default();
            let end = self.go_on(folder, &base, None, &mut recorder).await;
            GoneOn {
                allowed: allowed.into_iter().collect(),
                was_broken: first.is_err(),
                played: recorder.played(end.unwrap(), folder, sandbox),
            }
        })
    }

    async fn go_on(
        &self,
        folder: &Path,
        base: &str,
        fail_at_commit: Option<u64>,
        recorder: &mut Recorder,
    ) -> Result<RunEnd, EngineError> {
        let options = StoreOptions {
            grace: Duration::ZERO,
            fail_at_commit,
            ..StoreOptions::default()
        };
        let clock = SystemClock::new();
        let store = Store::open_with(folder, process(&clock), clock.now(), options).unwrap();
        let handles = handles(connect(base, self.timeout), any_token());
        let parts = self.parts(&store, Arc::new(clock), folder, handles).await?;
        drop(store);
        let (_keep, mut stop) = mpsc::channel(1);
        execute(parts, &mut stop, recorder).await
    }

    /// Stops the run once something hangs, then advances its clock by `passes`. Nothing else moves that clock.
    pub(crate) fn play_until_stopped(mut self, hangs: Hangs, passes: Duration) -> Stopped {
        self.precheck = Precheck::ReadFirst;
        block_on(async {
            let (sandbox, base) = self.serve().await;
            // Accepts connections and never answers.
            let login = TcpListener::bind("127.0.0.1:0").unwrap();
            login.set_nonblocking(true).unwrap();
            let credential = match hangs {
                Hangs::FirstCall => any_token(),
                Hangs::SignIn => signing_in_at(&format!("http://{}", login.local_addr().unwrap())),
            };
            let handles = handles(connect(&base, self.timeout), credential);
            let folder = tempfile::tempdir().unwrap();
            let store = open_store(folder.path());
            let clock = ManualClock::new(SystemClock::new().now());
            let start = clock.now().uptime;
            let parts = self.parts(&store, Arc::new(clock.clone()), folder.path(), handles);
            let parts = parts.await.unwrap();
            let (stopping, mut stops) = mpsc::unbounded_channel();
            let mut recorder = Recorder {
                stopping: Some(stopping),
                ..Recorder::default()
            };
            let (stop, mut wishes) = mpsc::channel(1);
            let person = async {
                while match hangs {
                    Hangs::FirstCall => sandbox.log().is_empty(),
                    Hangs::SignIn => login.accept().is_err(),
                } {
                    tokio::task::yield_now().await;
                }
                let reason = StopReason::Asked("Ctrl-C".to_owned());
                stop.send(reason).await.unwrap();
                stops.recv().await.unwrap();
                clock.advance(passes);
                std::future::pending::<()>().await;
            };
            let end = tokio::select! {
                end = tokio::time::timeout(STUCK, execute(parts, &mut wishes, &mut recorder)) => end,
                () = person => unreachable!("nobody waits for ever"),
            };
            drop(store);
            let file = rusqlite::Connection::open(state_file(folder.path())).unwrap();
            let sql = "SELECT ended_up FROM calls ORDER BY id";
            let mut ends = file.prepare(sql).unwrap();
            let ends = ends.query_map([], |row| row.get(0)).unwrap();
            let since_start = |end| mde_cancel::model::Uptime::from_nanos(end).since(start);
            Stopped {
                ends: ends.map(|end| since_start(end.unwrap())).collect(),
                played: recorder.played(end.unwrap().unwrap(), folder.path(), sandbox),
            }
        })
    }

    async fn serve(&self) -> (Sandbox, String) {
        serve(self.sandbox.clone(), self.records.clone()).await
    }

    /// Starts the run, or resumes it if the folder has one.
    async fn parts(
        &self,
        store: &Store,
        clock: Arc<dyn Clock>,
        folder: &Path,
        handles: LaneClients,
    ) -> Result<RunParts, EngineError> {
        let reader = store.reader()?;
        let wall = clock.now().wall;
        let planner = Planner::new(Arc::default());
        let (run, planner, mark) = match reader.runs()?.pop() {
            None => {
                let run = store.create_run(new_run(1, wall)).await?;
                (run, planner, InputProgress::default())
            }
            Some(past) => {
                store.reopen_run(past.key, wall).await?;
                let mut known = Vec::new();
                reader.known_ids(past.key, |lane, id, row| known.push((lane, id, row)))?;
                let last = known.iter().map(|(_, _, row)| *row).max();
                let planner = planner.behind(known, last.unwrap_or_default());
                (past.key, planner, past.intake)
            }
        };
        let lane = self.lane(store, clock.now()).await?;
        Ok(RunParts {
            store: store.clone(),
            clock,
            run,
            core: Core::new(self.core(run), vec![lane]),
            lanes: vec![Ok(Arc::new(handles))],
            intake: self.intake(folder, &mark),
            before: recall(&reader, run)?,
            planner,
        })
    }

    fn intake(&self, folder: &Path, mark: &InputProgress) -> RemainingInput {
        if mark.complete {
            return RemainingInput::Nothing;
        }
        let path = folder.join("ids.csv");
        std::fs::write(&path, format!("id,type\n{}", self.ids.join("\n"))).unwrap();
        // So that reading can resume wherever it stopped.
        let settings = InputSettings {
            checkpoints: true,
            ..InputSettings::default()
        };
        let mut inputs = open(&[Input::File(path)], &settings).unwrap();
        if let Some(position) = &mark.position {
            let checkpoint: InputCheckpoint = serde_json::from_str(position).unwrap();
            inputs[0].resume(&checkpoint).unwrap();
        } else {
            assert_eq!(mark.rows_read, 0, "read, and no place noted");
        }
        RemainingInput::Read {
            inputs,
            beyond: InputCut::Nothing,
        }
    }

    async fn lane(&self, store: &Store, now: Moment) -> Result<LaneSettings, StoreError> {
        let gate = async |destination| {
            let scope = sandbox_scope(store, destination, now).await?;
            Ok(gate(scope, Windows::none(), 4))
        };
        Ok(LaneSettings {
            send: gate(Destination::Cancel).await?,
            get: gate(Destination::Get).await?,
            list: gate(Destination::List).await?,
        })
    }

    fn core(&self, run: RunKey) -> CoreSettings {
        let mut retry = RetrySettings::default().scaled_down(100);
        retry.max_attempts = self.max_attempts;
        CoreSettings {
            operation: Operation::Cancel,
            run,
            retry,
            comment: CommentRule {
                always: None,
                otherwise: Arc::from("from the tests"),
            },
            rules: Arc::new(SkipRules {
                precheck: self.precheck,
                ..SkipRules::default()
            }),
            verify_for: None,
            // Not shorter: a busy machine may take a second for the first answer.
            reach_timeout: Duration::from_secs(60),
            give_up_after: Duration::from_secs(90 * 60),
            max_failures: None,
            seed: 1,
        }
    }
}

/// Keeps the events, and signals when the run starts to stop.
#[derive(Default)]
struct Recorder {
    events: Vec<RunEvent>,
    stopping: Option<mpsc::UnboundedSender<()>>,
}

impl Observer for Recorder {
    fn happened(&mut self, _: Moment, _: LaneId, event: &RunEvent) {
        self.events.push(event.clone());
        if let (RunEvent::Stopping(_), Some(stopping)) = (event, &self.stopping) {
            stopping.send(()).unwrap();
        }
    }

    fn looked(&mut self, _: &RunView) {}
}

impl Recorder {
    fn played(self, end: RunEnd, folder: &Path, sandbox: Sandbox) -> Played {
        let reader = Reader::open(folder).unwrap();
        let run = reader.runs().unwrap()[0].begun.id;
        let rows = reader.report_rows(run).unwrap();
        Played {
            end,
            rows: rows.map(Result::unwrap).collect(),
            sandbox,
            events: self.events,
        }
    }
}

impl Played {
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.rows.iter().map(|row| row.outcome).collect()
    }

    pub(crate) fn counts(&self) -> BTreeMap<Outcome, usize> {
        let mut counts = BTreeMap::new();
        for row in &self.rows {
            *counts.entry(row.outcome).or_default() += 1;
        }
        counts
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Serves a sandbox on a free port while this runtime lives.
pub(crate) async fn serve(
    settings: SandboxSettings,
    records: Vec<MockAction>,
) -> (Sandbox, String) {
    let sandbox = Sandbox::new(settings);
    for record in records {
        sandbox.add(record);
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(mde_cancel::sandbox::serve(
        listener,
        sandbox.clone(),
        std::future::pending::<()>(),
    ));
    (sandbox, base)
}

pub(crate) fn open_store(folder: &Path) -> Store {
    let clock = SystemClock::new();
    Store::open(folder, process(&clock), clock.now()).unwrap()
}

fn process(clock: &SystemClock) -> Process {
    Process {
        id: uuid::Uuid::new_v4(),
        pid: std::process::id(),
        host: "here".to_owned(),
        boot: clock.boot(),
    }
}

pub(crate) async fn sandbox_scope(
    store: &Store,
    destination: Destination,
    now: Moment,
) -> Result<ScopeKey, StoreError> {
    let scope = Scope {
        cloud: "sandbox".to_owned(),
        tenant: "-".to_owned(),
        app: "-".to_owned(),
        destination,
    };
    Ok(store.scope(&scope, now).await?.key)
}

pub(crate) fn gate(scope: ScopeKey, windows: Windows, concurrency: usize) -> GateSettings {
    GateSettings {
        scope,
        windows: Arc::new(windows),
        pace: None,
        concurrency,
        cooldown: None,
        learned: None,
    }
}

pub(crate) fn connect(base: &str, timeout: Duration) -> Connection {
    Connection::open(base.parse().unwrap(), web_settings(timeout)).unwrap()
}

fn web_settings(timeout: Duration) -> WebSettings {
    WebSettings {
        timeout,
        user_agent: "mde-cancel tests".to_owned(),
        trust: RootCerts::Nothing,
        proxies: Proxies::Off,
    }
}

/// A token that any sandbox accepts unless it is strict.
pub(crate) fn any_token() -> Credential {
    let token = StaticToken::from_value(&SecretString::from("any"), "the test").unwrap();
    Credential::new(TokenSource::Ready(token), None)
}

fn handles(connection: Connection, credential: Credential) -> LaneClients {
    LaneClients::new(
        SendClient::new(connection.clone()),
        ReadClient::new(connection),
        credential,
    )
}

fn signing_in_at(login: &str) -> Credential {
    let settings = web_settings(Duration::from_secs(3600));
    let client = |scheme| web_client(scheme, settings.clone()).unwrap();
    let login = LoginClient::new(
        client(Scheme::Https),
        client(Scheme::Http),
        login.parse().unwrap(),
    );
    let method = SignInMethod::App {
        tenant: "11111111-2222-3333-4444-555555555555".to_owned(),
        client: "99999999-2222-3333-4444-555555555555".to_owned(),
        grant: GrantType::ClientSecret(SecretOrigin::Value(
            SecretString::from("any"),
            "the test".to_owned(),
        )),
    };
    let scope = "https://api.example/.default".to_owned();
    let sign_in = EntraSignIn::new(method, scope, login, Arc::new(SystemClock::new()));
    Credential::new(TokenSource::SignIn(sign_in), None)
}

/// Counts the calls to one destination that the ledger has ever allowed.
fn calls_in_ledger(folder: &Path, destination: &str) -> usize {
    let file = rusqlite::Connection::open(state_file(folder)).unwrap();
    let sql =
        "SELECT count(*) FROM calls JOIN scopes ON calls.scope = scopes.id WHERE destination = ?1";
    let count: i64 = file
        .query_row(sql, [destination], |row| row.get(0))
        .unwrap();
    usize::try_from(count).unwrap()
}
