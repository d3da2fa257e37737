//! Reads the inputs on a thread of its own and hands rows on as they come.
//!
//! A thread, not a pool's: one that is blocked on a silent pipe must not keep the process from ending.

use std::io;
use std::ops::ControlFlow;

use tokio::sync::mpsc;

use crate::input::{InputChunk, InputError, OpenInput};

/// Chunks that may wait between the reader and the journal: enough that neither waits for the other, and a bound on
/// memory.
const WAITING: usize = 32;

/// What the reading thread hands on.
pub enum Fed {
    /// Rows, good or bad.
    Rows(InputChunk),
    /// The inputs ended, or could not be read any further. A channel that closes without this means that the thread
    /// broke off.
    End(Option<InputError>),
}

/// Begins to read.
///
/// # Errors
/// Returns the system's error where no thread can be started.
pub fn read_inputs(inputs: Vec<OpenInput>) -> io::Result<mpsc::Receiver<Fed>> {
    let (fed, receiver) = mpsc::channel(WAITING);
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            for mut input in inputs {
                let read = input.read(&mut |chunk| match fed.blocking_send(Fed::Rows(chunk)) {
                    Ok(()) => ControlFlow::Continue(()),
                    // Nobody wants more.
                    Err(_) => ControlFlow::Break(()),
                });
                if let Some(warning) = input.warning() {
                    tracing::warn!("{warning}");
                }
                if let Err(error) = read {
                    fed.blocking_send(Fed::End(Some(error))).ok();
                    return;
                }
                if fed.is_closed() {
                    return;
                }
            }
            fed.blocking_send(Fed::End(None)).ok();
        })?;
    Ok(receiver)
}
