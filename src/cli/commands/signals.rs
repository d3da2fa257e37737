//! Signals and the time limit: the first signal stops a run, the second one ends the process.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

use crate::cli::failure::{Failure, RunExit};
use crate::cli::format_time::visible;
use crate::cli::hint::{ForwardedFlags, Hint, NextCommand};
use crate::cli::progress::Progress;
use crate::clock::Clock;
use crate::engine::core::StopReason;
use crate::model::{RunId, Uptime};
use crate::platform::StopSignals;

use super::prepared_run::say;

/// How long the second signal waits for the terminal to take the last message.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Receives the reasons to stop the run.
pub(super) struct Shutdown {
    reasons: mpsc::Receiver<StopReason>,
    sender: mpsc::Sender<StopReason>,
    /// Printed when the second signal ends the process.
    last_words: Arc<OnceLock<String>>,
}

impl Shutdown {
    /// Handles signals: the first one stops the run, the second one ends the process.
    ///
    /// They have their own thread, because the run's thread is busy while it writes a long report, and a second signal
    /// must work then, too.
    pub(super) async fn listen(progress: &Progress) -> Result<Self, Failure> {
        let fault = |error: io::Error| Failure::new(RunExit::Fault, error);
        // One for signals, one for the time limit.
        let (sender, reasons) = mpsc::channel(2);
        let (told, listening) = oneshot::channel();
        let asked = sender.clone();
        let last_words = Arc::new(OnceLock::new());
        let words = Arc::clone(&last_words);
        let progress = progress.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || match listen() {
                Ok((runtime, signals)) => {
                    // Without a receiver, the run is over.
                    told.send(Ok(())).ok();
                    runtime.block_on(watch_signals(signals, asked, progress, words));
                }
                Err(error) => drop(told.send(Err(error))),
            })
            .map_err(fault)?;
        listening
            .await
            .map_err(|error| Failure::new(RunExit::Fault, error))?
            .map_err(fault)?;
        Ok(Self {
            reasons,
            sender,
            last_words,
        })
    }

    /// Names the run that a second signal abandons, and how to resume it.
    pub(super) fn name_run(&self, run: RunId, flags: &ForwardedFlags) {
        let why = format!("run {run} was left at once; to continue");
        let hint = Hint::Command(why, NextCommand::Resume(run));
        // It is set once.
        self.last_words.set(hint.render(flags)).ok();
    }

    pub(super) fn reasons(&mut self) -> &mut mpsc::Receiver<StopReason> {
        &mut self.reasons
    }

    /// Stops the run at `until`.
    pub(super) fn stop_at(&self, until: Uptime, clock: Arc<dyn Clock>) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            clock.sleep_until(until).await;
            let reason = StopReason::Asked("--stop-after".to_owned());
            sender.send(reason).await.ok();
        });
    }
}

/// Handles signals in a runtime that does nothing else.
fn listen() -> io::Result<(Runtime, StopSignals)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let signals = StopSignals::listen()?;
    drop(entered);
    Ok((runtime, signals))
}

async fn watch_signals(
    mut signals: StopSignals,
    reasons: mpsc::Sender<StopReason>,
    progress: Progress,
    last_words: Arc<OnceLock<String>>,
) {
    let first = signals.next().await;
    // A closed channel means that the run has just ended by itself.
    reasons.send(StopReason::Asked(first.to_owned())).await.ok();
    signals.next().await;
    let (told, waited_for) = std::sync::mpsc::channel();
    // On its own thread, because a terminal stopped with Ctrl-S accepts nothing and must not delay the end.
    std::thread::spawn(move || {
        progress.finish();
        if let Some(words) = last_words.get() {
            say(&progress, &visible(words));
        }
        told.send(()).ok();
    });
    waited_for.recv_timeout(LAST_WORDS).ok();
    leave_at_once();
}

#[expect(
    clippy::exit,
    reason = "the second signal asks for just that; the journal is whole at every instant"
)]
fn leave_at_once() -> ! {
    std::process::exit(i32::from(RunExit::Interrupted.code()))
}
