//! What only a real connection can show: its end.

use mde_cancel::sandbox::{CallEnd, Sandbox, Status, serve};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::{id, with_faults};

/// A sandbox behind a real socket.
struct Served {
    sandbox: Sandbox,
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn start(sandbox: Sandbox) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, sandbox.clone(), stopped));
        Self {
            sandbox,
            address,
            stop,
            server,
        }
    }

    /// Sends one cancel and leaves the connection open.
    async fn send_cancel(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "POST /api/machineactions/{}/cancel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Type: \
             application/json\r\nContent-Length: 15\r\n\r\n{{\"Comment\":\"c\"}}",
            id(1)
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    /// Waits until the first call has come to `end`.
    async fn until(&self, end: CallEnd) {
        while self
            .sandbox
            .log()
            .first()
            .is_none_or(|call| call.end != end)
        {
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) -> Sandbox {
        self.stop.send(()).unwrap();
        self.server.await.unwrap();
        self.sandbox
    }
}

#[tokio::test]
async fn a_severed_connection_ends_without_a_byte_and_as_its_kind_says() {
    for (script, reset, applied) in [
        ("reset", true, Status::Pending),
        ("applied-reset", true, Status::Cancelled),
        ("close", false, Status::Pending),
        ("applied-close", false, Status::Cancelled),
    ] {
        let served = Served::start(with_faults(script)).await;
        let mut stream = served.send_cancel().await;
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).await;
        assert!(bytes.is_empty(), "{script}");
        match read {
            // Wine closes in order where Windows resets.
            Ok(_) => assert!(!reset || cfg!(windows), "{script}"),
            Err(error) => {
                assert!(reset, "{script}: {error}");
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            }
        }
        let sandbox = served.stop().await;
        assert_eq!(sandbox.action(id(1)).unwrap().status, applied, "{script}");
        let log = sandbox.log();
        assert_eq!((log[0].status, log[0].end), (None, CallEnd::Severed));
        assert_eq!(log[0].fault.as_deref(), Some(script));
    }
}

#[tokio::test]
async fn a_call_that_hangs_is_closed_when_the_server_stops() {
    let served = Served::start(with_faults("applied-hang")).await;
    let mut stream = served.send_cancel().await;
    served.until(CallEnd::Open).await;
    let sandbox = served.stop().await;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.is_empty());
    assert_eq!(sandbox.log()[0].end, CallEnd::Severed);
    assert_eq!(sandbox.action(id(1)).unwrap().status, Status::Cancelled);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_undo_its_cancel_and_its_line_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    let sandbox = with_faults("latency:1h");
    sandbox.log_to(&path).unwrap();
    let served = Served::start(sandbox).await;
    let stream = served.send_cancel().await;
    served.until(CallEnd::Open).await;
    drop(stream);
    served.until(CallEnd::Abandoned).await;
    let sandbox = served.stop().await;
    assert_eq!(sandbox.action(id(1)).unwrap().status, Status::Cancelled);
    let text = std::fs::read_to_string(&path).unwrap();
    let line: Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(
        (&line["end"], &line["changed"]),
        (&Value::from("abandoned"), &Value::from(true))
    );
    assert_eq!(line["ids"][0], id(1).to_string());
}

#[tokio::test]
async fn a_connection_serves_one_call_after_another_and_a_slow_body_comes_whole() {
    let served = Served::start(with_faults("slow:20ms@nth=1")).await;
    let mut stream = served.send_cancel().await;
    for _ in 0..2 {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\"troubleshootInfo\":null}") {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        }
        let head = format!(
            "GET /api/machineactions/{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n",
            id(1)
        );
        let text = String::from_utf8(bytes).unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            headers.contains(&format!("content-length: {}", body.len())),
            "{headers}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
    }
    drop(stream);
    served.stop().await;
}
