//! Malicious or badly broken servers: every call ends, in bounded memory, with the reply that claims least.

use mde_cancel::api::{ReadClient, RootCerts};
use mde_cancel::model::{CancelReply, ReadReply, ReplyKind, RetryAfter};
use mde_cancel::retry::{CallEffect, SendVerdict, judge_cancel};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use super::{ID, OTHER, SHORT, cancel, id, open, plain, record, reply_to, token};
use crate::support::{RawServer, Then, answer, gzip_of, proptest_config};

/// The client's own bound plus what the kernel may buffer.
const BOUND: usize = 64 << 20;

/// Returns the reply to a cancel whose answer starts with `head` and continues with `then`.
async fn reply_to_endless(head: &str, then: Then) -> (CancelReply, RawServer) {
    let server = RawServer::with(vec![(head.as_bytes().to_vec(), then)]);
    let reply = cancel(open(&server.base, RootCerts::Nothing, SHORT)).await;
    (reply, server)
}

/// Returns whether the cancel may or may not have been applied.
fn is_doubtful(reply: &CancelReply) -> bool {
    matches!(
        judge_cancel(reply),
        SendVerdict::Fault(CallEffect::Unknown, _)
    )
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_keep_a_call_alive() {
    let success = "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{";
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 99999\r\n\r\nback ";
    let wait = RetryAfter::Wait(std::time::Duration::from_secs(7));
    let cases = [
        ("", "HTTP/1.1 ", None),
        ("HTTP/1.1 200 OK\r\n", "X-Y: z\r\n", None),
        ("HTTP/1.1 200 OK\r\nX: ", "y", None),
        (success, " ", Some((200, ReplyKind::InvalidBody))),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1\r\n \r\n",
            Some((200, ReplyKind::InvalidBody)),
        ),
        (
            busy,
            "soon ",
            Some((503, ReplyKind::NotApplied(Some(wait)))),
        ),
    ];
    let replies = futures::future::join_all(
        cases
            .iter()
            .map(|(head, drips, _)| reply_to_endless(head, Then::Drips(drips))),
    );
    for ((reply, _), (head, drips, expected)) in replies.await.into_iter().zip(cases) {
        let told = reply.http_status.zip(Some(reply.kind.clone()));
        match expected {
            Some(_) => assert_eq!(told, expected, "{head}{drips}"),
            // If the first bytes aren't a valid head, the client doesn't wait for more.
            None => assert!(is_doubtful(&reply), "{head}{drips}: {reply:?}"),
        }
    }
}

#[tokio::test]
async fn heads_without_an_end_are_left_at_a_bound() {
    for (head, rest) in [
        ("HTTP/1.1 200 OK\r\n", "X-Y: z\r\n"),
        ("HTTP/1.1 200 OK\r\nX-Y: ", "zzzzzzzz"),
        ("HTTP/1.1 200 ", "OK and more "),
        ("", "\r\n"),
        ("", "HTTP/1.1 200 OK "),
    ] {
        let (reply, server) = reply_to_endless(head, Then::Repeats(rest)).await;
        assert!(is_doubtful(&reply), "{head}{rest}: {reply:?}");
        assert_eq!(reply.http_status, None);
        let said = server.said_without_end();
        assert!(said < BOUND, "{head}{rest}: {said} bytes");
    }
}

#[tokio::test]
async fn answers_that_only_announce_the_answer_are_not_taken_for_one_however_many_come() {
    for first in ["100 Continue", "102 Processing", "103 Early Hints"] {
        let many = format!("HTTP/1.1 {first}\r\nLink: <x>\r\n\r\n").repeat(20);
        let bytes = [
            many.into_bytes(),
            answer("200 OK", "", record(ID, "Cancelled")),
        ];
        let reply = reply_to(bytes.concat()).await;
        assert!(
            matches!(reply.kind, ReplyKind::Answer(Some(_))),
            "{first}: {reply:?}"
        );
    }
    // Long ones: a client that reads without a pause reads fewer of them before it is given up.
    let one = format!("HTTP/1.1 103 X\r\nLink: <{}>\r\n\r\n", "x".repeat(4_000));
    let flood = Then::Repeats(one.leak());
    let server = RawServer::with(vec![(Vec::new(), flood)]);
    let reply = cancel(open(&server.base, RootCerts::Nothing, SHORT / 10)).await;
    assert!(is_doubtful(&reply), "{reply:?}");
    assert_eq!(reply.http_status, None);
}

#[tokio::test]
async fn an_unrequested_protocol_switch_leaves_the_result_unknown() {
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let reply = reply_to(head).await;
    assert!(is_doubtful(&reply), "{reply:?}");
}

#[tokio::test]
async fn a_reset_before_an_answer_or_in_the_middle_of_it_leaves_the_fate_unknown() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"id\":";
    for head in ["", head] {
        let reply = reply_to_endless(head, Then::Resets).await.0;
        // The reset may discard bytes that the client hadn't read yet.
        assert!(is_doubtful(&reply), "{reply:?}");
        let is_broken = matches!(reply.kind, ReplyKind::Broken(_));
        assert!(is_broken || !head.is_empty(), "{reply:?}");
    }
}

#[tokio::test]
async fn a_body_in_an_encoding_that_nobody_asked_for_is_not_read_as_it_stands() {
    let honest = record(ID, "Cancelled");
    let twice = gzip_of(&gzip_of(honest.as_bytes()));
    for (encoding, body) in [
        ("br", b"\x1b\x0e\x00\xf8\x25\x08".to_vec()),
        ("deflate", b"\x78\x9c\xab\xae\x05\x00".to_vec()),
        ("zstd", b"\x28\xb5\x2f\xfd\x04\x00".to_vec()),
        ("gzip, gzip", twice),
    ] {
        let header = format!("Content-Encoding: {encoding}\r\n");
        let reply = reply_to(answer("200 OK", &header, body)).await;
        assert_eq!(reply.kind, ReplyKind::InvalidBody, "{encoding}");
    }
}

#[tokio::test]
async fn what_follows_an_answer_on_its_connection_is_no_answer_to_the_next_call() {
    let surplus = answer("200 OK", "", record(ID, "Cancelled"));
    for first in [
        answer("200 OK", "", "{}"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_vec(),
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        // The content length is too small: the rest of the body looks like an answer.
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
    ] {
        for _ in 0..5 {
            let honest = answer("200 OK", "", record(ID, "Pending"));
            let server = RawServer::with(vec![
                ([first.clone(), surplus.clone()].concat(), Then::Stays),
                (honest, Then::Stays),
            ]);
            let connection = plain(&server);
            let reply = cancel(connection.clone()).await;
            assert_eq!(reply.kind, ReplyKind::Answer(None));
            let reply = cancel(connection).await;
            let is_honest = match &reply.kind {
                ReplyKind::Answer(Some(action)) => {
                    action.status.as_ref().unwrap().as_str() == "Pending"
                }
                _ => is_doubtful(&reply),
            };
            assert!(is_honest, "{reply:?}");
        }
    }
}

#[tokio::test]
async fn a_list_that_repeats_lies_and_lengthens_gives_nothing_that_was_not_asked_for() {
    let many = [record(OTHER, "Cancelled"), record(ID, "Pending")].join(",");
    let body = format!(r#"{{"value":[{many},{many},null,{{}}],"@odata.nextLink":"//elsewhere/"}}"#);
    let server = RawServer::saying(answer("200 OK", "", body));
    let reply = ReadClient::new(plain(&server))
        .actions(&token(), &[id()])
        .await;
    let ReplyKind::Answer(found) = reply.kind else {
        panic!("{reply:?}");
    };
    assert!(found.records.iter().all(|action| action.id == id()));
}

/// Headers that lie, or that no honest server sends.
fn any_header() -> impl Strategy<Value = String> {
    let wait = prop_oneof![
        any::<i64>().prop_map(|seconds| seconds.to_string()),
        Just("99999999999999999999999999999".to_owned()),
        Just("Fri, 31 Dec 9999 23:59:59 GMT".to_owned()),
        Just("Thu, 01 Jan 1970 00:00:00 GMT".to_owned()),
        "[ -~]{0,40}",
    ];
    let length = prop_oneof![
        any::<u64>().prop_map(|length| length.to_string()),
        Just("-1".to_owned()),
        Just("0x10".to_owned()),
        Just("5, 5".to_owned()),
        "[ -~]{0,10}",
    ];
    let packed = select(vec!["gzip", "br", "gzip, gzip", "identity", "x"]);
    let correlation = prop_oneof!["[ -~]{0,400}", Just("\u{1b}[2J".to_owned())];
    prop_oneof![
        wait.prop_map(|text| format!("Retry-After: {text}\r\n")),
        length.prop_map(|text| format!("Content-Length: {text}\r\n")),
        packed.prop_map(|text| format!("Content-Encoding: {text}\r\n")),
        correlation.prop_map(|text| format!("Request-Id: {text}\r\n")),
        select(vec!["chunked", "gzip, chunked", "identity", "x"])
            .prop_map(|text| format!("Transfer-Encoding: {text}\r\n")),
        "[ -~]{0,60}".prop_map(|text| format!("Location: {text}\r\n")),
        Just("Content-Type: text/html; charset=utf-16\r\n".to_owned()),
        "[a-zA-Z-]{1,12}: [ -~]{0,20}\r\n",
    ]
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let messages = "(maximum allowed|again in |[0-9.,:]{1,12}| per | seconds|é| ){0,8}";
    let error = (messages, ".{0,40}", ".{0,40}").prop_map(|(message, code, target)| {
        let error = serde_json::json!({"code": code, "message": message, "target": target});
        serde_json::json!({ "error": error })
            .to_string()
            .into_bytes()
    });
    prop_oneof![
        any::<Vec<u8>>(),
        error,
        Just(record(ID, "Cancelled").into_bytes()),
        Just(record(OTHER, "Cancelled").into_bytes()),
        Just(gzip_of(record(ID, "Cancelled").as_bytes())),
        ".{0,60}".prop_map(String::into_bytes),
        Just(vec![b'['; 100_000]),
    ]
}

/// The bytes of an answer that starts like an HTTP one.
pub(crate) fn any_answer() -> impl Strategy<Value = Vec<u8>> {
    let status = prop_oneof![
        100_u16..1000,
        select(vec![200, 202, 302, 401, 403, 404, 408, 429, 500, 503])
    ];
    let said = (status, vec(any_header(), 0..5), any_body(), any::<bool>());
    said.prop_map(|(status, headers, body, with_length)| {
        let length = format!("Content-Length: {}\r\n", body.len());
        let length = if with_length { length.as_str() } else { "" };
        let headers = headers.concat();
        let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}{length}\r\n");
        [head.as_bytes(), &body].concat()
    })
}

/// Returns how a cancel and a read of one action interpret an answer.
pub(crate) async fn replies_to(bytes: &[u8]) -> (CancelReply, ReadReply) {
    let server = RawServer::saying(bytes);
    let reader = ReadClient::new(plain(&server));
    (reply_to(bytes).await, reader.action(&token(), id()).await)
}

#[test]
fn whatever_headers_and_body_come_they_are_one_reply_whose_words_are_bounded_and_harmless() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(proptest_config(256));
    runner
        .run(&any_answer(), |bytes| {
            let (reply, read) = runtime.block_on(replies_to(&bytes));
            let told = reply.http_status.is_some();
            let is_broken = matches!(reply.kind, ReplyKind::Broken(_));
            proptest::prop_assert!(told != is_broken, "{reply:?}");
            if let ReplyKind::Answer(Some(action)) = &reply.kind {
                proptest::prop_assert_eq!(action.id, id());
            }
            if let ReplyKind::Answer(found) = &read.kind {
                proptest::prop_assert!(found.records.iter().all(|action| action.id == id()));
            }
            for error in [reply.error, read.error].into_iter().flatten() {
                for text in [Some(error.code), Some(error.message), error.correlation_id] {
                    let text = text.unwrap_or_default();
                    proptest::prop_assert!(text.chars().count() <= 400, "{}", text);
                    proptest::prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
                }
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_token_that_comes_back_stays_in_no_text_of_a_reply_however_it_is_written() {
    let token = token();
    let token = secrecy::ExposeSecret::expose_secret(&token);
    let escaped: String = token.chars().fold(String::new(), |mut text, letter| {
        std::fmt::Write::write_fmt(&mut text, format_args!("\\u{:04x}", u32::from(letter)))
            .unwrap();
        text
    });
    let half = escaped.replacen("\\u0061", "a", 1);
    for written in [token, &escaped, &half] {
        let record = format!(
            r#"{{"id":"{ID}","type":"{written}","status":"{written}","requestor":"by {written}","requestorComment":"{written}",
            "requestSource":"{written}","scope":"{written}","machineId":"{written}","computerDnsName":"{written}",
            "cancellationRequestor":"{written}","cancellationComment":"{}{written}"}}"#,
            "x".repeat(980)
        );
        let error = format!(
            r#"{{"error":{{"code":"{written}","message":"m {written}","target":"{written}"}}}}"#
        );
        let odd = format!(r#"{{"{written}":["{written}"]}}"#);
        let cut = format!(r#"{{"error":{{"message":"{written}"#);
        for (status, body) in [
            ("200 OK", &record),
            ("200 OK", &odd),
            ("400 X", &error),
            ("403 X", &odd),
            ("500 X", &cut),
            ("401 X", &String::new()),
        ] {
            let headers = format!("Request-Id: {token}\r\nLocation: https://{token}.example/\r\n");
            let (cancelled, read) = replies_to(&answer(status, &headers, body)).await;
            let told = format!("{cancelled:?} {read:?}");
            assert!(!told.contains(token), "{status} {body}: {told}");
            assert!(!told.contains("\\\\u006"), "{status} {body}: {told}");
            if body == &record {
                assert!(told.contains("by [redacted]"), "{told}");
            }
        }
        let (redirected, _) = replies_to(&answer(
            "302 X",
            &format!("Location: https://{token}.example/\r\n"),
            "",
        ))
        .await;
        assert!(!format!("{redirected:?}").contains(token), "{redirected:?}");
    }
}
