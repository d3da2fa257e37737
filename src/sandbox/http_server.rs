//! The server loop: the caller binds and decides when to stop; this accepts, answers and ends.

use std::error::Error as _;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::running_sandbox::Sandbox;

/// How long connections may take to finish once a stop was asked for: longer than any believable latency, and short
/// enough that a peer in the middle of a call it never completes cannot hold the sandbox open.
const DRAIN: Duration = Duration::from_secs(5);

/// How a connection ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is broken off")]
pub enum Severed {
    /// With RST.
    Reset,
    /// With FIN.
    Closed,
}

/// Serves until `stop` is ready, lets calls under way finish, and returns. Calls that a fault lets hang are closed at
/// the stop.
///
/// # Cancel safety
/// Safe: dropping this stops accepting; open connections continue by themselves.
pub async fn serve(listener: TcpListener, sandbox: Sandbox, stop: impl Future) {
    let connections = TaskTracker::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, sandbox.clone()))),
                // Out of descriptors, mostly: others must end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            _ = &mut stop => break,
        }
    }
    sandbox.stopping().cancel();
    connections.close();
    // What is still open then is cut when the process ends.
    tokio::time::timeout(DRAIN, connections.wait()).await.ok();
}

async fn connection(stream: TcpStream, sandbox: Sandbox) {
    // Small answers must not wait for the peer's delayed acknowledgements; without it all works, slower.
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
    if error.and_then(|error| error.downcast_ref()) == Some(&Severed::Reset) {
        // With a linger of zero the drop sends RST in place of FIN.
        connection.into_parts().io.inner().set_zero_linger().ok();
    }
}
