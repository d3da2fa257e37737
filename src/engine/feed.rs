//! Reads the inputs on a thread of its own and hands rows on as they come.
//!
//! A thread, not a pool's: one that is blocked on a silent pipe must not keep the process from ending.

use std::io;

use tokio::sync::mpsc;

use crate::domain::InputRow;
use crate::intake::IntakeError;
use crate::intake::OpenInput;

/// Rows that may wait between the reader and the journal: a few batches, so that neither waits for the other, and a
/// bound on memory.
const WAITING: usize = 4096;

/// What the reading thread hands on.
pub(super) enum Fed {
    /// A row, good or bad.
    Row(InputRow),
    /// The input ended, or could not be read any further. A channel that closes without this means that the thread
    /// broke off.
    End(Option<IntakeError>),
}

/// Begins to read.
///
/// # Errors
/// Returns the system's error where no thread can be started.
pub(super) fn start(inputs: Vec<OpenInput>) -> io::Result<mpsc::Receiver<Fed>> {
    let (rows, receiver) = mpsc::channel(WAITING);
    std::thread::Builder::new()
        .name("intake".to_owned())
        .spawn(move || {
            for row in inputs.into_iter().flatten() {
                let fed = row.map_or_else(|error| Fed::End(Some(error)), Fed::Row);
                let is_end = matches!(fed, Fed::End(_));
                // A closed channel means that nobody wants more.
                if rows.blocking_send(fed).is_err() || is_end {
                    return;
                }
            }
            rows.blocking_send(Fed::End(None)).ok();
        })?;
    Ok(receiver)
}
