//! The ledger: the calls of each scope that count against its quota windows, shared by all processes on one folder.
//!
//! Everything runs inside an IMMEDIATE transaction of the writer. The calls of a scope are cached between transactions;
//! the cache is dropped as soon as another process has committed, so no decision rests on stale data. Time is an
//! argument; nothing here reads a clock.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::model::{BootId, Moment, RowNumber, Uptime};
use crate::quota;
use crate::quota::{Calls, Decision, Windows};

use super::error::StoreFault;
use super::locks::Locks;
use super::record_types::{CallId, RunKey, ScopeKey, SlotAnswer, SlotPurpose, SlotRequest};
use super::sql_types::{Wall, count, execute, query, query_one};
use super::{conflicts, quota_scopes};

/// How often old calls are pruned.
const PRUNING: Duration = Duration::from_secs(600);

/// How often a waiting process checks if another one died.
const LOOKING: Duration = Duration::from_secs(1);

/// A process that committed this recently may be waiting for the same slot.
const CONTENDED: Duration = Duration::from_secs(2);

/// Processes that wait for one slot ask again up to this much later, at random, so that each gets its share.
const JITTER: Duration = Duration::from_millis(40);

/// One writer's cache of the ledger.
#[derive(Debug)]
pub(super) struct Ledger {
    lock: Arc<str>,
    /// The key of the boot that this process's uptimes refer to.
    boot: i64,
    locks: Locks,
    grace: Duration,
    books: HashMap<ScopeKey, ScopeCalls>,
    /// When each scope's cooldown ends; [`Uptime::MIN`] if it has none.
    cooldowns: HashMap<ScopeKey, Uptime>,
    sent: HashMap<CallId, ScopeKey>,
    version: i64,
    /// Whether another process has committed since the last request for a slot, and when that was last the case.
    has_company: bool,
    company: Option<Uptime>,
    looked: Option<Uptime>,
    pruned: Option<Uptime>,
}

/// The calls of one scope that ended at most `reach` ago or are in flight.
#[derive(Debug)]
struct ScopeCalls {
    calls: Calls,
    reach: Duration,
}

/// The attempt that a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AttemptKey {
    pub(super) run: RunKey,
    pub(super) row: RowNumber,
    pub(super) number: u32,
}

impl Ledger {
    pub(super) fn new(lock: Arc<str>, boot: i64, locks: Locks, grace: Duration) -> Self {
        Self {
            lock,
            boot,
            locks,
            grace,
            books: HashMap::new(),
            cooldowns: HashMap::new(),
            sent: HashMap::new(),
            version: 0,
            has_company: false,
            company: None,
            looked: None,
            pruned: None,
        }
    }

    /// Checks the file's `data_version`, which changes when another connection has committed.
    pub(super) fn see_version(&mut self, version: i64) {
        if version != self.version {
            self.forget();
            self.has_company = self.version != 0;
            self.version = version;
        }
    }

    /// Drops the cache.
    pub(super) fn forget(&mut self) {
        self.books.clear();
        self.cooldowns.clear();
    }

    /// Takes a slot and records the call, if the windows and the scope's cooldown allow it.
    pub(super) fn take(
        &mut self,
        conn: &Connection,
        take: &SlotRequest,
    ) -> Result<SlotAnswer, StoreFault> {
        self.prune(conn, take.now)?;
        let cooldown = self.cooldown(conn, take.scope, take.now)?;
        if cooldown > take.now.uptime {
            return Ok(SlotAnswer::CoolingDown(cooldown));
        }
        let mut decision = self.decide(conn, take)?;
        if decision != Decision::SlotRequest && self.look_for_dead(conn, take.now)? {
            decision = self.decide(conn, take)?;
        }
        match decision {
            Decision::NotBefore(free) => {
                Ok(SlotAnswer::NotBefore(free.after(self.jitter(take.now))))
            }
            Decision::SlotRequest => {
                if let SlotPurpose::Send {
                    run,
                    row,
                    number: 1,
                    ..
                } = take.purpose
                    && let Some(other) = conflicts::sent_elsewhere(conn, &self.locks, run, row)?
                {
                    return Ok(SlotAnswer::InProgress(other));
                }
                self.enter(conn, take).map(SlotAnswer::Go)
            }
        }
    }

    fn decide(&mut self, conn: &Connection, take: &SlotRequest) -> Result<Decision, StoreFault> {
        if take.windows.is_empty() {
            return Ok(Decision::SlotRequest);
        }
        let book = self.book(conn, take.scope, &take.windows, take.now)?;
        Ok(quota::decide(take.now.uptime, &take.windows, &book.calls))
    }

    fn enter(&mut self, conn: &Connection, take: &SlotRequest) -> Result<CallId, StoreFault> {
        let attempt = match &take.purpose {
            SlotPurpose::Send {
                run, row, number, ..
            } => Some((run, row, *number)),
            SlotPurpose::Read => None,
        };
        let sql = "INSERT INTO calls (scope, lock, boot, sent_up, sent_wall, run, row, attempt)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let cells = params![
            take.scope,
            self.lock,
            self.boot,
            take.now.uptime,
            Wall(take.now.wall),
            attempt.map(|(run, _, _)| run),
            attempt.map(|(_, row, _)| row),
            attempt.map(|(_, _, number)| number),
        ];
        execute(conn, sql, cells)?;
        if let Some(book) = self.books.get_mut(&take.scope) {
            book.calls.send();
        }
        let call = CallId(conn.last_insert_rowid());
        self.sent.insert(call, take.scope);
        Ok(call)
    }

    /// Records that a call ended `at`; its windows count from `ended`.
    pub(super) fn end(
        &mut self,
        conn: &Connection,
        call: CallId,
        at: Moment,
        ended: Uptime,
    ) -> Result<(), StoreFault> {
        let grace = i64::try_from(ended.since(at.uptime).as_nanos()).unwrap_or(i64::MAX);
        let sql = "UPDATE calls SET ended_up = ?2, ended_wall = ?3, grace = ?4 WHERE id = ?1 AND ended_up IS NULL";
        let changed = execute(conn, sql, params![call, ended, Wall(at.wall), grace])?;
        let scope = self.sent.remove(&call);
        if changed == 0 {
            return self.end_again(conn, call, at, ended, grace);
        }
        match scope.map(|scope| self.books.get_mut(&scope)) {
            Some(book) => book.into_iter().for_each(|book| book.calls.end(ended)),
            // Not sent by this process, so the cached calls may be wrong.
            None => self.forget(),
        }
        Ok(())
    }

    /// Another process considered us dead and ended the call (somebody removed the lock files). Our own end replaces
    /// it.
    fn end_again(
        &mut self,
        conn: &Connection,
        call: CallId,
        at: Moment,
        ended: Uptime,
        grace: i64,
    ) -> Result<(), StoreFault> {
        self.forget();
        let sql =
            "UPDATE calls SET ended_up = ?2, ended_wall = ?3, grace = ?4, boot = ?5 WHERE id = ?1";
        let cells = params![call, ended, Wall(at.wall), grace, self.boot];
        match execute(conn, sql, cells)? {
            0 => Err(unknown_call(call)),
            _ => Ok(()),
        }
    }

    /// Frees the slot of a call. Returns the attempt it was for.
    pub(super) fn withdraw(
        &mut self,
        conn: &Connection,
        call: CallId,
    ) -> Result<Option<AttemptKey>, StoreFault> {
        // The entry stays until it is old, so that its key isn't reused.
        let sql = "UPDATE calls SET ended_up = ?2, ended_wall = 0, grace = 0
            WHERE id = ?1 AND ended_up IS NULL RETURNING scope, run, row, attempt";
        let mut found: Vec<_> = query(conn, sql, params![call, Uptime::MIN], |row| {
            let run: Option<i64> = row.get(1)?;
            let attempt = match run {
                Some(run) => Some(AttemptKey {
                    run: RunKey(run),
                    row: row.get(2)?,
                    number: row.get(3)?,
                }),
                None => None,
            };
            Ok((row.get(0)?, attempt))
        })?;
        self.sent.remove(&call);
        let (scope, attempt) = found.pop().ok_or_else(|| unknown_call(call))?;
        if let Some(book) = self.books.get_mut(&scope) {
            book.calls.withdraw();
        }
        Ok(attempt)
    }

    /// Returns the calls that occupy slots in `windows` at `now`.
    pub(super) fn calls(
        &mut self,
        conn: &Connection,
        scope: ScopeKey,
        windows: &Windows,
        now: Moment,
    ) -> Result<Calls, StoreFault> {
        self.book(conn, scope, windows, now)
            .map(|book| book.calls.clone())
    }

    fn book(
        &mut self,
        conn: &Connection,
        scope: ScopeKey,
        windows: &Windows,
        now: Moment,
    ) -> Result<&ScopeCalls, StoreFault> {
        let reach = windows.longest_hold();
        let fits = self
            .books
            .get(&scope)
            .is_some_and(|book| book.reach >= reach);
        if !fits {
            let calls = read(conn, self.boot, scope, reach, now)?;
            self.books.insert(scope, ScopeCalls { calls, reach });
        }
        let book = self.books.entry(scope).or_insert_with(|| ScopeCalls {
            calls: Calls::new(),
            reach,
        });
        book.calls.prune(now.uptime, book.reach);
        Ok(book)
    }

    fn cooldown(
        &mut self,
        conn: &Connection,
        scope: ScopeKey,
        now: Moment,
    ) -> Result<Uptime, StoreFault> {
        if let Some(until) = self.cooldowns.get(&scope) {
            return Ok(*until);
        }
        let until = quota_scopes::cooldown(conn, scope, self.boot, now)?
            .map_or(Uptime::MIN, |cooldown| cooldown.until);
        self.cooldowns.insert(scope, until);
        Ok(until)
    }

    /// Drops one scope's cached cooldown, which has just changed.
    pub(super) fn forget_cooldown(&mut self, scope: ScopeKey) {
        self.cooldowns.remove(&scope);
    }

    pub(super) fn boot(&self) -> i64 {
        self.boot
    }

    /// Ends the calls of dead processes; checks at most once a second. Returns whether it ended any.
    pub(super) fn look_for_dead(
        &mut self,
        conn: &Connection,
        now: Moment,
    ) -> Result<bool, StoreFault> {
        if self
            .looked
            .is_some_and(|looked| now.uptime < looked.after(LOOKING))
        {
            return Ok(false);
        }
        self.looked = Some(now.uptime);
        let mut ended = false;
        for lock in self.others_in_flight(conn)? {
            if self.locks.is_free(&lock) {
                self.end_calls_of_dead(conn, &lock, now)?;
                ended = true;
            }
        }
        if ended {
            self.forget();
        }
        Ok(ended)
    }

    /// Returns the locks of other processes with calls in flight. Naming scopes and boots (here and below) lets SQLite
    /// use the index instead of scanning all calls.
    fn others_in_flight(&self, conn: &Connection) -> Result<Vec<String>, StoreFault> {
        let sql = "SELECT DISTINCT lock FROM calls
            WHERE scope IN (SELECT id FROM scopes) AND boot IN (SELECT id FROM boots) AND ended_up IS NULL
                AND lock <> ?1";
        query(conn, sql, [&self.lock], |row| row.get(0))
    }

    /// Ends the calls in flight of a dead process, with a grace period for requests that the kernel may still deliver.
    fn end_calls_of_dead(
        &self,
        conn: &Connection,
        lock: &str,
        now: Moment,
    ) -> Result<(), StoreFault> {
        let sql = "UPDATE calls SET ended_up = ?2, ended_wall = ?3, grace = ?4, boot = ?5
            WHERE scope IN (SELECT id FROM scopes) AND boot IN (SELECT id FROM boots) AND ended_up IS NULL
                AND lock = ?1";
        let grace = i64::try_from(self.grace.as_nanos()).unwrap_or(i64::MAX);
        let ended = now.uptime.after(self.grace);
        let ended = execute(
            conn,
            sql,
            params![lock, ended, Wall(now.wall), grace, self.boot],
        )?;
        tracing::info!(process = %lock, calls = ended, "a process died with calls in flight");
        Ok(())
    }

    /// Returns how much later to ask again if another process may be waiting for the same slot.
    fn jitter(&mut self, now: Moment) -> Duration {
        if std::mem::take(&mut self.has_company) {
            self.company = Some(now.uptime);
        }
        let is_contended = |at: Uptime| now.uptime.since(at) < CONTENDED;
        if !self.company.is_some_and(is_contended) {
            return Duration::ZERO;
        }
        // Derived from name and time: processes differ, and simulations repeat.
        let mut hasher = DefaultHasher::new();
        (&self.lock, now.uptime.as_nanos()).hash(&mut hasher);
        let chance = u32::try_from(hasher.finish() % 1024).unwrap_or(0);
        JITTER * chance / 1024
    }

    /// Deletes old calls in portions, oldest first. Calls in flight stay.
    fn prune(&mut self, conn: &Connection, now: Moment) -> Result<(), StoreFault> {
        if self
            .pruned
            .is_some_and(|pruned| now.uptime < pruned.after(PRUNING))
        {
            return Ok(());
        }
        self.pruned = Some(now.uptime);
        let wall = SignedDuration::try_from(KEPT)
            .ok()
            .and_then(|kept| now.wall.checked_sub(kept).ok())
            .unwrap_or(Timestamp::MIN);
        let sql = "DELETE FROM calls WHERE id IN (
                SELECT id FROM (SELECT id, boot, ended_up, ended_wall FROM calls ORDER BY id LIMIT ?4)
                WHERE ended_up IS NOT NULL
                AND CASE WHEN boot = ?1 THEN ended_up < ?2 ELSE ended_wall < ?3 END)";
        let uptime = now.uptime.before(KEPT);
        let cells = params![self.boot, uptime, Wall(wall), PRUNED_AT_ONCE];
        execute(conn, sql, cells).map(drop)
    }
}

fn unknown_call(call: CallId) -> StoreFault {
    StoreFault::Unknown {
        what: "call in flight",
        key: call.0.to_string(),
    }
}

/// How long a call is kept: the longest window is a day, plus an hour for a wrong clock.
const KEPT: Duration = Duration::from_secs(25 * 3600);

/// Calls checked per pruning, so that a long backlog doesn't delay an attempt.
const PRUNED_AT_ONCE: i64 = 20_000;

/// Returns the key of this process's boot. If no other process is running, deletes boots without calls or cooldowns;
/// otherwise one may be about to use them. Times of other boots that are in the future, left by a clock that was set back,
/// become now.
pub(super) fn enter_boot(
    conn: &Connection,
    boot: &BootId,
    is_alone: bool,
    now: Moment,
) -> Result<i64, StoreFault> {
    if is_alone {
        conn.execute(
            "DELETE FROM boots WHERE name <> ?1
             AND NOT EXISTS (SELECT 1 FROM calls WHERE scope IN (SELECT id FROM scopes) AND boot = boots.id)
             AND NOT EXISTS (SELECT 1 FROM scopes WHERE cooldown_boot = boots.id)",
            [boot],
        )?;
    }
    conn.execute(
        "INSERT INTO boots (name) VALUES (?1) ON CONFLICT (name) DO NOTHING",
        [boot],
    )?;
    let sql = "SELECT id FROM boots WHERE name = ?1";
    let own: i64 = query_one(conn, sql, [boot], |row| row.get(0))?;
    let heal = "UPDATE calls SET ended_wall = ?2
        WHERE scope IN (SELECT id FROM scopes) AND boot IN (SELECT id FROM boots WHERE id <> ?1)
            AND ended_up IS NOT NULL AND ended_wall > ?2";
    execute(conn, heal, params![own, Wall(now.wall)])?;
    Ok(own)
}

/// Reads the calls of a scope that ended at most `reach` ago or are in flight.
///
/// Uptimes of other boots are translated by wall clock.
pub(super) fn read(
    conn: &Connection,
    own: i64,
    scope: ScopeKey,
    reach: Duration,
    now: Moment,
) -> Result<Calls, StoreFault> {
    let mut calls = Calls::new();
    let boots = "SELECT id FROM boots ORDER BY id = ?1, id";
    let boots: Vec<i64> = query(conn, boots, [own], |row| row.get(0))?;
    for boot in boots {
        let open = "SELECT count(*) FROM calls WHERE scope = ?1 AND boot = ?2 AND ended_up IS NULL";
        let open: u32 = query_one(conn, open, params![scope, boot], |row| row.get(0))?;
        (0..open).for_each(|_| calls.send());
        if boot == own {
            let ends = "SELECT ended_up FROM calls WHERE scope = ?1 AND boot = ?2 AND ended_up > ?3 ORDER BY ended_up";
            let since = now.uptime.before(reach);
            query::<(), ()>(conn, ends, params![scope, boot, since], |row| {
                calls.record_end(row.get(0)?);
                Ok(())
            })?;
        } else {
            read_other_boot(conn, scope, boot, now, &mut calls)?;
        }
    }
    Ok(calls)
}

fn read_other_boot(
    conn: &Connection,
    scope: ScopeKey,
    boot: i64,
    now: Moment,
    calls: &mut Calls,
) -> Result<(), StoreFault> {
    let ends = "SELECT ended_wall, grace FROM calls WHERE scope = ?1 AND boot = ?2 AND ended_up IS NOT NULL
        ORDER BY ended_wall + grace / 1000";
    query(conn, ends, params![scope, boot], |row| {
        // A time in the future is from before the clock was set back.
        let wall = row.get::<_, Wall>(0)?.0.min(now.wall);
        let grace = Duration::from_nanos(count(row, 1)?);
        calls.record_end(now.uptime_at(wall).after(grace));
        Ok(())
    })
}
