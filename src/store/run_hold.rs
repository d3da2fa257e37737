//! Runs as a whole, from the handle: held, taken up again, removed.

use std::future::Future;

use jiff::Timestamp;

use super::error::StoreError;
use super::handle::Store;
use super::slots::RunKey;
use super::thread::Pending;
use super::writer::{ROWS_AT_ONCE, Turn};

/// The right to execute one run; let go when this is dropped.
///
/// It keeps the store open.
#[derive(Debug)]
pub struct RunHold {
    store: Store,
    run: RunKey,
}

impl RunHold {
    /// Returns the run.
    pub fn run(&self) -> RunKey {
        self.run
    }
}

impl Drop for RunHold {
    fn drop(&mut self) {
        let run = self.run;
        // Not waited for: a broken store cannot write it, and then the end of this process lets the run go.
        drop(
            self.store
                .ask(Turn::Attempt, move |desk| desk.let_run_go(run)),
        );
    }
}

impl Store {
    /// Takes the hold of a run, which only one process has at a time; that of a dead process is taken over, and that of a
    /// run which this process has just begun is handed out.
    ///
    /// # Errors
    /// Answers [`StoreError::RunHeld`] where a live process holds it, or somebody in this process already has it in hand.
    ///
    /// # Cancel safety
    /// What was asked for is done all the same: the run is then held until the store is closed.
    pub fn hold_run(
        &self,
        run: RunKey,
        at: Timestamp,
    ) -> impl Future<Output = Result<RunHold, StoreError>> + use<> {
        let store = self.clone();
        let held = store.ask_for(Turn::Attempt, move |desk| desk.hold_run(run, at));
        async move {
            held.await?;
            Ok(RunHold { store, run })
        }
    }

    /// Takes a run up again: it is going, and this process holds it, if nobody else does. One that is finished stays so, for
    /// whoever asked may have looked at it before its end.
    ///
    /// It is to be confirmed again: until then its rows are in nobody's way. Answers [`StoreError::RunHeld`] where another
    /// live process holds the run.
    pub fn reopen_run(&self, run: RunKey, at: Timestamp) -> Pending<()> {
        self.ask_for(Turn::Attempt, move |desk| desk.reopen_run(run, at))
    }

    /// Removes a run with its rows and attempts, whole or not at all; the calls that it spent stay in the ledger.
    ///
    /// The file does not shrink: what comes free is used again by later runs. Answers [`StoreError::RunHeld`] where a live
    /// process holds the run, this one included.
    pub fn remove_run(&self, run: RunKey) -> Pending<()> {
        self.ask_for(Turn::Rows(ROWS_AT_ONCE), move |desk| desk.remove_run(run))
    }
}
