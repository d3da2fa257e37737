//! The handle to the store: sends jobs to the writer without blocking.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use jiff::Timestamp;
use rusqlite::{Transaction, TransactionBehavior};

use crate::model::{LaneId, Moment, Scope, Uptime};
use crate::quota;
use crate::quota::Windows;

use super::busy_wait::BusyWait;
use super::call_ledger::Ledger;
use super::conflicts::Conflicts;
use super::database_file::{Folder, OpenFile};
use super::error::{StoreError, StoreFault};
use super::reader::Reader;
use super::record_types::{
    InputProgress, NewRow, NewRun, Process, QueuedRow, Record, RunKey, ScopeKey, ScopeRecord,
    ScopeUse, SlotAnswer, SlotRequest, StoreOptions,
};
use super::row_journal::{LoadFrom, Sources};
use super::runs::Holds;
use super::writer::{Job, JobSender, Pending, Priority, ROWS_AT_ONCE, WriterState, WriterThread};
use super::{call_ledger, quota_scopes, row_journal, runs};

/// The journal and the ledger of one state folder. Clones share one writer.
///
/// Dropping the last clone blocks until all jobs are done and the write-ahead log is empty.
#[derive(Clone, Debug)]
pub struct Store {
    thread: Arc<WriterThread>,
}

impl Store {
    /// Opens the state of a folder, and creates it if necessary. Blocks for milliseconds.
    ///
    /// # Errors
    /// If the folder or the file can't be used. A damaged, newer or foreign file stays untouched.
    pub fn open(dir: &Path, process: Process, now: Moment) -> Result<Self, StoreError> {
        Self::open_with(dir, process, now, StoreOptions::default())
    }

    ///
    /// # Errors
    /// Like [`Store::open`].
    pub fn open_with(
        dir: &Path,
        process: Process,
        now: Moment,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let folder = Folder::open(dir)?;
        let mut patience = BusyWait::of(options.patience);
        let name: Arc<str> = process.id.to_string().into();
        let mut file = folder.open_file(&name, &mut patience)?;
        let ledger = enter(&mut file, &mut patience, &folder, &process, now, &options)
            .map_err(|fault| fault.at(&folder.file))?;
        let holds = Holds::new(process, name, folder.locks.clone());
        let OpenFile {
            conn, anchor, lock, ..
        } = file;
        let writer = WriterState {
            conn,
            file: folder.file.clone(),
            anchor,
            broken: Arc::new(OnceLock::new()),
            ledger,
            sources: Sources::new(),
            holds,
            conflicts: Conflicts::default(),
        };
        let thread =
            WriterThread::start(writer, lock).map_err(|error| StoreError::folder(dir, error))?;
        Ok(Self {
            thread: Arc::new(thread),
        })
    }

    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open_file(&self.thread.file)
    }

    /// Fails as soon as a commit has failed, even before the affected caller hears of it: calls allowed by earlier
    /// commits must not leave any more.
    pub fn check(&self) -> Result<(), StoreError> {
        self.thread
            .broken()
            .map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Creates a run. This process holds it until it closes the store or drops a [`RunHold`](super::RunHold) of it.
    pub fn create_run(&self, run: NewRun) -> Pending<RunKey> {
        self.ask(Priority::Attempt, move |writer| {
            runs::create(&writer.conn, writer.holds.me(), &run)
        })
    }

    /// Adds rows and the input's position in one transaction.
    ///
    /// Attempts sent to the writer later may be committed first. Row numbers must grow from call to call.
    pub fn append_rows(&self, run: RunKey, rows: Vec<NewRow>, mark: InputProgress) -> Pending<()> {
        self.append_read_rows(run, rows, mark, Vec::new())
    }

    /// Like [`Store::append_rows`], with records about the rows.
    pub fn append_read_rows(
        &self,
        run: RunKey,
        rows: Vec<NewRow>,
        mark: InputProgress,
        records: Vec<Record>,
    ) -> Pending<()> {
        self.ask(Priority::Rows(rows.len()), move |writer| {
            row_journal::append_rows(&writer.conn, &mut writer.sources, run, &rows, &mark)?;
            writer.write(&records)
        })
    }

    /// Reads at most `limit` unsettled rows of a lane, in order. For rows that were never sent, says whether another
    /// run is working on their action.
    pub fn load_rows(
        &self,
        run: RunKey,
        lane: LaneId,
        from: LoadFrom,
        limit: usize,
    ) -> Pending<Vec<QueuedRow>> {
        self.ask(Priority::Read, move |writer| {
            let conn = &writer.conn;
            let mut rows = row_journal::load_rows(conn, run, lane, &from, limit)?;
            writer.conflicts.refresh(conn, &writer.holds, run)?;
            // What was sent once is this run's to settle.
            for row in rows.iter_mut().filter(|row| row.attempts == 0) {
                row.in_progress = writer.conflicts.in_progress(conn, row)?;
            }
            Ok(rows)
        })
    }

    /// Takes a slot and journals the attempt in one transaction, or says when to ask again.
    ///
    /// # Cancel safety
    /// Safe: if the caller goes away, the slot is freed.
    pub fn take(
        &self,
        take: SlotRequest,
    ) -> impl Future<Output = Result<SlotAnswer, StoreError>> + Send + use<> {
        let jobs = self.thread.jobs();
        let taken = self.ask(Priority::Attempt, move |writer| {
            let taken = writer.take(&take)?;
            Ok(UnclaimedSlot { taken, jobs })
        });
        async move { taken.await.map(UnclaimedSlot::hear) }
    }

    /// Writes all records or none. Keeps the order of calls to this and to [`Store::take`].
    pub fn write(&self, records: Vec<Record>) -> Pending<()> {
        self.ask(Priority::Attempt, move |writer| writer.write(&records))
    }

    pub fn usage(&self, scope: ScopeKey, windows: Arc<Windows>, now: Moment) -> Pending<ScopeUse> {
        self.ask(Priority::Read, move |writer| {
            scope_use(writer, scope, &windows, now)
        })
    }

    /// Returns the usage of several scopes in one job, in their order.
    pub fn usages(
        &self,
        scopes: Vec<(ScopeKey, Arc<Windows>)>,
        now: Moment,
    ) -> Pending<Vec<ScopeUse>> {
        self.ask(Priority::Read, move |writer| {
            let scopes = scopes.iter();
            scopes
                .map(|(scope, windows)| scope_use(writer, *scope, windows, now))
                .collect()
        })
    }

    pub fn scopes(&self) -> Pending<Vec<(ScopeKey, Scope)>> {
        self.ask(Priority::Read, |writer| quota_scopes::all(&writer.conn))
    }

    /// Returns a scope's state; adds the scope if it is new.
    pub fn scope(&self, scope: &Scope, now: Moment) -> Pending<ScopeRecord> {
        let scope = scope.clone();
        self.ask(Priority::Attempt, move |writer| {
            let conn = &writer.conn;
            let key = quota_scopes::find_or_add(conn, &scope)?;
            quota_scopes::age_allowances(conn, key, now.wall)?;
            quota_scopes::read(conn, key, writer.ledger.boot(), now)
        })
    }

    fn ask<T, F>(&self, priority: Priority, work: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriterState) -> Result<T, StoreFault> + Send + 'static,
    {
        self.thread.ask(priority, work)
    }
}

fn scope_use(
    writer: &mut WriterState,
    key: ScopeKey,
    windows: &Windows,
    now: Moment,
) -> Result<ScopeUse, StoreFault> {
    let calls = writer.ledger.calls(&writer.conn, key, windows, now)?;
    Ok(ScopeUse {
        windows: quota::usage(now.uptime, windows, &calls),
        calls,
        scope: quota_scopes::read(&writer.conn, key, writer.ledger.boot(), now)?,
    })
}

/// The reply to a request for a slot, until the caller receives it. If it is dropped earlier, it frees the slot.
struct UnclaimedSlot {
    taken: SlotAnswer,
    jobs: Weak<JobSender>,
}

impl UnclaimedSlot {
    fn hear(mut self) -> SlotAnswer {
        // Leaves a value without a slot for `drop`.
        std::mem::replace(&mut self.taken, SlotAnswer::NotBefore(Uptime::MIN))
    }
}

impl Drop for UnclaimedSlot {
    fn drop(&mut self) {
        if let (SlotAnswer::Go(call), Some(jobs)) = (self.taken, self.jobs.upgrade()) {
            let withdraw: Job = Box::new(move |writer| {
                let withdrawn = writer.write(&[Record::Withdrawn { call }]);
                withdrawn.map_err(|fault| writer.fail(fault)).ok()?;
                Some(Box::new(|| {}))
            });
            drop(jobs.send((Priority::Attempt, withdraw)));
        }
    }
}

/// Creates this process's ledger, and ends the calls of dead processes. Injected faults start only afterwards.
fn enter(
    file: &mut OpenFile,
    patience: &mut BusyWait,
    folder: &Folder,
    process: &Process,
    now: Moment,
    options: &StoreOptions,
) -> Result<Ledger, StoreFault> {
    let (conn, is_alone) = (&mut file.conn, file.is_alone);
    let transaction = loop {
        match Transaction::new_unchecked(conn, TransactionBehavior::Immediate) {
            Ok(transaction) => break transaction,
            Err(error) => {
                let fault = StoreFault::from(error);
                if !patience.bears(&fault, &folder.file) {
                    return Err(fault);
                }
            }
        }
    };
    let boot = call_ledger::enter_boot(&transaction, &process.boot, is_alone, now)?;
    let name = process.id.to_string().into();
    let mut ledger = Ledger::new(name, boot, folder.locks.clone(), options.grace);
    ledger.look_for_dead(&transaction, now)?;
    transaction.commit()?;
    if let Some(fatal) = options.fail_at_commit {
        let mut commits = 0;
        conn.commit_hook(Some(move || {
            commits += 1;
            commits == fatal
        }))?;
    }
    Ok(ledger)
}

/// The right to execute one run, released on drop. Keeps the store open.
#[derive(Debug)]
pub struct RunHold {
    store: Store,
    run: RunKey,
}

impl RunHold {
    pub fn run(&self) -> RunKey {
        self.run
    }
}

impl Drop for RunHold {
    fn drop(&mut self) {
        let run = self.run;
        // Nothing waits for this: if the store is broken, the end of the process releases the run.
        drop(self.store.ask(Priority::Attempt, move |writer| {
            writer.holds.let_go(&writer.conn, run)
        }));
    }
}

impl Store {
    /// Acquires a run for this process alone. Takes over the run of a dead process, and hands out a run that this
    /// process has just created.
    ///
    /// # Errors
    /// [`StoreError::RunHeld`] if a live process holds it, including another [`RunHold`] of this process.
    ///
    /// # Cancel safety
    /// If dropped, the run stays held until the store is closed.
    pub fn hold_run(
        &self,
        run: RunKey,
        at: Timestamp,
    ) -> impl Future<Output = Result<RunHold, StoreError>> + use<> {
        let store = self.clone();
        let held = store.ask(Priority::Attempt, move |writer| {
            writer.holds.take_in_hand(&writer.conn, run, at)
        });
        async move {
            held.await?;
            Ok(RunHold { store, run })
        }
    }

    /// Reopens a run for this process, unless another live process holds it ([`StoreError::RunHeld`]). A finished run
    /// stays finished, because the caller may have read it before its end.
    ///
    /// The run must be confirmed again; until then its rows block no other run.
    pub fn reopen_run(&self, run: RunKey, at: Timestamp) -> Pending<()> {
        self.ask(Priority::Attempt, move |writer| {
            writer.holds.take(&writer.conn, run, at)?;
            runs::go_on(&writer.conn, run)
        })
    }

    /// Removes a run with its rows and attempts in one transaction. Its calls stay in the ledger, and the file doesn't
    /// shrink.
    ///
    /// Answers [`StoreError::RunHeld`] if a live process, including this one, holds the run.
    pub fn remove_run(&self, run: RunKey) -> Pending<()> {
        self.ask(Priority::Rows(ROWS_AT_ONCE), move |writer| {
            writer.holds.must_be_free(&writer.conn, run)?;
            writer.sources.retain(|(known, _), _| *known != run);
            runs::remove(&writer.conn, run)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::io::Write;
    use std::num::NonZeroU32;
    use std::sync::mpsc;

    use futures::executor::block_on;
    use jiff::Timestamp;
    use rusqlite::Connection;
    use uuid::Uuid;

    use super::*;
    use crate::model::{ActionId, BootId, RowContext, RowNumber, RunId, Source};
    use crate::quota::Window;
    use crate::store::SlotPurpose;

    const NOW: Moment = Moment {
        uptime: Uptime::from_nanos(0),
        wall: Timestamp::UNIX_EPOCH,
    };

    fn process() -> Process {
        Process {
            id: Uuid::new_v4(),
            pid: 1,
            host: "here".to_owned(),
            boot: BootId::new("boot"),
        }
    }

    fn open(dir: &Path) -> Store {
        Store::open(dir, process(), NOW).unwrap()
    }

    fn begin(store: &Store) -> RunKey {
        let text = String::new;
        let run = NewRun {
            id: RunId::new(Uuid::from_u128(1)),
            created: NOW.wall,
            settings: text(),
            inputs: text(),
            tenant: text(),
            app: text(),
            cloud: text(),
            host: text(),
            user: text(),
            version: text(),
        };
        block_on(store.create_run(run)).unwrap()
    }

    fn append(store: &Store, run: RunKey, first: u32) -> Result<(), StoreError> {
        let rows = (first..first + 100).map(|number| NewRow {
            number: RowNumber(number),
            lane: LaneId(0),
            source: Source {
                file: "ids.csv".into(),
                line: 1,
            },
            id: ActionId::from_bytes(u128::from(number).to_be_bytes()).ok_or_else(String::new),
            context: RowContext::default(),
            settlement: None,
        });
        block_on(store.append_rows(run, rows.collect(), InputProgress::default()))
    }

    fn count(store: &Store, run: RunKey) -> u64 {
        let counts = store.reader().unwrap().outcome_counts(run).unwrap();
        counts.values().sum()
    }

    fn pragma(store: &Store, name: &'static str, value: i64) {
        block_on(store.ask(Priority::Attempt, move |writer| {
            // Some return a row, some don't.
            let set = format!("PRAGMA {name} = {value}");
            Ok(writer.conn.prepare(&set)?.query([])?.next().map(drop)?)
        }))
        .unwrap();
    }

    #[test]
    fn a_full_disk_ends_the_writing_and_what_stood_before_goes_on_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let run = begin(&store);
        store.check().unwrap();
        pragma(&store, "max_page_count", 40);
        let mut next = 1;
        let full = loop {
            match append(&store, run, next) {
                Ok(()) => next += 100,
                Err(error) => break error,
            }
            assert!(next < 100_000, "the bound does not bind");
        };
        assert!(matches!(full, StoreError::Full { .. }), "{full}");
        let told = store.check().unwrap_err();
        assert!(matches!(told, StoreError::Full { .. }), "{told}");
        assert!(next > 100);
        let windows = Windows::new(vec![Window {
            limit: NonZeroU32::MIN,
            period: std::time::Duration::from_secs(1),
        }]);
        let wish = SlotRequest {
            scope: ScopeKey(1),
            windows: Arc::new(windows),
            now: NOW,
            purpose: SlotPurpose::Read,
        };
        let refused = block_on(store.take(wish)).unwrap_err();
        assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
        assert!(block_on(store.hold_run(run, NOW.wall)).is_err());
        assert_eq!(count(&store, run), u64::from(next - 1));
        drop(store);

        let store = open(dir.path());
        block_on(store.reopen_run(run, NOW.wall)).unwrap();
        append(&store, run, next).unwrap();
        assert_eq!(count(&store, run), u64::from(next + 99));
    }

    struct Told(mpsc::Sender<String>);

    impl Write for Told {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8_lossy(line).into_owned()).ok();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Captures the warnings of this thread.
    fn listen(sender: mpsc::Sender<String>) {
        let log = tracing_subscriber::fmt()
            .with_writer(move || Told(sender.clone()))
            .finish();
        // For the life of the thread.
        std::mem::forget(tracing::subscriber::set_default(log));
    }

    #[test]
    fn a_file_that_is_held_at_the_start_is_waited_for_with_one_warning() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        let other = Connection::open(dir.path().join("state.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (sender, told) = mpsc::channel();
        std::thread::scope(|threads| {
            let opened = threads.spawn(|| {
                listen(sender);
                open(dir.path())
            });
            let warning = told.recv().unwrap();
            assert!(warning.contains("the state file is busy"), "{warning}");
            assert!(!opened.is_finished());
            other.execute_batch("COMMIT").unwrap();
            opened.join().unwrap();
        });
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn a_file_that_stays_held_beyond_patience_is_given_up_and_the_holder_named() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        let other = Connection::open(dir.path().join("state.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let options = StoreOptions {
            patience: std::time::Duration::ZERO,
            ..StoreOptions::default()
        };
        let refused = Store::open_with(dir.path(), process(), NOW, options).unwrap_err();
        let StoreError::Held { path, holders } = &refused else {
            panic!("{refused}");
        };
        assert_eq!(*path, dir.path().join("state.db"));
        // This process itself holds it, and doesn't need to be named.
        assert_eq!(holders, "another process");
        other.execute_batch("COMMIT").unwrap();
        drop(other);
        Store::open_with(dir.path(), process(), NOW, options).unwrap();
    }

    #[test]
    fn a_file_that_is_locked_for_long_is_waited_for_with_one_warning() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let run = begin(&store);
        let (sender, told) = mpsc::channel();
        let listening = store.ask(Priority::Attempt, move |_| {
            listen(sender);
            Ok(())
        });
        block_on(listening).unwrap();
        let other = Connection::open(dir.path().join("state.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        std::thread::scope(|threads| {
            let appended = threads.spawn(|| append(&store, run, 1));
            let warning = told.recv().unwrap();
            assert!(warning.contains("the state file is busy"), "{warning}");
            assert!(!appended.is_finished());
            other.execute_batch("COMMIT").unwrap();
            appended.join().unwrap().unwrap();
        });
        assert_eq!(count(&store, run), 100);
        assert!(told.try_recv().is_err());
    }
}
