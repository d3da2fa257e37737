//! Any bytes as the answer to each of our calls: nothing panics, no part of the token comes back, and the service's
//! text is short and harmless.
//!
//! The first byte selects the call, and whether the rest is a whole answer or a body behind a status of its own. Each
//! `TOKEN` in the bytes makes the answer echo the token.
#![no_main]

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mde_cancel::api::{
    Connection, ListQuery, Proxies, ReadClient, RootCerts, SendClient, WebSettings,
};
use mde_cancel::model::{ActionId, Reply, Request, is_hidden};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJmdXp6In0.c2lnbmF0dXJl";

const STATUSES: [u16; 16] = [
    200, 200, 200, 200, 201, 204, 302, 400, 401, 403, 404, 409, 429, 429, 500, 503,
];

fn answer(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(5).position(|five| five == b"TOKEN") {
        body.extend_from_slice(&rest[..at]);
        body.extend_from_slice(TOKEN.as_bytes());
        rest = &rest[at + 5..];
    }
    body.extend_from_slice(rest);
    if kind & 0x80 != 0 {
        return body;
    }
    let status = STATUSES[usize::from(kind >> 2) % STATUSES.len()];
    let length = body.len();
    let mut answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    answer.append(&mut body);
    answer
}

/// Answers one call and hangs up.
async fn serve(listener: &TcpListener, answer: &[u8]) {
    let Ok((mut peer, _)) = listener.accept().await else {
        return;
    };
    let mut call = [0; 4096];
    // The calls are small, and a client that is gone is no finding.
    if peer.read(&mut call).await.is_ok() && peer.write_all(answer).await.is_ok() {
        hang_up(peer).await;
    }
}

async fn hang_up(mut peer: TcpStream) {
    if peer.shutdown().await.is_ok() {
        let mut rest = [0; 64];
        while matches!(peer.read(&mut rest).await, Ok(1..)) {}
    }
}

fn check<T: std::fmt::Debug>(reply: &Reply<T>) {
    let shown = format!("{reply:?}");
    assert!(!shown.contains(&TOKEN[..24]), "{shown}");
    if let Some(error) = &reply.error {
        assert!(error.message.chars().count() <= 300, "{shown}");
        assert!(!error.message.contains(is_hidden), "{shown}");
        assert!(!error.code.contains(is_hidden), "{shown}");
    }
}

async fn call(kind: u8, listener: &TcpListener, bytes: &[u8]) {
    let Ok(SocketAddr::V4(address)) = listener.local_addr() else {
        return;
    };
    let base = format!("http://{address}/").parse().expect("an address");
    let settings = WebSettings {
        timeout: Duration::from_secs(5),
        user_agent: "fuzz".to_owned(),
        trust: RootCerts::Nothing,
        proxies: Proxies::Off,
    };
    let connection = Connection::open(base, settings).expect("a connection");
    let token = SecretString::from(TOKEN);
    let id = ActionId::parse("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2").expect("an id");
    let answer = answer(kind, bytes);
    let calling = async {
        match kind % 4 {
            0 => check(&SendClient::new(connection).send(&token, &Request::Cancel(id), "fuzz").await),
            1 => check(&ReadClient::new(connection).action(&token, id).await),
            2 => check(&ReadClient::new(connection).actions(&token, &[id]).await),
            _ => {
                let query = ListQuery {
                    filter: None,
                    top: NonZeroU32::MIN,
                    skip: 0,
                };
                check(&ReadClient::new(connection).list(&token, &query).await);
            }
        }
    };
    tokio::select! {
        () = calling => {}
        () = async { loop { serve(listener, &answer).await } } => {}
    }
}

thread_local! {
    static WORLD: Cell<Option<(tokio::runtime::Runtime, TcpListener)>> = const { Cell::new(None) };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let (runtime, listener) = WORLD.take().unwrap_or_else(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("a port");
        (runtime, listener)
    });
    runtime.block_on(call(*kind, &listener, bytes));
    WORLD.set(Some((runtime, listener)));
});
