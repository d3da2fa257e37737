//! A run that somebody stops while a call of it hangs, on a clock that the test moves.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use mde_cancel::api::{Proxies, RootCerts, Scheme, WebSettings, web_client};
use mde_cancel::auth::{
    Credential, EntraSignIn, Grant, LoginClient, SecretOrigin, SignInMethod, TokenSource,
};
use mde_cancel::clock::{Clock as _, ManualClock, SystemClock};
use mde_cancel::engine::core::{Core, RunEvent, StopReason};
use mde_cancel::engine::{
    Beyond, Intake, LaneShares, Observer, Planner, Precheck, RunParts, RunView, SkipRules, execute,
};
use mde_cancel::model::{LaneId, Moment, RunId, Uptime};
use mde_cancel::store::StoreOptions;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedSender;

use super::{Played, Scenario, new_run, open_store};

/// A run that has not ended after so long waits for a call that never ends.
const STUCK: Duration = Duration::from_secs(60);

/// What hangs when the wish to stop comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangs {
    /// The first call to the API.
    FirstCall,
    /// The sign-in before it.
    SignIn,
}

/// What became of a run that was stopped.
pub(crate) struct Stopped {
    pub(crate) played: Played,
    /// The ends of the calls in the ledger, as far behind the stop as they count.
    pub(crate) ends: Vec<Duration>,
}

/// Says when a stop was taken in.
struct Listener {
    events: Vec<RunEvent>,
    stopping: UnboundedSender<()>,
}

impl Observer for Listener {
    fn happened(&mut self, _: Moment, _: LaneId, event: &RunEvent) {
        self.events.push(event.clone());
        if matches!(event, RunEvent::Stopping(_)) {
            self.stopping.send(()).unwrap();
        }
    }

    fn looked(&mut self, _: &RunView) {}
}

impl Scenario {
    /// Stops the run once something hangs, and lets so much time pass then.
    pub(crate) fn play_until_stopped(self, hangs: Hangs, passes: Duration) -> Stopped {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.stop_inside(hangs, passes))
    }

    async fn stop_inside(self, hangs: Hangs, passes: Duration) -> Stopped {
        let (sandbox, base) = self.serve().await;
        // Whoever connects is never answered.
        let login = TcpListener::bind("127.0.0.1:0").unwrap();
        login.set_nonblocking(true).unwrap();
        let handles = match hangs {
            Hangs::FirstCall => self.handles(&base),
            Hangs::SignIn => self.handles_with(
                &base,
                signing_in_at(&format!("http://{}", login.local_addr().unwrap())),
            ),
        };
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(folder.path(), StoreOptions::default());
        let clock = ManualClock::new(SystemClock::new().now());
        let start = clock.now();
        let id = RunId::new(uuid::Uuid::now_v7());
        let run = store.create_run(new_run(id, start.wall)).await.unwrap();
        let lane = self.lane(&store, start).await.unwrap();
        let mut settings = self.core(run);
        settings.rules = Arc::new(SkipRules {
            precheck: Precheck::ReadFirst,
            ..SkipRules::default()
        });
        let parts = RunParts {
            store: store.clone(),
            clock: Arc::new(clock.clone()),
            run,
            core: Core::new(settings, vec![lane]),
            lanes: vec![Ok(Arc::new(handles))],
            intake: Intake::Read {
                inputs: self.inputs(folder.path()),
                beyond: Beyond::Nothing,
            },
            before: LaneShares::default(),
            planner: Planner::new(Arc::default()),
        };
        let (stopping, mut stops) = mpsc::unbounded_channel();
        let mut listener = Listener {
            events: Vec::new(),
            stopping,
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
            end = tokio::time::timeout(STUCK, execute(parts, &mut wishes, &mut listener)) => end,
            () = person => unreachable!("nobody waits for ever"),
        };
        let end = end.unwrap().unwrap();
        let rows = store.reader().unwrap().report_rows(id).unwrap();
        let rows = rows.map(Result::unwrap).collect();
        drop(store);
        Stopped {
            ends: ends(folder.path(), start.uptime),
            played: Played {
                end,
                rows,
                sandbox,
                events: listener.events,
            },
        }
    }
}

fn signing_in_at(login: &str) -> Credential {
    let client = |scheme| {
        web_client(WebSettings {
            scheme,
            timeout: Duration::from_secs(3600),
            user_agent: "mde-cancel tests".to_owned(),
            trust: RootCerts::Nothing,
            proxies: Proxies::Off,
        })
        .unwrap()
    };
    let login = LoginClient::new(
        client(Scheme::Https),
        client(Scheme::Http),
        login.parse().unwrap(),
    );
    let method = SignInMethod::App {
        tenant: "11111111-2222-3333-4444-555555555555".to_owned(),
        client: "99999999-2222-3333-4444-555555555555".to_owned(),
        grant: Grant::ClientSecret(SecretOrigin::Value(
            SecretString::from("any"),
            "the test".to_owned(),
        )),
    };
    let scope = "https://api.example/.default".to_owned();
    let sign_in = EntraSignIn::new(method, scope, login, Arc::new(SystemClock::new()));
    Credential::new(TokenSource::SignIn(sign_in), None)
}

/// Returns from when on each call of the ledger counts as ended, after `start`.
fn ends(folder: &std::path::Path, start: Uptime) -> Vec<Duration> {
    let file = rusqlite::Connection::open(mde_cancel::store::state_file(folder)).unwrap();
    let mut found = file
        .prepare("SELECT ended_up FROM calls ORDER BY id")
        .unwrap();
    let ends = found.query_map([], |row| row.get(0)).unwrap();
    let ends = ends.map(|end| Uptime::from_nanos(end.unwrap()).since(start));
    ends.collect()
}
