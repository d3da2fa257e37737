//! The writer: one thread that owns the writing connection and commits in groups.
//!
//! It takes whatever is waiting, attempts before row batches, does it in one IMMEDIATE transaction, commits, and only
//! then answers. Invariant: nothing is answered with success that is not on disk, and after one failed group nothing
//! ever is again, so that a run stops before another byte leaves. Busy is not failed: it waits.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;

use super::desk::Desk;
use super::error::{Fault, StoreError};
use super::holds::Granted;
use super::locks::Held;
use super::patience::Patience;

/// How many new rows one transaction takes at the most, so that an attempt never waits long behind them.
pub(super) const ROWS_AT_ONCE: usize = 1_000;

/// In which order errands are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// First, in the order in which they came.
    Attempt,
    /// After those: so many rows of input.
    Rows(usize),
    /// Between two groups, with no lock on the file.
    Read,
}

/// One wish, with the way back to whoever has it.
pub(super) trait Errand: Send {
    /// Says when it is to be done.
    fn turn(&self) -> Turn;
    /// Does it inside the transaction, and keeps the result.
    fn perform(&mut self, desk: &mut Desk) -> Result<(), Fault>;
    /// Hands the result over, or says why there is none.
    fn answer(self: Box<Self>, ended: Result<(), StoreError>);
}

/// An errand made of a closure.
pub(super) struct Asked<T, F> {
    pub(super) turn: Turn,
    pub(super) deed: Option<F>,
    pub(super) value: Option<Result<T, StoreError>>,
    pub(super) reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Errand for Asked<T, F>
where
    T: Send,
    F: FnOnce(&mut Desk) -> Result<Granted<T>, Fault> + Send,
{
    fn turn(&self) -> Turn {
        self.turn
    }

    fn perform(&mut self, desk: &mut Desk) -> Result<(), Fault> {
        if let Some(deed) = self.deed.take() {
            let granted = deed(desk)?;
            self.value = Some(granted.map_err(|refusal| refusal.at(&desk.file)));
        }
        Ok(())
    }

    fn answer(self: Box<Self>, ended: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        let answer = ended.and_then(|()| value.unwrap_or(Err(StoreError::Closed)));
        // Whoever asked may have gone; the record stands all the same.
        drop(reply.send(answer));
    }
}

pub(super) type AnyErrand = Box<dyn Errand>;

/// What is waiting to be done.
#[derive(Default)]
struct Waiting {
    attempts: VecDeque<AnyErrand>,
    rows: VecDeque<AnyErrand>,
    reads: VecDeque<AnyErrand>,
}

impl Waiting {
    fn add(&mut self, errand: AnyErrand) {
        match errand.turn() {
            Turn::Attempt => self.attempts.push_back(errand),
            Turn::Rows(_) => self.rows.push_back(errand),
            Turn::Read => self.reads.push_back(errand),
        }
    }

    fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.rows.is_empty() && self.reads.is_empty()
    }

    /// Takes the next group: every attempt, then row batches up to the bound, of which one always fits.
    fn next_group(&mut self) -> Vec<AnyErrand> {
        let mut group: Vec<_> = self.attempts.drain(..).collect();
        let mut total = 0;
        while let Some(Turn::Rows(rows)) = self.rows.front().map(|errand| errand.turn()) {
            if total > 0 && total + rows > ROWS_AT_ONCE {
                break;
            }
            total += rows;
            group.extend(self.rows.pop_front());
        }
        group
    }
}

/// Why nothing is written any more: set once, before anybody is answered so.
pub(super) type Broken = OnceLock<StoreError>;

/// Serves until the last sender is gone and everything sent is done, then leaves the file tidy.
pub(super) fn serve(mut desk: Desk, errands: &Receiver<AnyErrand>, lock: Held, broken: &Broken) {
    let mut waiting = Waiting::default();
    loop {
        if waiting.is_empty() {
            match errands.recv() {
                Ok(errand) => waiting.add(errand),
                Err(_) => break,
            }
        }
        while let Ok(errand) = errands.try_recv() {
            waiting.add(errand);
        }
        let group = waiting.next_group();
        if !group.is_empty() {
            serve_group(&mut desk, group, broken);
        }
        while let Some(read) = waiting.reads.pop_front() {
            serve_read(&mut desk, read, broken.get());
        }
    }
    leave(desk, lock, broken.get().is_some());
}

fn serve_group(desk: &mut Desk, mut group: Vec<AnyErrand>, broken: &Broken) {
    let ended = match broken.get() {
        Some(error) => Err(error.clone()),
        None => commit(desk, &mut group).map_err(|fault| fault.at(&desk.file)),
    };
    if let Err(error) = &ended
        && broken.set(error.clone()).is_ok()
    {
        tracing::error!(%error, "nothing more is written");
    }
    for errand in group {
        errand.answer(ended.clone());
    }
}

fn commit(desk: &mut Desk, group: &mut [AnyErrand]) -> Result<(), Fault> {
    begin(desk, "BEGIN IMMEDIATE")?;
    let done = group
        .iter_mut()
        .try_for_each(|errand| errand.perform(desk))
        // What is committed to a file that nobody finds any more is on no disk.
        .and_then(|()| desk.anchor.check())
        .and_then(|()| Ok(desk.conn.prepare_cached("COMMIT")?.execute([]).map(drop)?));
    if done.is_err() {
        roll_back(desk);
        desk.ledger.forget();
        desk.sources.clear();
        desk.conflicts.forget();
    }
    done
}

fn serve_read(desk: &mut Desk, mut read: AnyErrand, broken: Option<&StoreError>) {
    let ended = match broken {
        Some(error) => Err(error.clone()),
        None => begin(desk, "BEGIN")
            .and_then(|()| {
                let done = read.perform(desk);
                roll_back(desk);
                done
            })
            .map_err(|fault| fault.at(&desk.file)),
    };
    read.answer(ended);
}

/// Ends a transaction without a trace.
fn roll_back(desk: &Desk) {
    if !desk.conn.is_autocommit()
        && let Err(error) = desk.conn.execute_batch("ROLLBACK")
    {
        // The transaction is gone with the connection at the latest.
        tracing::debug!(%error, "rolling back");
    }
}

/// Begins a transaction, and waits for that as long as it takes: another process may be writing, or stopped in mid-write.
fn begin(desk: &mut Desk, sql: &str) -> Result<(), Fault> {
    let mut patience = Patience::endless();
    loop {
        match try_begin(desk, sql) {
            Err(fault) if patience.bears(&fault, &desk.file) => {}
            other => return other,
        }
    }
}

fn try_begin(desk: &mut Desk, sql: &str) -> Result<(), Fault> {
    desk.conn.prepare_cached(sql)?.execute([])?;
    // Reading this takes the snapshot too, so that a plain BEGIN cannot be found busy later.
    let version = desk
        .conn
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0));
    match version {
        Ok(version) => {
            desk.ledger.see_version(version);
            Ok(())
        }
        Err(error) => {
            roll_back(desk);
            Err(error.into())
        }
    }
}

/// Empties the write-ahead log into the file, and lets the lock go: from then on this process is dead to others, who end what
/// it left in flight.
fn leave(desk: Desk, lock: Held, broken: bool) {
    if broken {
        return;
    }
    // Not waited for: a busy file is tidied by whoever uses it last.
    if let Err(error) = empty_log(&desk) {
        tracing::debug!(%error, "the write-ahead log stays");
    }
    drop(desk);
    lock.remove();
}

/// Moves the write-ahead log into the file and leaves it empty, unless somebody still reads from it.
fn empty_log(desk: &Desk) -> rusqlite::Result<()> {
    let is_busy: bool = desk
        .conn
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        tracing::debug!("the write-ahead log is in use and stays");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(Turn);

    impl Errand for Named {
        fn turn(&self) -> Turn {
            self.0
        }
        fn perform(&mut self, _desk: &mut Desk) -> Result<(), Fault> {
            Ok(())
        }
        fn answer(self: Box<Self>, _ended: Result<(), StoreError>) {}
    }

    fn sizes(group: &[AnyErrand]) -> Vec<Turn> {
        group.iter().map(|errand| errand.turn()).collect()
    }

    #[test]
    fn attempts_go_before_rows_and_rows_are_bounded() {
        let mut waiting = Waiting::default();
        for turn in [
            Turn::Rows(600),
            Turn::Attempt,
            Turn::Rows(400),
            Turn::Read,
            Turn::Rows(1),
            Turn::Attempt,
            Turn::Rows(5_000),
        ] {
            waiting.add(Box::new(Named(turn)));
        }
        assert_eq!(
            sizes(&waiting.next_group()),
            [
                Turn::Attempt,
                Turn::Attempt,
                Turn::Rows(600),
                Turn::Rows(400)
            ]
        );
        assert_eq!(sizes(&waiting.next_group()), [Turn::Rows(1)]);
        assert_eq!(sizes(&waiting.next_group()), [Turn::Rows(5_000)]);
        assert!(waiting.next_group().is_empty() && !waiting.is_empty());
    }
}
