//! What a call costs that came to nothing, by the real binary and its own ledger: nothing where no byte left, its period
//! where the peer ended it, and a grace more where we did.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::support::{nth_id, program};

/// What a server does with each call.
#[derive(Clone, Copy, Debug)]
enum Peer {
    /// Nobody listens.
    Absent,
    /// Reads the call and ends the connection.
    Closes,
    /// Reads the call and says nothing.
    Hangs,
    /// Takes the connection and understands no TLS.
    NoTls,
}

/// What the ledger says of the cancels of the last minute.
#[derive(Debug)]
struct Spent {
    used: u64,
    /// Until when all of them hold their slots.
    held_for: Duration,
    attempts: Vec<u32>,
}

/// Returns the address of such a peer.
fn listen(peer: Peer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut address = listener.local_addr().unwrap();
    match peer {
        Peer::Absent => {
            // Bound, so that nobody else gets the port, but not listening.
            let silent = tokio::net::TcpSocket::new_v4().unwrap();
            silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            address = silent.local_addr().unwrap();
            std::mem::forget(silent);
        }
        Peer::Closes | Peer::NoTls => {
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    // Both a call and a TLS greeting come in one piece or two.
                    stream.read(&mut [0; 4096]).unwrap_or_default();
                }
            });
        }
        Peer::Hangs => {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                for stream in listener.incoming() {
                    all.push(stream.unwrap());
                }
            });
        }
    }
    let scheme = if matches!(peer, Peer::NoTls) {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{address}")
}

fn with_token(folder: &Path) -> Command {
    let mut command = program(folder);
    command.env("MDE_CANCEL_TOKEN", "any-word");
    command
}

/// Runs three rows against the peer for three seconds and looks into the ledger.
fn spend(peer: Peer) -> Spent {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ids: Vec<_> = (1..=3).map(|number| nth_id(number).to_string()).collect();
    std::fs::write(folder.join("ids.txt"), ids.join("\n")).unwrap();
    let ran = with_token(folder)
        .args(["run", "ids.txt", "--yes", "--no-precheck", "--no-verify"])
        .args(["--api-url", &listen(peer), "--timeout", "1s"])
        .args(["--stop-after", "3s", "--report", "report.csv"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(4), "{peer:?}: {told}");
    let quota = with_token(folder)
        .args(["quota", "--format", "json"])
        .output()
        .unwrap();
    let now = Timestamp::now();
    let scopes: Vec<Value> = serde_json::from_slice(&quota.stdout).unwrap();
    let cancels = scopes
        .iter()
        .find(|scope| scope["destination"] == "cancel")
        .unwrap();
    let minute = &cancels["windows"][0];
    let free: Option<Timestamp> = minute["all_free_at"].as_str().map(|at| at.parse().unwrap());
    let held_for = free.map_or(Duration::ZERO, |at| {
        at.duration_since(now).try_into().unwrap_or_default()
    });
    let mut report = csv::Reader::from_path(folder.join("report.csv")).unwrap();
    let place = report
        .headers()
        .unwrap()
        .iter()
        .position(|name| name == "attempts")
        .unwrap();
    let attempts = report
        .records()
        .map(|row| row.unwrap()[place].parse().unwrap())
        .collect();
    Spent {
        used: minute["used"].as_u64().unwrap(),
        held_for,
        attempts,
    }
}

#[test]
fn a_call_that_came_to_nothing_costs_what_it_may_have_cost_the_service() {
    let [absent, closes, hangs, no_tls] = [Peer::Absent, Peer::Closes, Peer::Hangs, Peer::NoTls]
        .map(|peer| std::thread::spawn(move || spend(peer)))
        .map(|spending| spending.join().unwrap());
    for never_left in [absent, no_tls] {
        assert_eq!(never_left.used, 0, "{never_left:?}");
        assert_eq!(never_left.attempts, [0; 3], "{never_left:?}");
    }
    let sent = |spent: &Spent| u64::from(spent.attempts.iter().sum::<u32>());
    assert!(closes.used >= 3, "{closes:?}");
    assert_eq!(closes.used, sent(&closes), "{closes:?}");
    assert!(closes.held_for <= Duration::from_secs(61), "{closes:?}");
    assert!(hangs.used >= 3, "{hangs:?}");
    assert_eq!(hangs.used, sent(&hangs), "{hangs:?}");
    // The grace of two minutes and the minute itself, less what passed since.
    assert!(hangs.held_for > Duration::from_secs(125), "{hangs:?}");
}
