//! TLS failures: an untrusted peer gets no byte of the call; a trusted one may hang or disconnect after it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mde_cancel::api::RootCerts;
use mde_cancel::model::{CancelReply, ReplyKind};
use rustls::{ServerConnection, StreamOwned};

use super::{ID, PATIENT, SHORT, cancel, open, record};
use crate::support::{answer, tls_config, tls_data};

/// What the server does after the handshake.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// Answers the call and closes with close_notify.
    Answers,
    /// Answers without a content length, then disconnects without close_notify.
    BreaksOff,
    /// Reads the call and disconnects.
    Leaves,
    /// Reads the call and never answers.
    Hangs,
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

struct Server {
    base: String,
    /// Bytes received through TLS.
    read: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    /// Accepts one connection with a certificate from `tests/data/tls`.
    fn with(certificate: &str, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!(
            "https://localhost:{}/",
            listener.local_addr().unwrap().port()
        );
        let read: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (config, seen) = (tls_config(certificate), Arc::clone(&read));
        std::thread::spawn(move || {
            let (peer, _) = listener.accept().unwrap();
            let tls = ServerConnection::new(config).unwrap();
            serve(StreamOwned::new(tls, peer), then, &seen);
        });
        Self { base, read }
    }

    async fn reply(&self, timeout: Duration) -> CancelReply {
        let trust = RootCerts::PublicAnd(tls_data("authority.pem"));
        cancel(open(&self.base, trust, timeout)).await
    }
}

fn serve(mut stream: Stream, then: Then, seen: &Mutex<Vec<u8>>) {
    let mut byte = [0];
    // A client that doesn't trust the server aborts the handshake, which is an error here.
    while !seen.lock().unwrap().ends_with(b"}") {
        match stream.read(&mut byte) {
            Ok(1) => seen.lock().unwrap().push(byte[0]),
            _ => return,
        }
    }
    match then {
        Then::Answers => {
            let bytes = answer("200 OK", "Connection: close\r\n", record(ID, "Cancelled"));
            stream.write_all(&bytes).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
        Then::BreaksOff => {
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
            let bytes = [head.to_owned(), record(ID, "Cancelled")].concat();
            stream.write_all(bytes.as_bytes()).unwrap();
            stream.flush().unwrap();
        }
        Then::Leaves => return,
        Then::Hangs => {}
    }
    if then != Then::BreaksOff {
        stream.read_to_end(&mut Vec::new()).unwrap_or_default();
    }
}

#[tokio::test]
async fn a_certificate_that_is_in_order_is_taken() {
    let server = Server::with("sound.pem", Then::Answers);
    let reply = server.reply(PATIENT).await;
    assert!(
        matches!(reply.kind, ReplyKind::Answer(Some(_))),
        "{reply:?}"
    );
}

#[tokio::test]
async fn to_a_peer_that_cannot_be_trusted_no_byte_of_the_call_leaves() {
    for (certificate, why) in [
        ("self-signed.pem", "UnknownIssuer"),
        ("other-host.pem", "elsewhere.example"),
        ("ended.pem", "expired"),
    ] {
        let server = Server::with(certificate, Then::Answers);
        let reply = server.reply(PATIENT).await;
        let ReplyKind::NotSent(what) = &reply.kind else {
            panic!("{certificate}: {reply:?}");
        };
        assert!(what.contains(why), "{certificate}: {what}");
        assert!(server.read.lock().unwrap().is_empty(), "{certificate}");
    }
}

#[tokio::test]
async fn an_authority_that_nobody_named_is_not_trusted() {
    let server = Server::with("sound.pem", Then::Answers);
    let reply = cancel(open(&server.base, RootCerts::Public, PATIENT)).await;
    assert!(matches!(reply.kind, ReplyKind::NotSent(_)), "{reply:?}");
}

#[tokio::test]
async fn silence_after_the_handshake_is_a_call_that_left() {
    let server = Server::with("sound.pem", Then::Hangs);
    let reply = server.reply(SHORT).await;
    assert_eq!((reply.kind, reply.http_status), (ReplyKind::TimedOut, None));
    assert!(server.read.lock().unwrap().starts_with(b"POST /api/"));
}

#[tokio::test]
async fn a_peer_that_leaves_after_the_handshake_breaks_the_call() {
    let server = Server::with("sound.pem", Then::Leaves);
    let reply = server.reply(PATIENT).await;
    assert!(matches!(reply.kind, ReplyKind::Broken(_)), "{reply:?}");
}

#[tokio::test]
async fn a_body_that_ends_without_tls_saying_so_may_have_been_cut_and_is_not_believed() {
    let server = Server::with("sound.pem", Then::BreaksOff);
    let reply = server.reply(PATIENT).await;
    assert_eq!(
        (reply.kind, reply.http_status),
        (ReplyKind::InvalidBody, Some(200))
    );
}
