//! What lies on the writer's desk: the one writing connection, and the pictures it keeps between transactions.
//!
//! Each function here is the body of one errand; the writer opens and ends the transaction around it.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use crate::model::{LaneId, Moment, Scope};
use crate::quota;
use crate::quota::Windows;

use super::conflicts::Conflicts;
use super::error::Fault;
use super::file::Anchor;
use super::holds::{Granted, Holds};
use super::journal::{Note, Sources};
use super::ledger::{AttemptKey, Ledger};
use super::queue::LoadFrom;
use super::records::QueuedRow;
use super::records::{NewRow, Record};
use super::run_record::{InputMark, NewRun};
use super::slots::{Purpose, RunKey, ScopeKey, ScopeRecord, ScopeUse, Take, Taken};
use super::{conflicts, journal, queue, runs, scopes};

/// States that were read longer ago than this are read again anyhow.
const STATES_LAST: SignedDuration = SignedDuration::from_mins(10);

/// The writer's own things.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) conn: Connection,
    pub(super) file: PathBuf,
    pub(super) anchor: Anchor,
    pub(super) ledger: Ledger,
    pub(super) sources: Sources,
    pub(super) holds: Holds,
    pub(super) conflicts: Conflicts,
    /// The last wall time that anybody named: what needs a stamp and brings none gets this one.
    pub(super) told: Timestamp,
}

impl Desk {
    pub(super) fn append_rows(
        &mut self,
        run: RunKey,
        rows: &[NewRow],
        mark: &InputMark,
    ) -> Result<(), Fault> {
        journal::append_rows(&self.conn, &mut self.sources, run, rows, mark)
    }

    pub(super) fn load_rows(
        &mut self,
        (run, lane): (RunKey, LaneId),
        from: &LoadFrom,
        limit: usize,
    ) -> Result<Vec<QueuedRow>, Fault> {
        let mut rows = queue::load_rows(&self.conn, (run, lane), from, limit)?;
        self.conflicts.refresh(&self.conn, &self.holds, run)?;
        // What was sent once is this run's to settle.
        for row in rows.iter_mut().filter(|row| row.attempts == 0) {
            row.in_progress = self.conflicts.in_progress(&self.conn, row.id)?;
        }
        Ok(rows)
    }

    pub(super) fn create_run(&mut self, run: &NewRun) -> Result<RunKey, Fault> {
        runs::create(&self.conn, self.holds.me(), run)
    }

    pub(super) fn hold_run(&mut self, run: RunKey, at: Timestamp) -> Result<Granted<()>, Fault> {
        self.holds.take_in_hand(&self.conn, run, at)
    }

    pub(super) fn let_run_go(&mut self, run: RunKey) -> Result<(), Fault> {
        self.holds.let_go(&self.conn, run)
    }

    pub(super) fn reopen_run(&mut self, run: RunKey, at: Timestamp) -> Result<Granted<()>, Fault> {
        if let Err(refusal) = self.holds.take(&self.conn, run, at)? {
            return Ok(Err(refusal));
        }
        runs::go_on(&self.conn, run).map(Ok)
    }

    pub(super) fn remove_run(&mut self, run: RunKey) -> Result<Granted<()>, Fault> {
        if let Err(refusal) = self.holds.must_be_free(&self.conn, run)? {
            return Ok(Err(refusal));
        }
        self.sources.retain(|(known, _), _| *known != run);
        runs::remove(&self.conn, run).map(Ok)
    }

    pub(super) fn take(&mut self, take: &Take) -> Result<Taken, Fault> {
        self.told = take.now.wall;
        let taken = self.ledger.take(&self.conn, take)?;
        if let (
            Taken::Go(_),
            Purpose::Cancel {
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

    pub(super) fn write(&mut self, records: &[Record]) -> Result<(), Fault> {
        let mut rest = records;
        while let Some((record, behind)) = rest.split_first() {
            rest = behind;
            match (record, behind.split_first()) {
                // The common end of an attempt, written in one go.
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

    fn write_one(&mut self, record: &Record) -> Result<(), Fault> {
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
                journal::note(conn, (*run, row.0), &note)
            }
            Record::Settled {
                run,
                row,
                settlement,
            } => journal::settle(conn, (*run, row.0), settlement),
            Record::LaneStopped { run, lane, reason } => {
                journal::stop_lane(conn, (*run, *lane), reason.as_deref())
            }
            Record::Deferred { run, row, reason } => journal::defer(conn, (*run, row.0), reason),
            Record::FollowedUp {
                run,
                row,
                follow_up,
                note,
            } => journal::follow_up(conn, (*run, row.0), (*follow_up, note)),
            Record::Cooldown {
                scope,
                until,
                wall,
                cause,
            } => {
                self.ledger.forget_cooldown(*scope);
                scopes::cool_down(conn, *scope, self.ledger.boot(), (*until, *wall, cause))
            }
            Record::ScopeReset { scope } => {
                self.ledger.forget_cooldown(*scope);
                scopes::reset(conn, *scope)
            }
            Record::Limit { scope, window, at } => scopes::adopt(conn, *scope, *window, *at),
            Record::Pace { scope, pace, at } => scopes::set_pace(conn, *scope, *pace, *at),
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
            } => runs::set_state(conn, *run, (*state, *exit), reason.as_deref(), *at),
        }
    }

    pub(super) fn scope(&mut self, scope: &Scope, now: Moment) -> Result<ScopeRecord, Fault> {
        self.told = now.wall;
        let key = scopes::enter(&self.conn, scope)?;
        scopes::age_allowances(&self.conn, key, now.wall)?;
        scopes::read(&self.conn, key, self.ledger.boot(), now)
    }

    pub(super) fn usage(
        &mut self,
        key: ScopeKey,
        windows: &Windows,
        now: Moment,
    ) -> Result<ScopeUse, Fault> {
        self.told = now.wall;
        let calls = self.ledger.calls(&self.conn, key, windows, now)?;
        Ok(ScopeUse {
            windows: quota::usage(now.uptime, windows, &calls),
            calls,
            scope: scopes::read(&self.conn, key, self.ledger.boot(), now)?,
        })
    }
}
