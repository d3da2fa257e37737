//! A login service on a socket of this machine, scripted by a test.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One call as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Its first line and its headers.
    pub(super) head: String,
    body: String,
}

impl Call {
    /// Returns a field of the form.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.body.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// Gives its answers in order, one a connection, and the last one for ever.
pub(super) struct Server {
    pub(super) address: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Server {
    pub(super) async fn start(answers: &[(u16, String)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let told = Arc::clone(&calls);
        let answers = answers.to_vec();
        tokio::spawn(async move {
            for turn in 0.. {
                let (mut socket, _) = listener.accept().await.unwrap();
                let call = read_call(&mut socket).await;
                told.lock().unwrap().push(call);
                let (status, body) = &answers[turn.min(answers.len() - 1)];
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
                     Connection: close\r\n\r\n{body}"
                );
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, calls }
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

async fn read_call(socket: &mut TcpStream) -> Call {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, length)| length.parse().unwrap());
            if body.len() >= length {
                let (head, body) = (head.to_owned(), body.to_owned());
                return Call { head, body };
            }
        }
        let read = socket.read_buf(&mut bytes).await.unwrap();
        assert!(read > 0, "the call was cut off: {text}");
    }
}
