//! The writer: one thread that owns the writing connection and commits jobs in groups.
//!
//! It runs all waiting jobs, attempts before row batches, in one IMMEDIATE transaction, commits, and only then answers.
//! Invariant: a success is on disk, and after one failed group every later job fails too, so that the run stops before
//! another byte leaves. A busy file is not a failure: the writer waits.

use std::collections::VecDeque;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::{fmt, io};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::model::{LaneId, Moment, Scope};
use crate::quota;
use crate::quota::Windows;

use super::busy_wait::BusyWait;
use super::conflicts::Conflicts;
use super::error::{StoreError, StoreFault};
use super::journal::{LoadFrom, Note, Sources};
use super::ledger::{AttemptKey, Ledger};
use super::locks::HeldLock;
use super::runs::{Granted, Holds};
use super::state_file::Anchor;
use super::types::{
    InputMark, NewRow, NewRun, Purpose, QueuedRow, Record, RunKey, ScopeKey, ScopeRecord, ScopeUse,
    Take, Taken,
};
use super::{conflicts, journal, quota_scopes, runs};

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

/// A request to the writer, with its reply channel.
pub(super) trait Job: Send {
    fn priority(&self) -> Priority;
    /// Runs inside the transaction, and keeps the result.
    fn perform(&mut self, writer: &mut WriterState) -> Result<(), StoreFault>;
    /// Sends the result, or the reason for the failure.
    fn answer(self: Box<Self>, ended: Result<(), StoreError>);
}

pub(super) struct ClosureJob<T, F> {
    pub(super) priority: Priority,
    pub(super) work: Option<F>,
    pub(super) value: Option<Result<T, StoreError>>,
    pub(super) reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for ClosureJob<T, F>
where
    T: Send,
    F: FnOnce(&mut WriterState) -> Result<Granted<T>, StoreFault> + Send,
{
    fn priority(&self) -> Priority {
        self.priority
    }

    fn perform(&mut self, writer: &mut WriterState) -> Result<(), StoreFault> {
        if let Some(work) = self.work.take() {
            let granted = work(writer)?;
            self.value = Some(granted.map_err(|refusal| refusal.at(&writer.file)));
        }
        Ok(())
    }

    fn answer(self: Box<Self>, ended: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        let answer = ended.and_then(|()| value.unwrap_or(Err(StoreError::Closed)));
        // The caller may be gone; the record is written anyway.
        drop(reply.send(answer));
    }
}

pub(super) type AnyJob = Box<dyn Job>;

#[derive(Default)]
struct JobQueue {
    attempts: VecDeque<AnyJob>,
    rows: VecDeque<AnyJob>,
    reads: VecDeque<AnyJob>,
}

impl JobQueue {
    fn add(&mut self, job: AnyJob) {
        match job.priority() {
            Priority::Attempt => self.attempts.push_back(job),
            Priority::Rows(_) => self.rows.push_back(job),
            Priority::Read => self.reads.push_back(job),
        }
    }

    fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.rows.is_empty() && self.reads.is_empty()
    }

    /// Takes every attempt, then row batches up to the limit, but at least one.
    fn next_group(&mut self) -> Vec<AnyJob> {
        let mut group: Vec<_> = self.attempts.drain(..).collect();
        let mut total = 0;
        while let Some(Priority::Rows(rows)) = self.rows.front().map(|job| job.priority()) {
            if total > 0 && total + rows > ROWS_AT_ONCE {
                break;
            }
            total += rows;
            group.extend(self.rows.pop_front());
        }
        group
    }
}

/// Why nothing is written any more. Set once, before any caller gets this error.
pub(super) type Broken = OnceLock<StoreError>;

/// Runs until the last sender is gone and every job is done, then tidies up.
pub(super) fn serve(
    mut writer: WriterState,
    jobs: &Receiver<AnyJob>,
    lock: HeldLock,
    broken: &Broken,
) {
    let mut waiting = JobQueue::default();
    loop {
        if waiting.is_empty() {
            match jobs.recv() {
                Ok(job) => waiting.add(job),
                Err(_) => break,
            }
        }
        while let Ok(job) = jobs.try_recv() {
            waiting.add(job);
        }
        let group = waiting.next_group();
        if !group.is_empty() {
            serve_group(&mut writer, group, broken);
        }
        while let Some(read) = waiting.reads.pop_front() {
            serve_read(&mut writer, read, broken.get());
        }
    }
    leave(writer, lock, broken.get().is_some());
}

fn serve_group(writer: &mut WriterState, mut group: Vec<AnyJob>, broken: &Broken) {
    let ended = match broken.get() {
        Some(error) => Err(error.clone()),
        None => commit(writer, &mut group).map_err(|fault| fault.at(&writer.file)),
    };
    if let Err(error) = &ended
        && broken.set(error.clone()).is_ok()
    {
        tracing::error!(%error, "journal write failed; stopping");
    }
    for job in group {
        job.answer(ended.clone());
    }
}

fn commit(writer: &mut WriterState, group: &mut [AnyJob]) -> Result<(), StoreFault> {
    begin(writer, "BEGIN IMMEDIATE")?;
    let done = group
        .iter_mut()
        .try_for_each(|job| job.perform(writer))
        // A commit to a removed or replaced file would be lost.
        .and_then(|()| writer.anchor.check())
        .and_then(|()| {
            Ok(writer
                .conn
                .prepare_cached("COMMIT")?
                .execute([])
                .map(drop)?)
        });
    if done.is_err() {
        roll_back(writer);
        writer.ledger.forget();
        writer.sources.clear();
        writer.conflicts.forget();
    }
    done
}

fn serve_read(writer: &mut WriterState, mut read: AnyJob, broken: Option<&StoreError>) {
    let ended = match broken {
        Some(error) => Err(error.clone()),
        None => begin(writer, "BEGIN")
            .and_then(|()| {
                let done = read.perform(writer);
                roll_back(writer);
                done
            })
            .map_err(|fault| fault.at(&writer.file)),
    };
    read.answer(ended);
}

fn roll_back(writer: &WriterState) {
    if !writer.conn.is_autocommit()
        && let Err(error) = writer.conn.execute_batch("ROLLBACK")
    {
        // Closing the connection ends the transaction at the latest.
        tracing::debug!(%error, "rolling back");
    }
}

/// Begins a transaction, and waits without limit: another process may be writing, or suspended while it writes.
fn begin(writer: &mut WriterState, sql: &str) -> Result<(), StoreFault> {
    let mut patience = BusyWait::endless();
    loop {
        match try_begin(writer, sql) {
            Err(fault) if patience.bears(&fault, &writer.file) => {}
            other => return other,
        }
    }
}

fn try_begin(writer: &mut WriterState, sql: &str) -> Result<(), StoreFault> {
    writer.conn.prepare_cached(sql)?.execute([])?;
    // This read takes the snapshot, so that a plain BEGIN can't turn out busy later.
    let version = writer
        .conn
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0));
    match version {
        Ok(version) => {
            writer.ledger.see_version(version);
            Ok(())
        }
        Err(error) => {
            roll_back(writer);
            Err(error.into())
        }
    }
}

/// Empties the write-ahead log and releases the lock. Then other processes consider this one dead, and end its calls in
/// flight.
fn leave(writer: WriterState, lock: HeldLock, broken: bool) {
    if broken {
        return;
    }
    // No waiting: the last process to close the file empties the log.
    if let Err(error) = empty_log(&writer) {
        tracing::debug!(%error, "the write-ahead log stays");
    }
    drop(writer);
    lock.remove();
}

/// Moves the write-ahead log into the file, unless another process reads from it.
fn empty_log(writer: &WriterState) -> rusqlite::Result<()> {
    let is_busy: bool = writer
        .conn
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        tracing::debug!("the write-ahead log is in use and stays");
    }
    Ok(())
}

/// Sends jobs to the writer; closed when the store is.
///
/// Unbounded: each caller waits for its answer, so callers bound the queue. A full channel could only block them.
#[derive(Clone)]
pub(super) struct JobSender(Arc<Mutex<Option<Sender<AnyJob>>>>);

impl JobSender {
    /// Sends a job. If the writer is gone, the job is dropped with its reply channel, which the caller notices.
    pub(super) fn send(&self, job: AnyJob) {
        if let Some(jobs) = &*self.lock() {
            drop(jobs.send(job));
        }
    }

    fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Sender<AnyJob>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running writer. Dropping it waits until every job is done.
pub(super) struct WriterThread {
    jobs: JobSender,
    thread: Option<JoinHandle<()>>,
    file: PathBuf,
    broken: Arc<Broken>,
}

impl WriterThread {
    pub(super) fn start(writer: WriterState, lock: HeldLock) -> io::Result<Self> {
        let file = writer.file.clone();
        let (jobs, waiting) = mpsc::channel();
        let broken = Arc::new(Broken::new());
        let told = Arc::clone(&broken);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || serve(writer, &waiting, lock, &told))?;
        Ok(Self {
            jobs: JobSender(Arc::new(Mutex::new(Some(jobs)))),
            thread: Some(thread),
            file,
            broken,
        })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Returns why nothing is written any more, if so.
    pub(super) fn broken(&self) -> Option<&StoreError> {
        self.broken.get()
    }

    /// Returns the sender, which may outlive the writer.
    pub(super) fn jobs(&self) -> &JobSender {
        &self.jobs
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
        self.jobs.close();
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

/// States read longer ago than this are read again anyway.
const STATES_LAST: SignedDuration = SignedDuration::from_mins(10);

#[derive(Debug)]
pub(super) struct WriterState {
    pub(super) conn: Connection,
    pub(super) file: PathBuf,
    pub(super) anchor: Anchor,
    pub(super) ledger: Ledger,
    pub(super) sources: Sources,
    pub(super) holds: Holds,
    pub(super) conflicts: Conflicts,
    /// The last wall time passed in, for records that have none.
    pub(super) told: Timestamp,
}

impl WriterState {
    pub(super) fn append_rows(
        &mut self,
        run: RunKey,
        rows: &[NewRow],
        mark: &InputMark,
    ) -> Result<(), StoreFault> {
        journal::append_rows(&self.conn, &mut self.sources, run, rows, mark)
    }

    pub(super) fn load_rows(
        &mut self,
        run: RunKey,
        lane: LaneId,
        from: &LoadFrom,
        limit: usize,
    ) -> Result<Vec<QueuedRow>, StoreFault> {
        let mut rows = journal::load_rows(&self.conn, run, lane, from, limit)?;
        self.conflicts.refresh(&self.conn, &self.holds, run)?;
        // Rows that this run has sent are its own to settle.
        for row in rows.iter_mut().filter(|row| row.attempts == 0) {
            row.in_progress = self.conflicts.in_progress(&self.conn, row)?;
        }
        Ok(rows)
    }

    pub(super) fn create_run(&mut self, run: &NewRun) -> Result<RunKey, StoreFault> {
        runs::create(&self.conn, self.holds.me(), run)
    }

    pub(super) fn hold_run(
        &mut self,
        run: RunKey,
        at: Timestamp,
    ) -> Result<Granted<()>, StoreFault> {
        self.holds.take_in_hand(&self.conn, run, at)
    }

    pub(super) fn let_run_go(&mut self, run: RunKey) -> Result<(), StoreFault> {
        self.holds.let_go(&self.conn, run)
    }

    pub(super) fn reopen_run(
        &mut self,
        run: RunKey,
        at: Timestamp,
    ) -> Result<Granted<()>, StoreFault> {
        if let Err(refusal) = self.holds.take(&self.conn, run, at)? {
            return Ok(Err(refusal));
        }
        runs::go_on(&self.conn, run).map(Ok)
    }

    pub(super) fn remove_run(&mut self, run: RunKey) -> Result<Granted<()>, StoreFault> {
        if let Err(refusal) = self.holds.must_be_free(&self.conn, run)? {
            return Ok(Err(refusal));
        }
        self.sources.retain(|(known, _), _| *known != run);
        runs::remove(&self.conn, run).map(Ok)
    }

    pub(super) fn take(&mut self, take: &Take) -> Result<Taken, StoreFault> {
        self.told = take.now.wall;
        let taken = self.ledger.take(&self.conn, take)?;
        if let (
            Taken::Go(_),
            Purpose::Send {
                run,
                row,
                number,
                comment,
            },
        ) = (taken, &take.purpose)
        {
            let attempt = AttemptKey {
                run: *run,
                row: row.0,
                number: *number,
            };
            journal::begin_attempt(&self.conn, attempt, comment, take.now.wall)?;
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
                    journal::end_last_attempt(&self.conn, reply, at.wall, settlement)?;
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
                    Some(reply) => journal::end_attempt(conn, reply, at.wall),
                    None => Ok(()),
                }
            }
            Record::Withdrawn { call } => match self.ledger.withdraw(conn, *call)? {
                Some(attempt) => journal::strike_attempt(conn, attempt),
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
                let note = Note {
                    phase: *phase,
                    record: record.as_ref(),
                    status_before: status_before.as_ref(),
                    checked_at: *checked_at,
                };
                journal::note(conn, *run, row.0, &note)
            }
            Record::Settled {
                run,
                row,
                settlement,
            } => journal::settle(conn, *run, row.0, settlement),
            Record::LaneStopped { run, lane, reason } => {
                journal::stop_lane(conn, *run, *lane, reason.as_deref())
            }
            Record::Deferred { run, row, reason } => journal::defer(conn, *run, row.0, reason),
            Record::FollowedUp {
                run,
                row,
                follow_up,
                note,
            } => journal::follow_up(conn, *run, row.0, *follow_up, note),
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

    pub(super) fn scope(&mut self, scope: &Scope, now: Moment) -> Result<ScopeRecord, StoreFault> {
        self.told = now.wall;
        let key = quota_scopes::find_or_add(&self.conn, scope)?;
        quota_scopes::age_allowances(&self.conn, key, now.wall)?;
        quota_scopes::read(&self.conn, key, self.ledger.boot(), now)
    }

    pub(super) fn usage(
        &mut self,
        key: ScopeKey,
        windows: &Windows,
        now: Moment,
    ) -> Result<ScopeUse, StoreFault> {
        self.told = now.wall;
        let calls = self.ledger.calls(&self.conn, key, windows, now)?;
        Ok(ScopeUse {
            windows: quota::usage(now.uptime, windows, &calls),
            calls,
            scope: quota_scopes::read(&self.conn, key, self.ledger.boot(), now)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(Priority);

    impl Job for Named {
        fn priority(&self) -> Priority {
            self.0
        }
        fn perform(&mut self, _desk: &mut WriterState) -> Result<(), StoreFault> {
            Ok(())
        }
        fn answer(self: Box<Self>, _ended: Result<(), StoreError>) {}
    }

    fn sizes(group: &[AnyJob]) -> Vec<Priority> {
        group.iter().map(|job| job.priority()).collect()
    }

    #[test]
    fn attempts_go_before_rows_and_rows_are_bounded() {
        let mut waiting = JobQueue::default();
        for priority in [
            Priority::Rows(600),
            Priority::Attempt,
            Priority::Rows(400),
            Priority::Read,
            Priority::Rows(1),
            Priority::Attempt,
            Priority::Rows(5_000),
        ] {
            waiting.add(Box::new(Named(priority)));
        }
        assert_eq!(
            sizes(&waiting.next_group()),
            [
                Priority::Attempt,
                Priority::Attempt,
                Priority::Rows(600),
                Priority::Rows(400)
            ]
        );
        assert_eq!(sizes(&waiting.next_group()), [Priority::Rows(1)]);
        assert_eq!(sizes(&waiting.next_group()), [Priority::Rows(5_000)]);
        assert!(waiting.next_group().is_empty() && !waiting.is_empty());
    }
}
