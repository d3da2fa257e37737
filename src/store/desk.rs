//! What lies on the writer's desk: the one writing connection, and the pictures it keeps between transactions.
//!
//! Each function here is the body of one errand; the writer opens and ends the transaction around it.

use std::path::PathBuf;

use rusqlite::Connection;

use crate::domain::Moment;
use crate::domain::Scope;
use crate::quota;
use crate::quota::Windows;

use super::error::Fault;
use super::journal;
use super::journal::Note;
use super::journal::Sources;
use super::ledger::AttemptKey;
use super::ledger::Ledger;
use super::records::IntakeMark;
use super::records::NewRow;
use super::records::Record;
use super::scopes;
use super::slots::Purpose;
use super::slots::RunKey;
use super::slots::ScopeKey;
use super::slots::ScopeRecord;
use super::slots::ScopeUse;
use super::slots::Take;
use super::slots::Taken;

/// The writer's own things.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) conn: Connection,
    pub(super) file: PathBuf,
    pub(super) ledger: Ledger,
    pub(super) sources: Sources,
}

impl Desk {
    pub(super) fn append_rows(
        &mut self,
        run: RunKey,
        rows: &[NewRow],
        mark: &IntakeMark,
    ) -> Result<(), Fault> {
        journal::append_rows(&self.conn, &mut self.sources, run, rows, mark)
    }

    pub(super) fn take(&mut self, take: &Take) -> Result<Taken, Fault> {
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
        records.iter().try_for_each(|record| self.write_one(record))
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
                triaged_at,
            } => {
                let note = Note {
                    phase: *phase,
                    record: record.as_ref(),
                    status_before: status_before.as_ref(),
                    triaged_at: *triaged_at,
                };
                journal::note(conn, (*run, row.0), &note)
            }
            Record::Settled {
                run,
                row,
                settlement,
            } => journal::settle(conn, (*run, row.0), settlement),
            Record::Cooldown {
                scope,
                until,
                wall,
                cause,
            } => {
                self.ledger.forget_cooldown(*scope);
                scopes::cool_down(conn, *scope, self.ledger.boot(), (*until, *wall, cause))
            }
            Record::Limits { scope, windows } => scopes::adopt(conn, *scope, windows.clone()),
            Record::RunState {
                run,
                state,
                exit,
                reason,
                at,
            } => journal::set_run_state(conn, *run, (*state, *exit), reason.as_deref(), *at),
        }
    }

    pub(super) fn scope(&mut self, scope: &Scope, now: Moment) -> Result<ScopeRecord, Fault> {
        let key = scopes::enter(&self.conn, scope)?;
        scopes::read(&self.conn, key, self.ledger.boot(), now)
    }

    pub(super) fn usage(
        &mut self,
        key: ScopeKey,
        windows: &Windows,
        now: Moment,
    ) -> Result<ScopeUse, Fault> {
        let calls = self.ledger.calls(&self.conn, key, windows, now)?;
        Ok(ScopeUse {
            windows: quota::usage(now.uptime, windows, &calls),
            calls,
            scope: scopes::read(&self.conn, key, self.ledger.boot(), now)?,
        })
    }
}
