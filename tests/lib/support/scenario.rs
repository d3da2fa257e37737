//! A run of the real engine with the real journal and client, in this process, against the sandbox on a free port.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::api::{ApiSettings, Canceller, Connection, Proxies, ReadClient, RootCerts};
use mde_cancel::auth::{Credential, StaticToken, TokenSource};
use mde_cancel::clock::{Clock as _, SystemClock};
use mde_cancel::engine::core::{
    CommentRule, Core, CoreSettings, GateSettings, LaneSettings, RunEvent,
};
use mde_cancel::engine::{
    Beyond, Intake, LaneHandles, LaneShares, Observer, Planner, RunEnd, RunParts, RunView, execute,
};
use mde_cancel::input::{Input, InputSettings, OpenInput, open};
use mde_cancel::model::{Destination, LaneId, Moment, Outcome, ReportRow, RunId, Scope};
use mde_cancel::quota::Windows;
use mde_cancel::retry::RetrySettings;
use mde_cancel::sandbox::{Faults, MockAction, Sandbox, SandboxSettings, Status};
use mde_cancel::store::{NewRun, Process, RunKey, Store, StoreError, StoreOptions};
use secrecy::SecretString;

use super::nth_id;

mod broken_store;
mod stopped;

pub(crate) use broken_store::GoneOn;
pub(crate) use stopped::Hangs;

/// What the run and the service are like.
#[must_use]
pub(crate) struct Scenario {
    sandbox: SandboxSettings,
    records: Vec<MockAction>,
    ids: Vec<String>,
    timeout: Duration,
    max_attempts: u32,
    windows: Windows,
    time_scale: u32,
}

/// What became of it.
pub(crate) struct Played {
    pub(crate) end: RunEnd,
    pub(crate) rows: Vec<ReportRow>,
    pub(crate) sandbox: Sandbox,
    pub(crate) events: Vec<RunEvent>,
}

struct Recorder(Vec<RunEvent>);

impl Observer for Recorder {
    fn happened(&mut self, _: Moment, _: LaneId, event: &RunEvent) {
        self.0.push(event.clone());
    }

    fn looked(&mut self, _: &RunView) {}
}

impl Scenario {
    /// So many Isolates that are Pending, in a service that never fails and has no quota, on a clock a hundred times
    /// as fast as the real one.
    pub(crate) fn with_actions(count: usize) -> Self {
        let ids = (1..=count).map(|number| format!("{},Isolate", nth_id(number)));
        let records = (1..=count).map(|number| {
            MockAction::new(
                nth_id(number),
                "Isolate",
                Status::Pending,
                Timestamp::from_second(1_790_000_000).unwrap(),
            )
        });
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
            windows: Windows::none(),
            time_scale: 100,
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

    /// The service does not know the n-th action.
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

    pub(crate) fn windows(mut self, windows: Windows) -> Self {
        self.windows = windows;
        self
    }

    pub(crate) fn play(self) -> Played {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.play_inside())
    }

    async fn play_inside(self) -> Played {
        let (sandbox, base) = self.serve().await;
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(folder.path(), StoreOptions::default());
        let clock = SystemClock::new();
        let id = RunId::new(uuid::Uuid::now_v7());
        let run = store
            .create_run(new_run(id, clock.now().wall))
            .await
            .unwrap();
        let lane = self.lane(&store, clock.now()).await.unwrap();
        let parts = RunParts {
            store: store.clone(),
            clock: Arc::new(clock),
            run,
            core: Core::new(self.core(run), vec![lane]),
            lanes: vec![Ok(Arc::new(self.handles(&base)))],
            intake: Intake::Read {
                inputs: self.inputs(folder.path()),
                beyond: Beyond::Nothing,
            },
            before: LaneShares::default(),
            planner: Planner::new(std::sync::Arc::default()),
        };
        let mut recorder = Recorder(Vec::new());
        let (_keep, mut stop) = tokio::sync::mpsc::channel(1);
        let end = execute(parts, &mut stop, &mut recorder).await.unwrap();
        let rows = store.reader().unwrap().report_rows(id).unwrap();
        let rows = rows.map(Result::unwrap).collect();
        Played {
            end,
            rows,
            sandbox,
            events: recorder.0,
        }
    }

    /// Serves the sandbox for as long as this runtime lives.
    async fn serve(&self) -> (Sandbox, String) {
        let sandbox = Sandbox::new(self.sandbox.clone());
        for record in self.records.clone() {
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

    async fn lane(&self, store: &Store, now: Moment) -> Result<LaneSettings, StoreError> {
        let gate = async |destination| {
            let scope = Scope {
                cloud: "sandbox".to_owned(),
                tenant: "-".to_owned(),
                app: "-".to_owned(),
                destination,
            };
            Ok(GateSettings {
                scope: store.scope(&scope, now).await?.key,
                windows: Arc::new(self.windows.clone()),
                pace: None,
                concurrency: 4,
                cooldown: None,
                learned: None,
            })
        };
        Ok(LaneSettings {
            cancel: gate(Destination::Cancel).await?,
            get: gate(Destination::Get).await?,
            list: gate(Destination::List).await?,
        })
    }

    fn core(&self, run: RunKey) -> CoreSettings {
        let mut retry = RetrySettings::default().scaled_down(self.time_scale);
        retry.max_attempts = self.max_attempts;
        CoreSettings {
            run,
            retry,
            comment: CommentRule {
                always: None,
                otherwise: Arc::from("from the tests"),
            },
            rules: Arc::default(),
            verify_for: None,
            // Not shorter: a machine at work on other things may take a second for the first answer.
            reach_timeout: Duration::from_secs(60),
            give_up_after: Duration::from_secs(90 * 60),
            max_failures: None,
            seed: 1,
        }
    }

    fn handles(&self, base: &str) -> LaneHandles {
        let token = StaticToken::from_value(&SecretString::from("any"), "the test").unwrap();
        self.handles_with(base, Credential::new(TokenSource::Ready(token), None))
    }

    fn handles_with(&self, base: &str, credential: Credential) -> LaneHandles {
        let connection = Connection::open(ApiSettings {
            base: base.parse().unwrap(),
            timeout: self.timeout,
            user_agent: "mde-cancel tests".to_owned(),
            trust: RootCerts::Nothing,
            proxies: Proxies::Off,
        })
        .unwrap();
        LaneHandles::new(
            Canceller::new(connection.clone()),
            ReadClient::new(connection),
            credential,
        )
    }

    fn inputs(&self, folder: &Path) -> Vec<OpenInput> {
        let path = folder.join("ids.csv");
        std::fs::write(&path, format!("id,type\n{}", self.ids.join("\n"))).unwrap();
        open(&[Input::File(path)], &as_a_run_reads()).unwrap()
    }
}

fn open_store(folder: &Path, options: StoreOptions) -> Store {
    let clock = SystemClock::new();
    let process = Process {
        id: uuid::Uuid::new_v4(),
        pid: std::process::id(),
        host: "here".to_owned(),
        boot: clock.boot(),
    };
    Store::open_with(folder, process, clock.now(), options).unwrap()
}

/// Checkpoints are kept, so that the reading can go on wherever it is broken off.
fn as_a_run_reads() -> InputSettings {
    InputSettings {
        checkpoints: true,
        ..InputSettings::default()
    }
}

fn new_run(id: RunId, created: Timestamp) -> NewRun {
    NewRun {
        id,
        created,
        settings: "{}".to_owned(),
        inputs: "[]".to_owned(),
        tenant: "-".to_owned(),
        app: "-".to_owned(),
        cloud: "sandbox".to_owned(),
        host: "here".to_owned(),
        user: "tests".to_owned(),
        version: "0".to_owned(),
    }
}

impl Played {
    /// Returns how each row ended, in order.
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
