//! A service whose answers a test scripts, for cases that the sandbox doesn't have.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request's method and raw target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
}

impl Asked {
    /// Returns a query option's decoded value.
    pub(crate) fn option(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// Serves on a free port until the process ends.
pub(crate) struct FakeService {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeService {
    /// Answers each call with this status and body.
    pub(crate) fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for peer in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                // A peer that disconnects ends only its own call.
                std::thread::spawn(move || serve(&peer, &seen, &*answer).ok());
            }
        });
        Self { url, asked }
    }

    pub(crate) fn cancels(&self) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.method == "POST").count()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    mut peer: &TcpStream,
    seen: &Mutex<Vec<Asked>>,
    answer: &(dyn Fn(&Asked) -> (u16, String) + Sync),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(peer);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let asked = Asked {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
    };
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    seen.lock().unwrap().push(asked.clone());
    let (status, body) = answer(&asked);
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    peer.write_all(head.as_bytes())?;
    peer.write_all(body.as_bytes())
}
