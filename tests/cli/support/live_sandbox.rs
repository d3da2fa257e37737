//! A sandbox on a free port, while a test runs the real binary against it.

use jiff::Timestamp;
use mde_cancel::quota::Windows;
use mde_cancel::sandbox::{CallKind, MockAction, Sandbox, SandboxSettings, Status};
use tokio::runtime::Runtime;

use super::nth_id;

/// Serves until it is dropped.
pub(crate) struct LiveSandbox {
    pub(crate) sandbox: Sandbox,
    pub(crate) url: String,
    /// Dropping it stops the server's threads.
    _runtime: Runtime,
}

impl LiveSandbox {
    /// Starts a sandbox without quota, delay and actions.
    pub(crate) fn start(change: impl FnOnce(&mut SandboxSettings)) -> Self {
        let mut settings = SandboxSettings {
            quota: Windows::none(),
            ..SandboxSettings::default()
        };
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let sandbox = Sandbox::new(settings);
        let bound = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(bound).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served =
            mde_cancel::sandbox::serve(listener, sandbox.clone(), std::future::pending::<()>());
        runtime.spawn(served);
        Self {
            sandbox,
            url,
            _runtime: runtime,
        }
    }

    /// Adds Isolates with this status and these numbers.
    pub(crate) fn isolates(&self, numbers: std::ops::RangeInclusive<usize>, status: Status) {
        let created = Timestamp::from_second(1_790_000_000).unwrap();
        for number in numbers {
            self.sandbox
                .add(MockAction::new(nth_id(number), "Isolate", status, created));
        }
    }

    pub(crate) fn calls(&self, kind: CallKind) -> usize {
        let log = self.sandbox.log();
        log.iter().filter(|call| call.kind == kind).count()
    }
}
