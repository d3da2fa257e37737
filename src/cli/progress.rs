//! Shows how a run goes, and keeps log lines out of the bars.
//!
//! Hides indicatif behind a few verbs. On a terminal there are bars; elsewhere a plain line now and then, without a
//! single escape sequence; or nothing at all. Nothing here can fail or slow a run: what cannot be drawn is not drawn,
//! and there is no thread that ticks, so a run that waits an hour is drawn only as often as somebody calls
//! [`Progress::update`].

use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use console::Term;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;
use jiff::Timestamp;

use super::progress_view::Present;
use super::progress_view::ProgressView;
use super::terminal::Paint;
use super::text::local_zone;

/// A run that ends within this time shows no bars: a flash of them tells nothing.
const FIRST_DRAW_AFTER: Duration = Duration::from_millis(250);

/// The eye follows no faster, and a wait should cost nothing.
const BETWEEN_DRAWS: Duration = Duration::from_millis(200);

/// How often a line is written where there is no terminal and something moves.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// How often while nothing moves: a sign of life, and not 360 of them while the hour window rolls.
const BETWEEN_IDLE_LINES: Duration = Duration::from_secs(60);

/// The library's own bound, which must not drop what passed ours.
const LIBRARY_HZ: u8 = 20;

/// Whether progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressMode {
    /// As `always`, but not where quiet was asked for.
    #[default]
    Auto,
    /// Bars on a terminal, plain lines elsewhere.
    Always,
    /// Not at all.
    Never,
}

/// Shows how a run goes; clones show the same.
#[derive(Clone)]
pub struct Progress {
    face: Arc<Face>,
}

enum Face {
    Hidden,
    // std Mutex: nothing awaits while it is held.
    Lines(Mutex<Lines>),
    Bars(Bars),
}

impl Progress {
    /// Opens progress on standard error in the way that fits it.
    pub fn open(mode: ProgressMode, paint: Paint) -> Self {
        if mode == ProgressMode::Never {
            return Self::hidden();
        }
        let term = Term::buffered_stderr();
        let target = ProgressDrawTarget::term(term.clone(), LIBRARY_HZ);
        // Hidden means: no terminal, or one that cannot move its cursor.
        let face = if target.is_hidden() {
            Face::Lines(Mutex::new(Lines::new(Box::new(io::stderr()))))
        } else {
            Face::Bars(Bars::new(target, Box::new(move || term.size().1), paint))
        };
        Self {
            face: Arc::new(face),
        }
    }

    /// Shows nothing.
    pub fn hidden() -> Self {
        Self {
            face: Arc::new(Face::Hidden),
        }
    }

    /// Shows `view`, or not, where something was shown a moment ago.
    ///
    /// To be called up to ten times a second while something moves, and about once a second while a countdown runs. A
    /// new reason to wait is shown at once.
    pub fn update(&self, view: &ProgressView) {
        match &*self.face {
            Face::Hidden => {}
            Face::Lines(lines) => lock(lines).update(view, Instant::now(), &present()),
            Face::Bars(bars) => bars.update(view, Instant::now(), &present()),
        }
    }

    /// Takes the bars off the screen while `write` writes to the terminal.
    ///
    /// `write` must not show progress itself.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &*self.face {
            Face::Hidden => write(),
            Face::Lines(lines) => {
                let guard = lock(lines);
                let result = write();
                drop(guard);
                result
            }
            Face::Bars(bars) => bars.bar.suspend(write),
        }
    }

    /// Takes the bars off the screen for good; nothing is shown afterwards.
    pub fn finish(&self) {
        match &*self.face {
            Face::Hidden => {}
            Face::Lines(lines) => lock(lines).ended = true,
            Face::Bars(bars) => bars.bar.finish_and_clear(),
        }
    }

    /// Returns a writer to standard error whose lines never tear the bars.
    pub fn writer(&self) -> ProgressWriter {
        ProgressWriter {
            progress: self.clone(),
        }
    }
}

fn present() -> Present {
    Present {
        now: Timestamp::now(),
        zone: local_zone(),
    }
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bars on a terminal.
struct Bars {
    // One bar of several lines, not several bars: it is drawn at once, and never half old and half new.
    bar: ProgressBar,
    width: Box<dyn Fn() -> u16 + Send + Sync>,
    paint: Paint,
    drawn: Mutex<Drawn>,
}

struct Drawn {
    next: Instant,
    reasons: Vec<String>,
}

impl Bars {
    fn new(
        target: ProgressDrawTarget,
        width: Box<dyn Fn() -> u16 + Send + Sync>,
        paint: Paint,
    ) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(
            ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self {
            bar,
            width,
            paint,
            drawn: Mutex::new(Drawn {
                next: Instant::now() + FIRST_DRAW_AFTER,
                reasons: Vec::new(),
            }),
        }
    }

    fn update(&self, view: &ProgressView, at: Instant, present: &Present) {
        if self.bar.is_finished() {
            return;
        }
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let reasons = view.reasons();
        let is_new = !reasons.is_empty() && reasons != drawn.reasons;
        if at < drawn.next && !is_new {
            return;
        }
        drawn.next = at + BETWEEN_DRAWS;
        drawn.reasons = reasons.into_iter().map(str::to_owned).collect();
        let lines = view.bar_lines(present, (self.width)(), self.paint);
        self.bar.set_message(lines.join("\n"));
    }
}

/// Plain lines where there is no terminal.
struct Lines {
    out: Box<dyn Write + Send>,
    written: Option<Instant>,
    shown: ProgressView,
    reasons: Vec<String>,
    ended: bool,
}

impl Lines {
    fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            written: None,
            shown: ProgressView::default(),
            reasons: Vec::new(),
            ended: false,
        }
    }

    fn update(&mut self, view: &ProgressView, at: Instant, present: &Present) {
        let written = *self.written.get_or_insert(at);
        let passed = at.saturating_duration_since(written);
        let reasons = view.reasons();
        // A reason that comes back after a short run is no news: the minute window fills up once a minute.
        let is_new = !reasons.is_empty() && reasons != self.reasons;
        let moved = view.done != self.shown.done || view.total != self.shown.total;
        let due = is_new || (moved && passed >= BETWEEN_LINES) || passed >= BETWEEN_IDLE_LINES;
        if !due || self.ended {
            return;
        }
        if is_new {
            self.reasons = reasons.into_iter().map(str::to_owned).collect();
        }
        self.written = Some(at);
        self.shown = view.clone();
        let line = view.plain_line(present) + "\n";
        // Progress that cannot be written is no reason to stop a run.
        self.out.write_all(line.as_bytes()).ok();
    }
}

/// Writes to standard error between two drawings of the bars.
#[derive(Clone)]
pub struct ProgressWriter {
    progress: Progress,
}

impl Write for ProgressWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.progress
            .suspend(|| io::stderr().write_all(bytes))
            .map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
