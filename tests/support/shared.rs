//! What both test binaries share: made-up ids, a config file, and a judge of runs by the service's log and final state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::model::{ActionId, Outcome, RunId};
use mde_cancel::sandbox::{CallKind, Sandbox, Status};
use mde_cancel::store::NewRun;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) fn nth_id(number: usize) -> ActionId {
    ActionId::parse(&format!("00000000-0000-4000-8000-{number:012x}")).unwrap()
}

/// A run that begins in one tenant.
pub(crate) fn new_run(number: u128, created: Timestamp) -> NewRun {
    NewRun {
        id: RunId::new(uuid::Uuid::from_u128(number)),
        created,
        settings: "{}".to_owned(),
        inputs: "[\"ids.csv\"]".to_owned(),
        tenant: "contoso".to_owned(),
        app: "-".to_owned(),
        cloud: "commercial".to_owned(),
        host: "jump-host".to_owned(),
        user: "ana".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

pub(crate) fn tls_data(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    folder.join(name)
}

/// A TLS server that shows a certificate of the tests.
pub(crate) fn tls_config(certificate: &str) -> Arc<ServerConfig> {
    let path = tls_data(certificate);
    let chain = vec![CertificateDer::from_pem_file(&path).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&path).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// Writes a config file that only its owner may change, whatever the umask.
pub(crate) fn write_config(path: &Path, text: &str) {
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
