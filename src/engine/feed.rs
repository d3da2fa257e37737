//! Reads the inputs on a thread of its own and hands rows on as they come.
//!
//! A thread, not a pool's: one that is blocked on a silent pipe must not keep the process from ending.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::input::{InputError, OpenInput};
use crate::model::InputRow;

/// Rows of a file that are handed on together: a place in the file is worth taking only so often.
const CHUNK: usize = 64;

/// Chunks that may wait between the reader and the journal: enough that neither waits for the other, and a bound on
/// memory.
const WAITING: usize = 32;

/// Where the reading of several inputs can be taken up: which one, and the place in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The position of the input in the run's list.
    pub input: usize,
    /// The place, in intake's own words.
    pub bookmark: String,
}

impl Place {
    /// Returns where the reading of an input stands, where it can be taken up there; `position` is the input's own.
    pub(super) fn in_input(input: &OpenInput, position: usize) -> Option<Self> {
        Some(Self {
            input: position,
            bookmark: input.bookmark()?.to_string(),
        })
    }

    /// Returns it as the journal keeps it.
    pub(super) fn written(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// What the reading thread hands on.
pub(super) enum Fed {
    /// Rows, good or bad, and the place behind the last of them, where there is one.
    Rows(Vec<InputRow>, Option<Place>),
    /// The input ended, or could not be read any further. A channel that closes without this means that the thread
    /// broke off.
    End(Option<InputError>),
}

/// Begins to read; `first` is the position of the first of `inputs` in the run's list.
///
/// # Errors
/// Returns the system's error where no thread can be started.
pub(super) fn start(inputs: Vec<OpenInput>, first: usize) -> io::Result<mpsc::Receiver<Fed>> {
    let (rows, receiver) = mpsc::channel(WAITING);
    std::thread::Builder::new()
        .name("intake".to_owned())
        .spawn(move || {
            for (input, position) in inputs.into_iter().zip(first..) {
                // A closed channel means that nobody wants more.
                match read(input, position, &rows) {
                    Reading::Ended => {}
                    Reading::Unwanted => return,
                    Reading::Broken(error) => {
                        rows.blocking_send(Fed::End(Some(error))).ok();
                        return;
                    }
                }
            }
            rows.blocking_send(Fed::End(None)).ok();
        })?;
    Ok(receiver)
}

enum Reading {
    Ended,
    Unwanted,
    Broken(InputError),
}

fn read(mut input: OpenInput, position: usize, rows: &mpsc::Sender<Fed>) -> Reading {
    // A stream's row must not wait for the next one.
    let most = if input.is_stream() { 1 } else { CHUNK };
    loop {
        let mut chunk = Vec::with_capacity(most);
        let mut ending = None;
        while chunk.len() < most {
            match input.next() {
                Some(Ok(row)) => chunk.push(row),
                Some(Err(error)) => ending = Some(Reading::Broken(error)),
                None => ending = Some(Reading::Ended),
            }
            if ending.is_some() {
                break;
            }
        }
        let place = Place::in_input(&input, position);
        if !chunk.is_empty() && rows.blocking_send(Fed::Rows(chunk, place)).is_err() {
            return Reading::Unwanted;
        }
        if let Some(ending) = ending {
            return ending;
        }
    }
}
