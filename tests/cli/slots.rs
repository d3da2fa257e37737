//! What an unsuccessful call costs in the real binary's ledger: nothing if no byte left, its period if the peer ended
//! it, and a grace more if we did.

use std::io::Read as _;
use std::net::TcpListener;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::support::{Folder, done};

#[derive(Clone, Copy, Debug)]
enum Peer {
    /// Nobody listens.
    Absent,
    /// Reads the call and disconnects.
    Closes,
    /// Accepts the connection and never answers.
    Hangs,
    /// Accepts the connection and doesn't speak TLS.
    NoTls,
}

/// The ledger's cancels of the last minute.
#[derive(Debug)]
struct Spent {
    used: u64,
    /// How long until all of them release their slots.
    held_for: Duration,
    attempts: Vec<u32>,
}

fn listen(peer: Peer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut address = listener.local_addr().unwrap();
    match peer {
        Peer::Absent => {
            // Bound but not listening, so that nothing else gets the port.
            let silent = tokio::net::TcpSocket::new_v4().unwrap();
            silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            address = silent.local_addr().unwrap();
            std::mem::forget(silent);
        }
        Peer::Closes | Peer::NoTls => {
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    // A call or a TLS hello may come in two pieces; one is enough.
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

/// Runs three rows against the peer for three seconds, then reads the ledger.
fn spend(peer: Peer) -> Spent {
    let folder = Folder::new();
    folder.write_ids("ids.txt", 1..=3);
    let run = |words: &str| {
        let mut command = folder.command(words);
        done(command.env("MDE_CANCEL_TOKEN", "any-word"))
    };
    let url = listen(peer);
    run(&format!(
        "run ids.txt --yes --no-precheck --no-verify --api-url {url} --timeout 1s --stop-after 3s --report r.csv"
    ))
    .exits(4);
    let quota = run("quota --format json").exits(0);
    let now = Timestamp::now();
    let scopes: Vec<Value> = serde_json::from_str(&quota.stdout).unwrap();
    let mut scopes = scopes.iter();
    let cancels = scopes.find(|scope| scope["destination"] == "cancel");
    let minute = &cancels.unwrap()["windows"][0];
    let free: Option<Timestamp> = minute["all_free_at"].as_str().map(|at| at.parse().unwrap());
    let held_for = free.map_or(Duration::ZERO, |at| {
        at.duration_since(now).try_into().unwrap_or_default()
    });
    let attempts = folder.column("r.csv", "attempts");
    Spent {
        used: minute["used"].as_u64().unwrap(),
        held_for,
        attempts: attempts.iter().map(|cell| cell.parse().unwrap()).collect(),
    }
}

#[test]
fn a_failed_call_uses_the_quota_that_the_service_may_have_counted() {
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
    // The grace of two minutes plus the minute itself, minus the time since then.
    assert!(hangs.held_for > Duration::from_secs(125), "{hangs:?}");
}
