//! A server that sends exactly the bytes a test scripted, and records what it was asked.

use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does after its bytes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Then {
    /// Reads the next call on the same connection.
    Stays,
    /// Ends the connection cleanly.
    Closes,
    /// Sends nothing more until the client goes away.
    Hangs,
    /// Sends spaces until the client goes away.
    NeverEnds,
    /// Repeats this until the client goes away.
    Repeats(&'static str),
    /// Repeats this, one byte at a time.
    Drips(&'static str),
    /// Resets the connection.
    Resets,
}

/// The pause between two dripped bytes, spent waiting for the client to go away.
const DRIP: Duration = Duration::from_millis(50);

/// Answers calls. Each connection has a thread.
pub(crate) struct RawServer {
    /// The base URL, with a slash at the end.
    pub(crate) base: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: Mutex<Vec<String>>,
    accepted: AtomicUsize,
    said_without_end: AtomicUsize,
}

/// Returns the answer to a call (head and body), or `None` to close the connection.
type Answering = dyn Fn(&str) -> Option<(Vec<u8>, Then)> + Send + Sync;

impl RawServer {
    pub(crate) fn answering(
        answer: impl Fn(&str) -> Option<(Vec<u8>, Then)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let answer: Arc<Answering> = Arc::new(answer);
        let seen: Arc<Seen> = Arc::default();
        let server = Self {
            base,
            seen: seen.clone(),
        };
        std::thread::spawn(move || {
            for peer in listener.incoming() {
                seen.accepted.fetch_add(1, Ordering::SeqCst);
                let (answer, seen) = (answer.clone(), seen.clone());
                std::thread::spawn(move || serve(peer.unwrap(), &*answer, &seen));
            }
        });
        server
    }

    /// Gives one answer after the other.
    pub(crate) fn with(script: Vec<(Vec<u8>, Then)>) -> Self {
        let script = Mutex::new(script.into_iter());
        Self::answering(move |_| script.lock().unwrap().next())
    }

    /// Answers one call with `bytes` and closes.
    pub(crate) fn saying(bytes: impl AsRef<[u8]>) -> Self {
        Self::with(vec![(bytes.as_ref().to_vec(), Then::Closes)])
    }

    /// The calls so far, each with head and body.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.seen.calls.lock().unwrap().clone()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// How many bytes of endless answers the kernel took.
    pub(crate) fn said_without_end(&self) -> usize {
        self.seen.said_without_end.load(Ordering::SeqCst)
    }
}

/// Builds an answer with a correct content length.
pub(crate) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn serve(mut peer: TcpStream, answer: &Answering, seen: &Seen) {
    while let Some(call) = read_call(&mut peer) {
        seen.calls.lock().unwrap().push(call.clone());
        let Some((bytes, then)) = answer(&call) else {
            return;
        };
        // The client may be gone, which some tests want.
        if peer.write_all(&bytes).is_err() {
            return;
        }
        match then {
            Then::Stays => {}
            Then::Closes => {
                peer.shutdown(Shutdown::Write).unwrap_or_default();
                // Reading to the end keeps the kernel from turning unread bytes into a reset.
                peer.read_to_end(&mut Vec::new()).unwrap_or_default();
                return;
            }
            Then::Hangs => {
                peer.read_to_end(&mut Vec::new()).unwrap_or_default();
                return;
            }
            Then::NeverEnds => return say_for_ever(peer, &vec![b' '; 65_536], seen),
            Then::Repeats(text) => {
                return say_for_ever(peer, text.repeat(65_536 / text.len()).as_bytes(), seen);
            }
            Then::Drips(text) => return drip(peer, text),
            Then::Resets => return reset(peer),
        }
    }
}

fn say_for_ever(mut peer: TcpStream, bytes: &[u8], seen: &Seen) {
    while peer.write_all(bytes).is_ok() {
        seen.said_without_end
            .fetch_add(bytes.len(), Ordering::SeqCst);
    }
}

fn drip(mut peer: TcpStream, text: &str) {
    peer.set_read_timeout(Some(DRIP)).unwrap();
    for byte in text.bytes().cycle() {
        // The client sends nothing more, so this waits for it to go away.
        let is_there = peer
            .read(&mut [0])
            .is_err_and(|error| matches!(error.kind(), WouldBlock | TimedOut));
        if !is_there || peer.write_all(&[byte]).is_err() {
            return;
        }
    }
}

fn reset(peer: TcpStream) {
    let socket = tokio::net::TcpSocket::from_std_stream(peer);
    socket.set_zero_linger().unwrap();
}

/// Reads a call's head with its empty line; `None` if the client is gone.
pub(crate) fn read_head(peer: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        peer.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).ok()
}

/// Reads one call with its body; `None` where the client has gone.
fn read_call(peer: &mut TcpStream) -> Option<String> {
    let head = read_head(peer)?;
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")
                .map(str::to_owned)
        })
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    peer.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).ok()?)
}

/// A gzip header without file name and time.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Packs `bytes` as one stored block.
pub(crate) fn gzip_of(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let mut block = vec![1];
    block.extend(length.to_le_bytes());
    block.extend((!length).to_le_bytes());
    block.extend(bytes);
    gzip_stream(&block, bytes)
}

/// Packs one space, then `repeats` back-references of 13 bits that copy the last space 258 times.
pub(crate) fn gzip_blanks(repeats: usize) -> Vec<u8> {
    // One final block with fixed codes. The code of a space is 0x30 + 32; codes start with their highest bit.
    let code = |code: u8| (0..8).rev().map(move |bit| (code >> bit) & 1 == 1);
    let mut bits = vec![true, true, false];
    bits.extend(code(0x50));
    for _ in 0..repeats {
        bits.extend(code(0xC5).chain([false; 5]));
    }
    bits.extend([false; 7]);
    let block: Vec<u8> = bits
        .chunks(8)
        .map(|byte| {
            byte.iter()
                .enumerate()
                .fold(0, |sum, (place, bit)| sum | u8::from(*bit) << place)
        })
        .collect();
    gzip_stream(&block, &vec![b' '; 1 + repeats * 258])
}

fn gzip_stream(block: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let length = u32::try_from(bytes.len()).unwrap();
    [
        &GZIP_HEAD,
        block,
        &(!crc).to_le_bytes(),
        &length.to_le_bytes(),
    ]
    .concat()
}
