//! The server loop: the caller binds and decides when to stop; this accepts, answers and ends.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::line::{Line, Lines};
use super::server::Sandbox;

/// How long connections may take to finish once a stop was asked for: longer than any believable latency, and short
/// enough that a peer in the middle of a call it never completes cannot hold the sandbox open.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `stop` is ready, lets calls under way finish, and returns.
///
/// Calls that hang by script are closed at the stop.
///
/// # Errors
/// Returns the system's error where accepting breaks down for good.
///
/// # Cancel safety
/// Safe: dropping this stops accepting; connections under way go on by themselves.
pub async fn serve(listener: TcpListener, sandbox: Sandbox, stop: impl Future) -> io::Result<()> {
    let stopping = CancellationToken::new();
    let lines = Lines {
        listener,
        stopping: stopping.clone(),
    };
    let service = sandbox
        .router()
        .into_make_service_with_connect_info::<Line>();
    let server = axum::serve(lines, service)
        .with_graceful_shutdown(stopping.clone().cancelled_owned())
        .into_future();
    let mut server = std::pin::pin!(server);
    tokio::select! {
        ended = &mut server => return ended,
        _ = stop => stopping.cancel(),
    }
    match tokio::time::timeout(DRAIN, server).await {
        Ok(ended) => ended,
        Err(_) => Ok(()),
    }
}
