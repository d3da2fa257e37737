//! The way to the service: proxies, certificates and addresses.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use mde_cancel::sandbox::{CallKind, Status};

use crate::support::{Asked, FakeService, Place, done, program, write_ids};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/tls")
        .join(name)
}

/// Reads a call up to its first empty line, or to the end.
fn read_head(stream: &mut impl Read) {
    let mut call = Vec::new();
    let mut byte = [0];
    while !call.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        call.push(byte[0]);
    }
}

/// Answers every call over TLS with 404, for the host name `localhost`, and returns its port.
fn tls_service() -> u16 {
    let chain = vec![CertificateDer::from_pem_file(data("sound.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(data("sound.pem")).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, peer.unwrap());
            read_head(&mut stream);
            let answer =
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            // Whoever does not trust us is gone.
            stream.write_all(answer).unwrap_or_default();
            stream.conn.send_close_notify();
            stream.flush().unwrap_or_default();
        }
    });
    port
}

/// Serves SOCKS 5 without sign-in, and leads every host name to this machine.
fn socks_proxy() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            std::thread::spawn(move || relay(client.unwrap()));
        }
    });
    port
}

fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn relay(mut client: TcpStream) {
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
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        std::io::copy(&mut from, &mut to).unwrap_or_default();
        to.shutdown(Shutdown::Write).unwrap_or_default();
    });
    std::io::copy(&mut server, &mut client).unwrap_or_default();
}

/// Answers whatever comes with `answer`.
fn http_proxy(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            read_head(&mut client);
            client.write_all(answer.as_bytes()).unwrap_or_default();
        }
    });
    port
}

fn doctor(service: u16, variables: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    command
        .args(["doctor", "--ca-file"])
        .arg(data("authority.pem"))
        .arg("--api-url")
        .arg(format!("https://localhost:{service}"))
        .env("MDE_CANCEL_TOKEN", "any")
        .envs(variables.iter().copied());
    done(&mut command).exits(5).stdout
}

#[test]
fn a_socks_proxy_is_used_and_named() {
    let (service, proxy) = (tls_service(), socks_proxy());
    let reached = "ok    network     localhost reached in ";
    for scheme in ["socks5", "socks5h"] {
        let named = format!("{scheme}://127.0.0.1:{proxy}");
        let out = doctor(service, &[("ALL_PROXY", &named)]);
        let line = format!(" through proxy {named}");
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
        let proxy = http_proxy(answer);
        let named = format!("http://me:s3cr3t@127.0.0.1:{proxy}");
        let out = doctor(443, &[("HTTPS_PROXY", &named)]);
        let text = format!(
            "fail  network     localhost not reached through proxy 127.0.0.1:{proxy}: no connection: "
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
    let authority = CertificateDer::from_pem_file(data("authority.pem")).unwrap();
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
    let service = FakeService::start(|_: &Asked| (404, "<html>Not Found</html>".to_owned()));
    for words in [
        "run ids.txt --yes",
        "run ids.txt --yes --no-precheck",
        "run ids.txt --yes --max-actions 9",
        "preview ids.txt",
        "list",
    ] {
        let folder = tempfile::tempdir().unwrap();
        write_ids(&folder.path().join("ids.txt"), 6);
        let before = service.asked().len();
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
        let calls = service.asked().len() - before;
        assert!(calls <= 11, "{words}: {calls} calls");
    }
}
