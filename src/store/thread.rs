//! The thread of the writer, and the answers that come back from it. It never waits for whoever asked.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::{fmt, io};

use tokio::sync::oneshot;

use super::desk::Desk;
use super::error::StoreError;
use super::locks::Held;
use super::writer;
use super::writer::{AnyErrand, Broken};

/// The way to the writer; closed when the store is.
///
/// Unbounded: whoever sends waits for the answer, so what can be waiting is bounded by those who ask, and a full channel
/// could only block them.
#[derive(Clone)]
pub(super) struct Errands(Arc<Mutex<Option<Sender<AnyErrand>>>>);

impl Errands {
    /// Sends an errand. Where the writer is gone, it is dropped with its way back, and that is the answer.
    pub(super) fn send(&self, errand: AnyErrand) {
        if let Some(errands) = &*self.lock() {
            drop(errands.send(errand));
        }
    }

    fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Sender<AnyErrand>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer at work; dropping this waits until everything sent is done.
pub(super) struct WriterThread {
    errands: Errands,
    thread: Option<JoinHandle<()>>,
    file: PathBuf,
    broken: Arc<Broken>,
}

impl WriterThread {
    /// Starts it.
    pub(super) fn start(desk: Desk, lock: Held) -> io::Result<Self> {
        let file = desk.file.clone();
        let (errands, waiting) = mpsc::channel();
        let broken = Arc::new(Broken::new());
        let told = Arc::clone(&broken);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer::serve(desk, &waiting, lock, &told))?;
        Ok(Self {
            errands: Errands(Arc::new(Mutex::new(Some(errands)))),
            thread: Some(thread),
            file,
            broken,
        })
    }

    /// Returns the file that it writes.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Returns why nothing is written any more, where that is so.
    pub(super) fn broken(&self) -> Option<&StoreError> {
        self.broken.get()
    }

    /// Returns the way to it, which may outlast it.
    pub(super) fn errands(&self) -> &Errands {
        &self.errands
    }
}

impl fmt::Debug for WriterThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterThread")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.errands.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(file = %self.file.display(), "the writer of the state file broke off");
        }
    }
}

/// The answer to something that is already on its way to the writer.
///
/// # Cancel safety
/// Dropping it drops the answer only; what was sent is done all the same.
#[derive(Debug)]
#[must_use = "what was sent is not on disk before the answer is there"]
pub struct Pending<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Pending<T> {
    pub(super) fn new(answer: oneshot::Receiver<Result<T, StoreError>>) -> Self {
        Self(answer)
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}
