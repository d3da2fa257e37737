//! The connections, so made that a handler can break its own off without an answer.
//!
//! axum hands a handler no socket. So each stream looks at a mark before it writes: once the mark is set, writing
//! fails, hyper drops the stream, and the peer sees the end that was asked for and not one byte of an answer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How a connection ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severed {
    /// With RST.
    Reset,
    /// With FIN.
    Closed,
}

const WHOLE: u8 = 0;
const RESET: u8 = 1;
const CLOSED: u8 = 2;

/// A handler's hold on its connection.
#[derive(Clone, Debug)]
pub(super) struct Line {
    mark: Arc<AtomicU8>,
    stopping: CancellationToken,
}

impl Line {
    /// Makes the next write fail, and with it the connection end.
    pub(super) fn sever(&self, how: Severed) {
        let mark = match how {
            Severed::Reset => RESET,
            Severed::Closed => CLOSED,
        };
        self.mark.store(mark, Ordering::Release);
    }

    /// Waits until the server is told to stop.
    pub(super) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().line.clone()
    }
}

/// A listener whose connections can be broken off.
pub(super) struct Lines {
    pub(super) listener: TcpListener,
    pub(super) stopping: CancellationToken,
}

impl Listener for Lines {
    type Io = SeverableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, peer)) = self.listener.accept().await {
                // Small answers must not wait for the peer's delayed acknowledgements; without it all works, slower.
                drop(stream.set_nodelay(true));
                let line = Line {
                    mark: Arc::new(AtomicU8::new(WHOLE)),
                    stopping: self.stopping.clone(),
                };
                return (SeverableStream { stream, line }, peer);
            }
            // Out of descriptors, mostly: others must end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A TCP stream that fails once its line is severed.
pub(super) struct SeverableStream {
    stream: TcpStream,
    line: Line,
}

impl SeverableStream {
    fn check(&self) -> io::Result<()> {
        match self.line.mark.load(Ordering::Acquire) {
            WHOLE => Ok(()),
            mark => {
                if mark == RESET {
                    // With a linger of zero the drop that follows sends RST in place of FIN.
                    self.stream.set_zero_linger()?;
                }
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }
}

impl AsyncRead for SeverableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SeverableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
