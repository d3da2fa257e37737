//! Who executes a run: the process whose lock the run names, as long as that lock is held.
//!
//! Refused: a lock file for each run. To look at such a lock is to take it for an instant, so that a mere list of runs
//! would make a resume fail; its file could never be removed safely; and its holder's name would be a second truth.
//!
//! Invariant: two live processes never hold one run, unless somebody removes lock files by hand.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::error::Fault;
use super::locks::Locks;
use super::records::Process;
use super::runs;
use super::slots::RunKey;
use super::words::Wall;

/// The holds of one process.
#[derive(Debug)]
pub(super) struct Holds {
    me: Process,
    /// The name of its lock.
    lock: Arc<str>,
    locks: Locks,
    /// The runs for which somebody in this process has a hold in hand.
    in_hand: HashSet<RunKey>,
}

/// What became of a wish that may be refused with nothing written, so that the store goes on.
pub(super) type Granted<T> = Result<T, Fault>;

impl Holds {
    pub(super) fn new(me: Process, lock: Arc<str>, locks: Locks) -> Self {
        Self {
            me,
            lock,
            locks,
            in_hand: HashSet::new(),
        }
    }

    /// Returns this process.
    pub(super) fn me(&self) -> &Process {
        &self.me
    }

    /// Returns whether the process `name` lives.
    pub(super) fn is_live(&self, name: &str) -> bool {
        *name == *self.lock || !self.locks.is_free(name)
    }

    /// Makes this process the holder of a run, unless another live one is.
    pub(super) fn take(
        &self,
        conn: &Connection,
        run: RunKey,
        at: Timestamp,
    ) -> Result<Granted<()>, Fault> {
        let mine = self.is_mine(conn, run)?;
        if mine {
            return Ok(Ok(()));
        }
        if let Err(refusal) = self.must_be_free(conn, run)? {
            return Ok(Err(refusal));
        }
        conn.prepare_cached(
            "UPDATE runs SET lock = ?2, held = ?3, holder_pid = ?4, holder_host = ?5 WHERE id = ?1",
        )?
        .execute(params![
            run.0,
            self.lock,
            Wall(at),
            self.me.pid,
            self.me.host
        ])?;
        Ok(Ok(()))
    }

    /// As [`Holds::take`], and nobody else in this process gets it before it is [let go](Holds::let_go).
    pub(super) fn take_in_hand(
        &mut self,
        conn: &Connection,
        run: RunKey,
        at: Timestamp,
    ) -> Result<Granted<()>, Fault> {
        if self.in_hand.contains(&run)
            && let Err(refusal) = self.must_be_free(conn, run)?
        {
            return Ok(Err(refusal));
        }
        let taken = self.take(conn, run, at)?;
        if taken.is_ok() {
            self.in_hand.insert(run);
        }
        Ok(taken)
    }

    /// Lets a run go.
    pub(super) fn let_go(&mut self, conn: &Connection, run: RunKey) -> Result<(), Fault> {
        self.in_hand.remove(&run);
        conn.prepare_cached("UPDATE runs SET lock = NULL WHERE id = ?1 AND lock = ?2")?
            .execute(params![run.0, self.lock])?;
        Ok(())
    }

    /// Refuses where a live process holds the run, this one included.
    pub(super) fn must_be_free(
        &self,
        conn: &Connection,
        run: RunKey,
    ) -> Result<Granted<()>, Fault> {
        let Some(found) = runs::read_one(conn, &self.locks, run)? else {
            return Ok(Err(runs::unknown(run)));
        };
        Ok(match found.holder {
            Some(holder) => Err(Fault::RunHeld {
                run: found.begun.id,
                holder,
            }),
            None => Ok(()),
        })
    }

    fn is_mine(&self, conn: &Connection, run: RunKey) -> Result<bool, Fault> {
        Ok(conn
            .prepare_cached("SELECT count(*) FROM runs WHERE id = ?1 AND lock = ?2")?
            .query_row(params![run.0, self.lock], |row| row.get::<_, i64>(0))?
            == 1)
    }
}
