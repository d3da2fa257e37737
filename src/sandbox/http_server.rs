//! The server loop: accepts connections on the caller's listener, and drains them when told to stop.

use std::error::Error as _;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::running_sandbox::Sandbox;

/// The time for connections to finish after a stop: longer than any realistic latency, but limited, so that a client
/// with an incomplete call can't block the stop.
const DRAIN: Duration = Duration::from_secs(5);

/// A connection that ends without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is broken off")]
pub enum Aborted {
    /// By RST.
    Reset,
    /// By FIN.
    Closed,
}

/// Serves until `stop` is ready, then drains open connections. Hanging calls are closed at the stop.
///
/// Cancel safe: when dropped, it stops accepting, and open connections continue.
pub async fn serve(listener: TcpListener, sandbox: Sandbox, stop: impl Future) {
    let connections = TaskTracker::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, sandbox.clone()))),
                // Usually out of file descriptors: wait until other connections end.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            _ = &mut stop => break,
        }
    }
    sandbox.stopping().cancel();
    connections.close();
    // The process's end closes what is still open.
    tokio::time::timeout(DRAIN, connections.wait()).await.ok();
}

async fn connection(stream: TcpStream, sandbox: Sandbox) {
    // Avoids delays by the peer's delayed ACKs; a failure only makes it slower.
    stream.set_nodelay(true).ok();
    let service = service_fn(|request| sandbox.respond(request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = sandbox.stopping().cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    let error = ended.as_ref().err().and_then(|error| error.source());
    if error.and_then(|error| error.downcast_ref()) == Some(&Aborted::Reset) {
        // With a linger of zero, dropping the stream sends RST instead of FIN.
        connection.into_parts().io.inner().set_zero_linger().ok();
    }
}
