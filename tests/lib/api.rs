//! The API client against a server that sends exactly the bytes a test scripted.

mod hostile;
mod tls;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use mde_cancel::api::{
    Connection, Filter, ListQuery, MAX_BATCH, Proxies, ReadClient, RootCerts, SendClient,
    WebSettings,
};
use mde_cancel::model::{
    ActionId, ActionStatus, CancelReply, ReadPage, ReplyKind, Request, RetryAfter, Selection,
};
use secrecy::SecretString;

use crate::support::{RawServer, Then, answer, gzip_blanks, gzip_of};

pub(crate) use hostile::{any_answer, replies_to};

const ID: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
const OTHER: &str = "11111111-5b1e-4a77-9a3d-0c5be0a1d9f2";

/// Longer than any machine needs, for calls that must not time out.
const PATIENT: Duration = Duration::from_secs(30);

/// Long enough to connect and send, for calls that must time out.
const SHORT: Duration = Duration::from_secs(3);

fn open(base: &str, trust: RootCerts, timeout: Duration) -> Connection {
    let settings = WebSettings {
        timeout,
        user_agent: "mde-cancel/test".to_owned(),
        trust,
        proxies: Proxies::Off,
    };
    Connection::open(base.parse().unwrap(), settings).unwrap()
}

fn plain(server: &RawServer) -> Connection {
    open(&server.base, RootCerts::Nothing, PATIENT)
}

fn token() -> SecretString {
    SecretString::from("a-token-that-is-long-enough")
}

fn id() -> ActionId {
    ActionId::parse(ID).unwrap()
}

async fn cancel(connection: Connection) -> CancelReply {
    SendClient::new(connection)
        .send(&token(), &Request::Cancel(id()), "why")
        .await
}

/// Answers a cancel with `bytes` and returns the client's reply.
async fn reply_to(bytes: impl AsRef<[u8]>) -> CancelReply {
    cancel(plain(&RawServer::saying(bytes))).await
}

fn record(id: &str, status: &str) -> String {
    format!(r#"{{"id":"{id}","status":"{status}"}}"#)
}

#[tokio::test]
async fn a_cancel_looks_on_the_wire_as_the_service_wants_it() {
    let server = RawServer::saying(answer("200 OK", "", record(ID, "Cancelled")));
    let connection = open(&format!("{}mde/", server.base), RootCerts::Nothing, PATIENT);
    let reply = SendClient::new(connection)
        .send(
            &token(),
            &Request::Cancel(id()),
            "CHG-4711: \"roll back\"\n",
        )
        .await;
    let ReplyKind::Answer(Some(action)) = reply.kind else {
        panic!("{reply:?}");
    };
    assert_eq!(action.status, Some(ActionStatus::Cancelled));
    assert_eq!(reply.http_status, Some(200));
    let call = server.calls().remove(0);
    let (head, body) = call.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().map(str::to_ascii_lowercase).collect();
    assert_eq!(
        lines.remove(0),
        format!("post /mde/api/machineactions/{ID}/cancel http/1.1")
    );
    lines.sort();
    let host = server
        .base
        .trim_start_matches("http://")
        .trim_end_matches('/');
    assert_eq!(
        lines,
        [
            "accept-encoding: gzip",
            "accept: application/json",
            "authorization: bearer a-token-that-is-long-enough",
            &format!("content-length: {}", body.len()),
            "content-type: application/json",
            &format!("host: {host}"),
            "user-agent: mde-cancel/test",
        ]
    );
    assert_eq!(body, r#"{"Comment":"CHG-4711: \"roll back\"\n"}"#);
}

#[tokio::test]
async fn a_single_read_and_a_batch_read_ask_exactly_for_what_they_want() {
    let list = format!(
        r#"{{"value":[{},{},7,{}]}}"#,
        record(OTHER, "Pending"),
        record("22222222-5b1e-4a77-9a3d-0c5be0a1d9f2", "Pending"),
        record(ID, "Failed")
    );
    let server = RawServer::with(vec![
        (answer("200 OK", "", record(ID, "Pending")), Then::Stays),
        (answer("200 OK", "", list), Then::Closes),
    ]);
    let reader = ReadClient::new(plain(&server));
    let ReplyKind::Answer(one) = reader.action(&token(), id()).await.kind else {
        panic!("no answer");
    };
    assert_eq!(
        (one.records.len(), one.records[0].status.clone()),
        (1, Some(ActionStatus::Pending))
    );
    let ids = [id(), ActionId::parse(OTHER).unwrap()];
    let ReplyKind::Answer(found) = reader.actions(&token(), &ids).await.kind else {
        panic!("no answer");
    };
    let found: Vec<_> = found.records.iter().map(|action| action.id).collect();
    assert_eq!(found, [ids[1], ids[0]]);
    let lines: Vec<_> = server
        .calls()
        .iter()
        .map(|call| call.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        lines,
        [
            format!("GET /api/machineactions/{ID} HTTP/1.1"),
            format!(
                "GET /api/machineactions?$filter=id%20in%20%28%27{ID}%27%2C%27{OTHER}%27%29&$top=2 HTTP/1.1"
            ),
        ]
    );
}

#[tokio::test]
async fn a_list_is_asked_for_with_everything_escaped_once_and_no_link_is_followed() {
    let elsewhere = RawServer::with(Vec::new());
    let list = format!(
        r#"{{"@odata.nextLink":"{}api/machineactions?$skip=1","value":[{}]}}"#,
        elsewhere.base,
        record(OTHER, "Pending")
    );
    let server = RawServer::saying(answer("200 OK", "", list));
    let selection = Selection {
        requestors: vec!["o'neil+50%&x@corp".to_owned()],
        since: Some("2026-01-31T00:00:00Z".parse().unwrap()),
        ..Selection::default()
    };
    let query = ListQuery {
        filter: Filter::of(&selection).text(),
        top: std::num::NonZeroU32::MAX,
        skip: 80,
    };
    let reply = ReadClient::new(plain(&server)).list(&token(), &query).await;
    let ReplyKind::Answer(found) = reply.kind else {
        panic!("{reply:?}");
    };
    assert_eq!((found.records.len(), found.is_whole), (1, false));
    assert_eq!(
        server.calls()[0].lines().next().unwrap(),
        "GET /api/machineactions?$filter=requestor%20eq%20%27o%27%27neil%2B50%25%26x%40corp%27%20and%20\
         creationDateTimeUtc%20ge%202026-01-31T00%3A00%3A00Z&$orderby=creationDateTimeUtc%20desc&$top=10000&$skip=80 \
         HTTP/1.1"
    );
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test]
async fn no_ids_and_too_many_need_no_call() {
    let server = RawServer::with(Vec::new());
    let reader = ReadClient::new(plain(&server));
    assert_eq!(
        reader.actions(&token(), &[]).await.kind,
        ReplyKind::Answer(ReadPage::from_iter([]))
    );
    let many = vec![id(); MAX_BATCH + 1];
    let reply = reader.actions(&token(), &many).await;
    assert!(matches!(reply.kind, ReplyKind::NotSent(_)));
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn a_success_that_is_no_record_tells_a_read_nothing() {
    for body in ["", "{}", "[]", "<html>", &record(OTHER, "Pending")] {
        let server = RawServer::with(vec![
            (answer("200 OK", "", body), Then::Stays),
            (answer("200 OK", "", body), Then::Stays),
        ]);
        let reader = ReadClient::new(plain(&server));
        assert_eq!(
            reader.action(&token(), id()).await.kind,
            ReplyKind::InvalidBody,
            "{body}"
        );
        assert_eq!(
            reader.actions(&token(), &[id()]).await.kind,
            ReplyKind::InvalidBody,
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_404_speaks_of_an_action_only_in_the_services_own_words_and_never_as_a_list() {
    let own = r#"{"error":{"code":"ResourceNotFound","message":"no such action"}}"#;
    for (body, is_own) in [(own, true), ("", false), ("<html>", false)] {
        let server = RawServer::with(vec![
            (answer("404 Not Found", "", body), Then::Stays),
            (answer("404 Not Found", "", body), Then::Stays),
        ]);
        let reader = ReadClient::new(plain(&server));
        let one = reader.action(&token(), id()).await.kind;
        assert_eq!(one == ReplyKind::NotFound, is_own, "{body}");
        let list = reader.actions(&token(), &[id()]).await.kind;
        let address = format!("{}api/machineactions", server.base);
        assert_eq!(list, ReplyKind::NoSuchAddress(address), "{body}");
    }
}

#[tokio::test]
async fn an_empty_or_a_json_success_is_an_acceptance_and_another_actions_record_is_not_believed() {
    for body in [
        "",
        " \r\n",
        "{}",
        "null",
        "[1]",
        "\u{feff}{}",
        &record(OTHER, "Cancelled"),
    ] {
        let reply = reply_to(answer("200 OK", "", body)).await;
        assert_eq!(reply.kind, ReplyKind::Answer(None), "{body}");
    }
    assert_eq!(
        reply_to(answer("202 Accepted", "", "")).await.kind,
        ReplyKind::Answer(None)
    );
    let bare = reply_to("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(
        (bare.kind, bare.http_status),
        (ReplyKind::Answer(None), Some(204))
    );
}

#[tokio::test]
async fn a_success_that_is_not_what_the_service_speaks_is_garbled() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"id\":";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let gzip = "Content-Encoding: gzip\r\n";
    let cases: Vec<Vec<u8>> = vec![
        answer(
            "200 OK",
            "Content-Type: text/html\r\n",
            "<html>sign in</html>",
        ),
        answer("200 OK", "", "{\"id\":"),
        answer("200 OK", "", "{} {}"),
        cut.into(),
        format!("{chunked}zz\r\n{{}}\r\n").into(),
        format!("{chunked}5\r\n{{}}").into(),
        format!("{chunked}ffffffffffffffffff\r\n{{}}").into(),
        answer("200 OK", gzip, "{}"),
        answer("200 OK", gzip, &gzip_of(b"{}")[..12]),
    ];
    for bytes in cases {
        let reply = reply_to(&bytes).await;
        let shown = String::from_utf8_lossy(&bytes);
        assert_eq!(
            (reply.kind, reply.http_status),
            (ReplyKind::InvalidBody, Some(200)),
            "{shown}"
        );
    }
    let portal = reply_to(answer("200 OK", "", "<html>sign in\u{1b}[2J</html>")).await;
    assert_eq!(
        portal.error.unwrap().message,
        "<html>sign in\\u{1b}[2J</html>"
    );
}

#[tokio::test]
async fn packed_answers_are_unpacked_and_bombs_are_bounded() {
    let gzip = "Content-Encoding: gzip\r\n";
    let reply = reply_to(answer(
        "200 OK",
        gzip,
        gzip_of(record(ID, "Cancelled").as_bytes()),
    ))
    .await;
    assert!(
        matches!(reply.kind, ReplyKind::Answer(Some(_))),
        "{reply:?}"
    );
    // Spaces alone count as acceptance, as long as they stay under 1 MiB.
    let harmless = reply_to(answer("200 OK", gzip, gzip_blanks(4_000))).await;
    assert_eq!(harmless.kind, ReplyKind::Answer(None));
    let bomb = gzip_blanks(4_100);
    assert!(bomb.len() < 10_000);
    let reply = reply_to(answer("200 OK", gzip, &bomb)).await;
    assert_eq!(
        (reply.kind, reply.http_status),
        (ReplyKind::InvalidBody, Some(200))
    );
}

#[tokio::test]
async fn a_body_without_an_end_is_left_at_the_bound() {
    for status in [200, 404, 409] {
        let head = format!("HTTP/1.1 {status} X\r\n\r\n").into_bytes();
        let server = RawServer::with(vec![(head, Then::NeverEnds)]);
        let kind = cancel(plain(&server)).await.kind;
        let is_right = match status {
            200 => kind == ReplyKind::InvalidBody,
            404 => matches!(kind, ReplyKind::NoSuchAddress(_)),
            _ => kind == ReplyKind::Refused,
        };
        assert!(is_right, "{status}: {kind:?}");
        // The bound plus what the kernel buffers. Without a bound, gigabytes would come until the timeout.
        assert!(server.said_without_end() < 64 << 20);
    }
}

#[tokio::test]
async fn a_peer_that_ends_the_call_without_an_answer_breaks_it() {
    let cases: [&[u8]; 6] = [
        b"",
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    ];
    for bytes in cases {
        let reply = reply_to(bytes).await;
        assert!(matches!(reply.kind, ReplyKind::Broken(_)), "{reply:?}");
        assert_eq!(reply.http_status, None);
    }
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(2_000_000));
    assert!(matches!(reply_to(huge).await.kind, ReplyKind::Broken(_)));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(5000));
    assert!(matches!(reply_to(many).await.kind, ReplyKind::Broken(_)));
}

#[tokio::test]
async fn a_server_that_never_answers_times_out() {
    let server = RawServer::with(vec![(Vec::new(), Then::Hangs)]);
    let connection = open(&server.base, RootCerts::Nothing, SHORT);
    let reply = cancel(connection).await;
    assert_eq!((reply.kind, reply.http_status), (ReplyKind::TimedOut, None));
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_call_without_a_sent_byte_is_reported_as_not_sent() {
    // Bound but not listening, so that nothing else gets the port.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = format!("http://{}/", silent.local_addr().unwrap());
    let server = RawServer::saying(answer("200 OK", "", ""));
    let no_tls = server.base.replace("http:", "https:");
    // A TLS hello doesn't contain the end of an HTTP head, so this server must answer at once.
    let greeter = TcpListener::bind("127.0.0.1:0").unwrap();
    let greeting = format!("https://{}/", greeter.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut peer, _) = greeter.accept().unwrap();
        peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        peer.read_to_end(&mut Vec::new()).unwrap_or_default();
    });
    let cases = [
        (refused.as_str(), RootCerts::Nothing, PATIENT),
        (greeting.as_str(), RootCerts::Public, PATIENT),
        // The server never answers the TLS hello, so the connection isn't made in time.
        (no_tls.as_str(), RootCerts::Public, SHORT),
    ];
    for (base, trust, timeout) in cases {
        let reply = cancel(open(base, trust, timeout)).await;
        let ReplyKind::NotSent(what) = &reply.kind else {
            panic!("{base}: {reply:?}");
        };
        assert!(!what.contains("http") && !what.contains(ID), "{what}");
    }
    // Whether DNS denies the name or doesn't answer depends on the machine.
    let reply = cancel(open(
        "https://no-such-host.invalid/",
        RootCerts::Public,
        PATIENT,
    ))
    .await;
    let (ReplyKind::NoSuchHost(what) | ReplyKind::NotSent(what)) = &reply.kind else {
        panic!("{reply:?}");
    };
    assert!(what.contains("no-such-host.invalid"), "{what}");
    let server = RawServer::saying(answer("200 OK", "", ""));
    let odd = SecretString::from("secret\r\nX-Evil: 1");
    let reply = SendClient::new(plain(&server))
        .send(&odd, &Request::Cancel(id()), "why")
        .await;
    assert!(matches!(&reply.kind, ReplyKind::NotSent(what) if !what.contains("secret")));
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn a_redirect_is_told_and_never_followed() {
    let elsewhere = RawServer::saying(answer("200 OK", "", ""));
    for status in [301, 302, 303, 307, 308] {
        let head = format!("{status} Moved");
        let location = format!("Location: {}steal\r\n", elsewhere.base);
        let reply = reply_to(answer(&head, &location, "<html>")).await;
        assert_eq!(
            (reply.kind, reply.http_status),
            (ReplyKind::Redirected, Some(status))
        );
        assert_eq!(reply.error.unwrap().message, "redirected to 127.0.0.1");
    }
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test]
async fn an_error_reply_keeps_the_services_text_without_the_token() {
    let body = r#"{"error":{"code":"Forbidden","message":"no a-token-that-is-long-enough","target":"c0ffee"}}"#;
    let reply = reply_to(answer("403 Forbidden", "", body)).await;
    assert_eq!(reply.kind, ReplyKind::Forbidden);
    let error = reply.error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("Forbidden", "no [redacted]")
    );
    assert_eq!(error.correlation_id.as_deref(), Some("c0ffee"));
    let reply = reply_to(answer("500 Oops", "Request-Id: r-1\r\n", "")).await;
    assert_eq!(reply.kind, ReplyKind::ServerFault(None));
    assert_eq!(reply.error.unwrap().correlation_id.as_deref(), Some("r-1"));
    // The text of a truncated body counts as far as it arrived.
    let reply =
        reply_to("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 99\r\n\r\nback soon")
            .await;
    let wait = RetryAfter::Wait(Duration::from_secs(7));
    assert_eq!(reply.kind, ReplyKind::NotApplied(Some(wait)));
    assert_eq!(reply.error.unwrap().message, "back soon");
}

#[tokio::test]
async fn calls_share_connections() {
    const CALLS: usize = 20;
    let server = RawServer::with(vec![(answer("200 OK", "", ""), Then::Stays); CALLS]);
    let connection = plain(&server);
    for _ in 0..CALLS {
        assert_eq!(
            cancel(connection.clone()).await.kind,
            ReplyKind::Answer(None)
        );
    }
    assert_eq!(server.calls().len(), CALLS);
    // Not exactly one: the client opens another connection if the last one isn't back in its pool yet.
    assert!(server.accepted() < CALLS / 2, "{}", server.accepted());
}

#[tokio::test]
async fn the_http_client_never_retries_by_itself() {
    let server = RawServer::with(vec![
        (answer("200 OK", "", ""), Then::Stays),
        (Vec::new(), Then::Closes),
        (answer("200 OK", "", ""), Then::Closes),
    ]);
    let connection = plain(&server);
    assert_eq!(
        cancel(connection.clone()).await.kind,
        ReplyKind::Answer(None)
    );
    let reply = cancel(connection.clone()).await;
    assert!(matches!(reply.kind, ReplyKind::Broken(_)), "{reply:?}");
    assert_eq!(server.calls().len(), 2);
    assert_eq!(cancel(connection).await.kind, ReplyKind::Answer(None));
}
