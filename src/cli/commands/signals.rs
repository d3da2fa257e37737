//! Signals and the bound on time: the first one stops a run, a second signal ends the process.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

use crate::cli::failure::{Failure, RunExit};
use crate::cli::hint::{ForwardedFlags, Hint, NextCommand};
use crate::cli::progress::Progress;
use crate::cli::text::visible;
use crate::clock::Clock;
use crate::engine::core::StopReason;
use crate::model::{RunId, Uptime};
use crate::platform::StopSignals;

use super::prepared_run::say;

/// How long the second signal waits until the terminal has taken what is left to say.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Tells that the run is to stop, from the moment at which this process listens for that.
pub(super) struct Shutdown {
    reasons: mpsc::Receiver<StopReason>,
    sender: mpsc::Sender<StopReason>,
    /// What is printed when the second signal ends the process.
    last_words: Arc<OnceLock<String>>,
}

impl Shutdown {
    /// Takes the signals over: the first one stops the run, the second one ends the process.
    ///
    /// They are waited for on a thread of their own: the run's thread is busy while a long report is written, and a
    /// second signal must be heard then, too.
    pub(super) async fn listen(progress: &Progress) -> Result<Self, Failure> {
        let fault = |error: io::Error| Failure::new(RunExit::Fault, error);
        // One for the signals, one for the bound on time.
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
                    // Where nobody waits for this any more, the run is over.
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

    /// Names the run that a second signal would leave, and how it is continued.
    pub(super) fn name_run(&self, run: RunId, flags: &ForwardedFlags) {
        let why = format!("run {run} was left at once; to continue");
        let hint = Hint::Command(why, NextCommand::Resume(run));
        // Only the first name counts, and there is but one.
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

/// Takes the signals over, in a runtime that does nothing else.
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
    // On a thread of its own: a terminal that was stopped with Ctrl-S takes nothing, and must not hold up the end.
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
