//! The writer: one thread that owns the writing connection and commits jobs in groups.
//!
//! It runs all waiting jobs, attempts before row batches, in one IMMEDIATE transaction, commits, and only then answers.
//! Invariant: a success is on disk, and after one failed group every later job fails too, so that the run stops before
//! another byte leaves. A busy file is not a failure: the writer waits.

use std::collections::VecDeque;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::{fmt, io};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::busy_wait::BusyWait;
use super::call_ledger::{AttemptKey, Ledger};
use super::conflicts::Conflicts;
use super::database_file::FileGuard;
use super::error::{StoreError, StoreFault};
use super::locks::HeldLock;
use super::record_types::{Record, SlotAnswer, SlotPurpose, SlotRequest};
use super::row_journal::Sources;
use super::runs::Holds;
use super::{conflicts, quota_scopes, row_journal, runs};

/// The most new rows in one transaction, so that attempts never wait long.
pub(super) const ROWS_AT_ONCE: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    /// First, in order of arrival.
    Attempt,
    /// After attempts: this many rows of input.
    Rows(usize),
    /// Between groups, without a lock on the file.
    Read,
}

/// Runs inside the transaction. Returns how to send the result after the commit, or nothing if it broke the writer.
pub(super) type Job = Box<dyn FnOnce(&mut WriterState) -> Option<Answer> + Send>;

type Answer = Box<dyn FnOnce() + Send>;

struct JobQueue<J = Job> {
    attempts: Vec<J>,
    rows: VecDeque<(usize, J)>,
    reads: VecDeque<J>,
}

impl<J> JobQueue<J> {
    fn new() -> Self {
        Self {
            attempts: Vec::new(),
            rows: VecDeque::new(),
            reads: VecDeque::new(),
        }
    }

    fn add(&mut self, priority: Priority, job: J) {
        match priority {
            Priority::Attempt => self.attempts.push(job),
            Priority::Rows(count) => self.rows.push_back((count, job)),
            Priority::Read => self.reads.push_back(job),
        }
    }

    fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.rows.is_empty() && self.reads.is_empty()
    }

    /// Takes every attempt, then row batches up to the limit, but at least one.
    fn next_group(&mut self) -> Vec<J> {
        let mut group = std::mem::take(&mut self.attempts);
        let mut total = 0;
        while let Some((count, job)) = self.rows.pop_front() {
            if total > 0 && total + count > ROWS_AT_ONCE {
                self.rows.push_front((count, job));
                break;
            }
            total += count;
            group.push(job);
        }
        group
    }
}

/// Runs until the last sender is gone and every job is done, then tidies up.
fn serve(mut writer: WriterState, jobs: &Receiver<(Priority, Job)>, lock: HeldLock) {
    let mut waiting = JobQueue::new();
    loop {
        if waiting.is_empty() {
            match jobs.recv() {
                Ok((priority, job)) => waiting.add(priority, job),
                Err(_) => break,
            }
        }
        while let Ok((priority, job)) = jobs.try_recv() {
            waiting.add(priority, job);
        }
        let group = waiting.next_group();
        if !group.is_empty() {
            serve_group(&mut writer, group);
        }
        while let Some(read) = waiting.reads.pop_front() {
            serve_read(&mut writer, read);
        }
    }
    leave(writer, lock);
}

/// Runs jobs in one transaction. If it fails, they are dropped, and their callers see why the writer is broken.
fn serve_group(writer: &mut WriterState, group: Vec<Job>) {
    if !writer.begin("BEGIN IMMEDIATE") {
        return;
    }
    let answers: Option<Vec<_>> = group.into_iter().map(|job| job(writer)).collect();
    match answers {
        Some(answers) if writer.commit() => answers.into_iter().for_each(|answer| answer()),
        _ => writer.roll_back(),
    }
}

fn serve_read(writer: &mut WriterState, read: Job) {
    if !writer.begin("BEGIN") {
        return;
    }
    let answer = read(writer);
    writer.roll_back();
    if let Some(answer) = answer {
        answer();
    }
}

/// Empties the write-ahead log and releases the lock. Then other processes consider this one dead, and end its calls in
/// flight.
fn leave(writer: WriterState, lock: HeldLock) {
    if writer.broken.get().is_some() {
        return;
    }
    // No waiting: the last process to close the file empties the log.
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let is_busy = writer.conn.query_row(sql, [], |row| row.get(0));
    if is_busy != Ok(false) {
        tracing::debug!(?is_busy, "the write-ahead log stays");
    }
    drop(writer);
    lock.remove();
}

/// Why nothing is written any more. Set once, before any caller gets this error.
type Broken = Arc<OnceLock<StoreError>>;

/// Unbounded: each caller waits for its answer, so callers bound the queue. A full channel could only block them.
pub(super) type JobSender = Sender<(Priority, Job)>;

/// The running writer. Dropping it waits until every job is done.
pub(super) struct WriterThread {
    jobs: Option<Arc<JobSender>>,
    thread: Option<JoinHandle<()>>,
    pub(super) file: PathBuf,
    broken: Broken,
}

impl WriterThread {
    pub(super) fn start(writer: WriterState, lock: HeldLock) -> io::Result<Self> {
        let (file, broken) = (writer.file.clone(), Arc::clone(&writer.broken));
        let (jobs, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || serve(writer, &waiting, lock))?;
        Ok(Self {
            jobs: Some(Arc::new(jobs)),
            thread: Some(thread),
            file,
            broken,
        })
    }

    /// Returns why nothing is written any more, if so.
    pub(super) fn broken(&self) -> Option<&StoreError> {
        self.broken.get()
    }

    /// Returns a sender that doesn't keep the writer running.
    pub(super) fn jobs(&self) -> Weak<JobSender> {
        self.jobs.as_ref().map(Arc::downgrade).unwrap_or_default()
    }

    /// Queues `work` for a transaction. An error breaks the store, unless it is a refusal or from a read.
    pub(super) fn ask<T, F>(&self, priority: Priority, work: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriterState) -> Result<T, StoreFault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |writer| {
            let answer = match work(writer) {
                Ok(value) => Ok(value),
                // Nothing was written, so the rest of the group isn't affected.
                Err(fault) if priority == Priority::Read || fault.is_refusal() => {
                    Err(fault.at(&writer.file))
                }
                Err(fault) => {
                    writer.fail(fault);
                    return None;
                }
            };
            // The caller may be gone; the record is written anyway.
            Some(Box::new(move || drop(reply.send(answer))))
        });
        if let Some(jobs) = &self.jobs {
            // If the writer is gone, the job is dropped with its reply channel, which the caller notices.
            drop(jobs.send((priority, job)));
        }
        Pending {
            answer,
            broken: Arc::clone(&self.broken),
        }
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
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(file = %self.file.display(), "the state file writer crashed");
        }
    }
}

/// The answer to a job that is already queued.
///
/// # Cancel safety
/// Dropping this drops only the answer; the job still runs.
#[derive(Debug)]
#[must_use = "what was sent is not on disk before the answer is there"]
pub struct Pending<T> {
    answer: oneshot::Receiver<Result<T, StoreError>>,
    broken: Broken,
}

impl<T> Future for Pending<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| {
            let broken = self.broken.get();
            Err(broken.cloned().unwrap_or(StoreError::Closed))
        }))
    }
}

/// States read longer ago than this are read again anyway.
const STATES_LAST: SignedDuration = SignedDuration::from_mins(10);

#[derive(Debug)]
pub(super) struct WriterState {
    pub(super) conn: Connection,
    pub(super) file: PathBuf,
    pub(super) anchor: FileGuard,
    pub(super) broken: Broken,
    pub(super) ledger: Ledger,
    pub(super) sources: Sources,
    pub(super) holds: Holds,
    pub(super) conflicts: Conflicts,
}

impl WriterState {
    /// Begins a transaction, unless the writer is broken. Waits without limit: another process may be writing, or suspended
    /// while it writes.
    fn begin(&mut self, sql: &str) -> bool {
        let mut patience = BusyWait::endless();
        while self.broken.get().is_none() {
            match self.try_begin(sql) {
                Ok(()) => return true,
                Err(fault) if patience.bears(&fault, &self.file) => {}
                Err(fault) => self.fail(fault),
            }
        }
        false
    }

    fn try_begin(&mut self, sql: &str) -> Result<(), StoreFault> {
        self.conn.prepare_cached(sql)?.execute([])?;
        // This read takes the snapshot, so that a plain BEGIN can't turn out busy later.
        let version = self
            .conn
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0));
        match version {
            Ok(version) => {
                self.ledger.see_version(version);
                Ok(())
            }
            Err(error) => {
                self.roll_back();
                Err(error.into())
            }
        }
    }

    fn commit(&mut self) -> bool {
        // A commit to a removed or replaced file would be lost.
        let committed = self.anchor.check().and_then(|()| {
            let mut commit = self.conn.prepare_cached("COMMIT")?;
            Ok(commit.execute([])?)
        });
        committed.map_err(|fault| self.fail(fault)).is_ok()
    }

    fn roll_back(&self) {
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            // Closing the connection ends the transaction at the latest.
            tracing::debug!(%error, "rolling back");
        }
    }

    /// Ends all writing.
    pub(super) fn fail(&self, fault: StoreFault) {
        let error = fault.at(&self.file);
        if self.broken.set(error.clone()).is_ok() {
            tracing::error!(%error, "journal write failed; stopping");
        }
    }

    pub(super) fn take(&mut self, take: &SlotRequest) -> Result<SlotAnswer, StoreFault> {
        let taken = self.ledger.take(&self.conn, take)?;
        if let (
            SlotAnswer::Go(_),
            SlotPurpose::Send {
                run,
                row,
                number,
                comment,
            },
        ) = (taken, &take.purpose)
        {
            let attempt = AttemptKey {
                run: *run,
                row: *row,
                number: *number,
            };
            row_journal::begin_attempt(&self.conn, attempt, comment, take.now.wall)?;
        }
        Ok(taken)
    }

    pub(super) fn write(&mut self, records: &[Record]) -> Result<(), StoreFault> {
        let mut rest = records;
        while let Some((record, behind)) = rest.split_first() {
            rest = behind;
            match (record, behind.split_first()) {
                // The usual end of an attempt, in a single update.
                (
                    Record::Replied {
                        call,
                        at,
                        ended,
                        row: Some(reply),
                    },
                    Some((
                        Record::Settled {
                            run,
                            row,
                            settlement,
                        },
                        behind,
                    )),
                ) if (reply.run, reply.row) == (*run, *row) => {
                    self.ledger.end(&self.conn, *call, *at, *ended)?;
                    row_journal::end_last_attempt(&self.conn, reply, at.wall, settlement)?;
                    rest = behind;
                }
                _ => self.write_one(record)?,
            }
        }
        Ok(())
    }

    fn write_one(&mut self, record: &Record) -> Result<(), StoreFault> {
        let conn = &self.conn;
        match record {
            Record::Replied {
                call,
                at,
                ended,
                row,
            } => {
                self.ledger.end(conn, *call, *at, *ended)?;
                match row {
                    Some(reply) => row_journal::end_attempt(conn, reply, at.wall),
                    None => Ok(()),
                }
            }
            Record::Withdrawn { call } => match self.ledger.withdraw(conn, *call)? {
                Some(attempt) => row_journal::strike_attempt(conn, attempt),
                None => Ok(()),
            },
            Record::Noted {
                run,
                row,
                phase,
                record,
                status_before,
                checked_at,
            } => {
                let (record, status_before) = (record.as_ref(), status_before.as_ref());
                row_journal::note(conn, *run, *row, *phase, record, status_before, *checked_at)
            }
            Record::Settled {
                run,
                row,
                settlement,
            } => row_journal::settle(conn, *run, *row, settlement),
            Record::LaneStopped { run, lane, reason } => {
                row_journal::stop_lane(conn, *run, *lane, reason.as_deref())
            }
            Record::Deferred { run, row, reason } => row_journal::defer(conn, *run, *row, reason),
            Record::FollowedUp {
                run,
                row,
                follow_up,
                note,
            } => row_journal::follow_up(conn, *run, *row, *follow_up, note),
            Record::Cooldown {
                scope,
                until,
                wall,
                cause,
            } => {
                self.ledger.forget_cooldown(*scope);
                quota_scopes::cool_down(conn, *scope, self.ledger.boot(), *until, *wall, cause)
            }
            Record::ScopeReset { scope } => {
                self.ledger.forget_cooldown(*scope);
                quota_scopes::reset(conn, *scope)
            }
            Record::Limit { scope, window, at } => quota_scopes::adopt(conn, *scope, *window, *at),
            Record::Pace { scope, pace, at } => quota_scopes::set_pace(conn, *scope, *pace, *at),
            Record::RunConfirmed { run, at } => {
                runs::confirm(conn, *run)?;
                let since = at.checked_sub(STATES_LAST).unwrap_or(Timestamp::MIN);
                conflicts::forget_states(conn, *run, since)
            }
            Record::RunSettings { run, settings } => runs::set_settings(conn, *run, settings),
            Record::RunState {
                run,
                state,
                exit,
                reason,
                at,
            } => runs::set_state(conn, *run, *state, *exit, reason.as_deref(), *at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_go_before_rows_and_rows_are_bounded() {
        let mut waiting = JobQueue::new();
        for (name, priority) in [
            ("600 rows", Priority::Rows(600)),
            ("attempt", Priority::Attempt),
            ("400 rows", Priority::Rows(400)),
            ("read", Priority::Read),
            ("1 row", Priority::Rows(1)),
            ("another", Priority::Attempt),
            ("5000 rows", Priority::Rows(5_000)),
        ] {
            waiting.add(priority, name);
        }
        let group = waiting.next_group();
        assert_eq!(group, ["attempt", "another", "600 rows", "400 rows"]);
        assert_eq!(waiting.next_group(), ["1 row"]);
        assert_eq!(waiting.next_group(), ["5000 rows"]);
        assert!(waiting.next_group().is_empty() && !waiting.is_empty());
    }
}
