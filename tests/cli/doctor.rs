//! `doctor`: the state of each thing and how to fix it, and the connection to the service through proxies, certificates
//! and addresses.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mde_cancel::sandbox::{CallKind, Status, TokenSettings};
use rustls::{ServerConnection, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::sign_in::{APP, SECRET, TENANT, place, with_secret, with_token};
use crate::support::{
    Asked, FakeService, Place, RawServer, Then, done, program, read_head, tls_config, tls_data,
    write_ids,
};

#[test]
fn doctor_reports_each_check_and_cancels_nothing() {
    let place = place(1, TokenSettings::default());
    let out = done(&mut with_secret(&place, "doctor")).exits(0).stdout;
    assert!(
        out.lines()
            .all(|line| line.starts_with("ok ") || line.starts_with(' ')),
        "{out}"
    );
    for name in [
        "config",
        "state",
        "credential",
        "network",
        "clock",
        "sign-in",
        "read",
        "cancel",
    ] {
        assert!(out.contains(&format!("ok    {name} ")), "{name}: {out}");
    }
    assert!(place.calls(CallKind::Cancel).is_empty());
    let out = done(&mut with_secret(&place, "doctor --format json"))
        .exits(0)
        .stdout;
    let checks: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(checks[0]["name"], "config");
    let mut checks = checks.as_array().unwrap().iter();
    assert!(checks.all(|check| check["status"] == "ok"), "{out}");
}

#[test]
fn doctor_exits_with_5_if_nothing_can_be_sent() {
    let roles = |roles: &[&str]| TokenSettings {
        secret: Some(SECRET.into()),
        roles: roles.iter().map(|&role| role.to_owned()).collect(),
        ..TokenSettings::default()
    };
    for (tokens, words, code, lines) in [
        (
            roles(&["Machine.Scan"]),
            "doctor",
            5,
            &[
                "fail  read        this token may not read actions: 403 Forbidden",
                "fix: grant Machine.Read.All to the app, consent, and get a new token; or run with --no-precheck",
                "ok    cancel      may cancel RunAntiVirusScan",
                "not granted: Machine.Isolate (Isolate, Unisolate), ",
                "ok    release     may release no machine",
                "not granted: Machine.Isolate (isolated machines), Machine.RestrictExecution (restricted machines)",
            ][..],
        ),
        (
            roles(&["Machine.Read.All"]),
            "doctor",
            5,
            &[
                "ok    read        may read action states",
                "fail  cancel      the token permits no cancel",
                "fix: grant Machine.Isolate",
            ],
        ),
        (
            roles(&[]),
            "doctor --api-scope https://graph.example",
            5,
            &[
                "fail  read        this token may not read actions: 403 Forbidden",
                "fail  cancel      the token permits no cancel",
            ],
        ),
        (
            TokenSettings {
                secret: Some("another".into()),
                ..TokenSettings::default()
            },
            "doctor",
            5,
            &["fail  sign-in     the login service 127.0.0.1 refused: the client secret is wrong"],
        ),
        (
            TokenSettings::default(),
            "doctor --login-url http://127.0.0.1:1",
            5,
            &["fail  sign-in     the login service 127.0.0.1 gave no token: no connection"],
        ),
        (
            TokenSettings::default(),
            "doctor --api-url http://127.0.0.1:1",
            5,
            &[
                "fail  network     127.0.0.1 not reached: no connection",
                "warn  read        not tried",
                "ok    cancel      may cancel ",
                "ok    release     may release isolated and restricted machines",
            ],
        ),
        (
            TokenSettings::default(),
            "doctor --credential certificate",
            5,
            &["fail  sign-in     signing in by certificate needs a PEM file"],
        ),
        (
            TokenSettings::default(),
            "doctor --state-dir ids.txt",
            6,
            &["fail  state ", "fix: "],
        ),
        (
            TokenSettings::default(),
            "doctor --ca-file ids.txt --api-url https://127.0.0.1:1",
            5,
            &[
                "fail  network     the CA file ids.txt has no certificate",
                "fix: export the authority's certificate as PEM or DER",
            ],
        ),
    ] {
        let place = place(1, tokens);
        let out = done(&mut with_secret(&place, words)).exits(code).stdout;
        for line in lines {
            assert!(out.contains(line), "{words}: {line}: {out}");
        }
    }
}

#[test]
fn doctor_reads_the_state_file_to_its_end() {
    let place = place(1, TokenSettings::default());
    done(&mut with_secret(&place, "doctor --state-dir here")).exits(0);
    let path = mde_cancel::store::state_file(&place.at("here"));
    // No other query on a new file reads this page.
    let page: u32 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'attempts'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let page = page as usize;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[(page - 1) * 4096..page * 4096].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    let out = done(&mut with_secret(&place, "doctor --state-dir here"))
        .exits(6)
        .stdout;
    assert!(out.contains("fail  state       here: damaged: "), "{out}");
    assert!(out.contains("fix: move the folder away"), "{out}");
}

#[test]
fn doctor_says_that_a_static_token_is_opaque_short_or_for_something_else() {
    let place = place(1, TokenSettings::default());
    let doctor = |token: &str, code| done(&mut with_token(&place, "doctor", token)).exits(code);
    let out = doctor("opaque", 5).stdout;
    let text = "fail  read        the service refused the access token in MDE_CANCEL_TOKEN";
    assert!(out.contains(text), "{out}");
    let out = doctor(&place.sandbox().token(TENANT, APP), 0).stdout;
    assert!(out.contains(", not renewable"), "{out}");
    let claims = |exp: i64, aud: &str| {
        let claims =
            serde_json::json!({"aud": aud, "tid": TENANT, "exp": exp, "roles": ["Machine.Scan"]});
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    let foreign = claims(4_000_000_000, "https://graph.example");
    let out = doctor(&foreign, 5).stdout;
    let text = "the access token in MDE_CANCEL_TOKEN is for graph.example, but Defender needs api.securitycenter.microsoft.com";
    assert!(out.contains(&format!("fail  read        {text}")), "{out}");
    let expired = claims(1_700_000_000, "https://api.securitycenter.microsoft.com");
    for (token, text, hint) in [
        (
            foreign,
            text,
            "hint: az account get-access-token --resource https://api.securitycenter.microsoft.com",
        ),
        (
            expired,
            "the access token in MDE_CANCEL_TOKEN expired at 2023-11-14 22:13 UTC, ",
            "hint: get a new token",
        ),
        (
            "opaque".to_owned(),
            "the service refused the access token in MDE_CANCEL_TOKEN",
            "hint: get a new token",
        ),
    ] {
        let mut preview = with_token(&place, "preview ids.txt", &token);
        let told = done(preview.env("TZ", "UTC")).exits(5).stderr;
        assert!(told.contains(text) && told.contains(hint), "{told}");
    }
}

/// Refuses every call over TLS, for the host name `localhost`, and returns its port.
fn tls_service() -> u16 {
    let config = tls_config("sound.pem");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, peer.unwrap());
            read_head(&mut stream);
            let answer = b"HTTP/1.1 403 X\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
            // Whoever does not trust us is gone.
            stream.write_all(answer).unwrap_or_default();
            stream.conn.send_close_notify();
            stream.flush().unwrap_or_default();
        }
    });
    port
}

/// Serves each client in its own thread. Returns the port.
fn proxy(serve: fn(TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || serve(client));
        }
    });
    port
}

fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// SOCKS 5 without authentication, with every host name on this machine.
fn socks(mut client: TcpStream) {
    let methods = read(&mut client, 2)[1];
    read(&mut client, methods.into());
    client.write_all(&[5, 0]).unwrap();
    let length = match read(&mut client, 4)[3] {
        1 => 4,
        3 => read(&mut client, 1)[0].into(),
        _ => 16,
    };
    read(&mut client, length);
    let port = read(&mut client, 2);
    let port = u16::from_be_bytes([port[0], port[1]]);
    tunnel(client, port, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
}

/// A proxy that accepts only CONNECT, with every host name on this machine.
fn connect(mut client: TcpStream) {
    let head = read_head(&mut client).unwrap();
    let target = head.strip_prefix("CONNECT ").unwrap();
    let (_, port) = target.split(' ').next().unwrap().rsplit_once(':').unwrap();
    let port = port.parse().unwrap();
    tunnel(client, port, b"HTTP/1.1 200 Connection established\r\n\r\n");
}

/// Confirms the tunnel, then passes bytes in both directions.
fn tunnel(mut client: TcpStream, port: u16, welcome: &[u8]) {
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(welcome).unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        std::io::copy(&mut from, &mut to).unwrap_or_default();
        to.shutdown(Shutdown::Write).unwrap_or_default();
    });
    std::io::copy(&mut server, &mut client).unwrap_or_default();
}

fn doctor(service: u16, variables: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    command
        .args(["doctor", "--ca-file"])
        .arg(tls_data("authority.pem"))
        .arg("--api-url")
        .arg(format!("https://localhost:{service}"))
        .env("MDE_CANCEL_TOKEN", "any")
        .envs(variables.iter().copied());
    done(&mut command).exits(5).stdout
}

#[test]
fn a_proxy_is_used_and_named() {
    let (service, socks, connect) = (tls_service(), proxy(socks), proxy(connect));
    let reached = "ok    network     localhost reached in ";
    for (variable, named, shown) in [
        (
            "ALL_PROXY",
            format!("socks5://127.0.0.1:{socks}"),
            "socks5://",
        ),
        (
            "ALL_PROXY",
            format!("socks5h://127.0.0.1:{socks}"),
            "socks5h://",
        ),
        ("HTTPS_PROXY", format!("http://127.0.0.1:{connect}"), ""),
    ] {
        let out = doctor(service, &[(variable, &named)]);
        let place = named.rsplit('/').next().unwrap();
        let line = format!(" through proxy {shown}{place}");
        assert!(out.contains(reached) && out.contains(&line), "{out}");
    }
    let closed = ("ALL_PROXY", "socks5://127.0.0.1:1");
    let out = doctor(service, &[closed, ("NO_PROXY", "localhost")]);
    assert!(out.contains(reached), "{out}");
    assert!(!out.contains("through proxy"), "{out}");
    let out = doctor(service, &[closed]);
    let text = "fail  network     localhost not reached through proxy socks5://127.0.0.1:1: ";
    assert!(out.contains(text), "{out}");
}

#[test]
fn what_a_proxy_says_that_refuses_the_tunnel_is_told() {
    let wants = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n";
    let forbids = "HTTP/1.1 403 Forbidden by policy\r\nContent-Length: 0\r\n\r\n";
    for (answer, says) in [
        (
            wants,
            "the proxy says: 407 Proxy Authentication Required (Proxy-Authenticate: Negotiate)",
        ),
        (forbids, "the proxy says: 403 Forbidden by policy"),
    ] {
        let proxy = RawServer::answering(|_| Some((answer.into(), Then::Closes)));
        let address = proxy.base.trim_end_matches('/').replace("http://", "");
        let named = format!("http://me:s3cr3t@{address}");
        let out = doctor(443, &[("HTTPS_PROXY", &named)]);
        let text = format!(
            "fail  network     localhost not reached through proxy {address}: no connection: "
        );
        assert!(out.contains(&text) && out.contains(says), "{out}");
        assert!(!out.contains("s3cr3t"), "{out}");
    }
}

#[test]
fn certificates_that_cannot_be_used_are_named_and_the_others_are_used() {
    let service = tls_service();
    let folder = tempfile::tempdir().unwrap();
    let der = folder.path().join("ca.der");
    let authority = CertificateDer::from_pem_file(tls_data("authority.pem")).unwrap();
    std::fs::write(&der, &*authority).unwrap();
    for (path, why) in [
        (folder.path().join("missing.pem"), "No such file"),
        (der, "has no certificate in PEM form"),
    ] {
        let out = doctor(service, &[("SSL_CERT_FILE", path.to_str().unwrap())]);
        let warning = "warn  trust       0 of this machine's certificates, ";
        assert!(out.contains(warning), "{out}");
        assert!(cfg!(windows) || out.contains(why), "{out}");
        let reached = "ok    network     localhost reached in ";
        assert!(out.contains(reached), "{out}");
    }
}

#[test]
fn an_api_url_that_ends_in_api_is_the_service_all_the_same() {
    let place = Place::with(|_| ());
    place.live.isolates(1..=3, Status::Pending);
    write_ids(&place.at("ids.txt"), 3);
    for ending in ["/api", "/api/"] {
        let mut run = place.command("run ids.txt --yes");
        run.env("MDE_CANCEL_API_URL", place.live.url.clone() + ending);
        done(&mut run).exits(0);
    }
    assert_eq!(place.live.calls(CallKind::Cancel), 3);
}

#[test]
fn an_address_where_the_service_is_not_ends_the_run_with_5_and_is_named() {
    let check = |words: &str| {
        let service = FakeService::start(|_: &Asked| (404, "<html>Not Found</html>".to_owned()));
        let folder = tempfile::tempdir().unwrap();
        write_ids(&folder.path().join("ids.txt"), 6);
        let mut command = program(folder.path());
        command
            .args(words.split(' '))
            .env("MDE_CANCEL_API_URL", &service.url)
            .env("MDE_CANCEL_TOKEN", "any-word");
        let told = done(&mut command).exits(5).told();
        let address = format!("{}/api/machineactions", service.url);
        assert!(told.contains(&address), "{words}: {told}");
        assert!(told.contains("--api-url"), "{words}: {told}");
        if told.contains("mde-cancel resume") {
            let way_on = "if the address is wrong, run the first command again";
            assert!(told.contains(way_on), "{words}: {told}");
        }
        assert!(!told.contains("not_found"), "{words}: {told}");
        let calls = service.asked().len();
        assert!(calls <= 11, "{words}: {calls} calls");
    };
    // Each of them waits for seconds.
    std::thread::scope(|scope| {
        for words in [
            "run ids.txt --yes",
            "run ids.txt --yes --no-precheck",
            "run ids.txt --yes --max-actions 9",
            "preview ids.txt",
            "list",
        ] {
            scope.spawn(move || check(words));
        }
    });
}
