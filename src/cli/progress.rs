//! Shows the progress of a run, and keeps log lines out of the bars.
//!
//! A terminal gets bars; anything else gets a plain line now and then, without escape sequences. Nothing here can fail
//! or slow a run: a write error is ignored, and drawing happens only in [`Progress::update`].

mod metrics_file;
mod observer;
mod render;
mod status_messages;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::format_time::local_zone;
use super::terminal::Color;

pub(super) use metrics_file::MetricsObserver;
pub(super) use observer::TerminalObserver;

use render::Renderer;
use status_messages::ProgressView;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressMode {
    /// As `always`, but off with --quiet.
    #[default]
    Auto,
    /// Bars on a terminal, plain lines elsewhere.
    Always,
    Never,
}

/// Shows the progress of a run; clones share one display.
#[derive(Clone)]
pub struct Progress {
    display: Option<Arc<Display>>,
}

struct Display {
    /// `None` unless standard error is a terminal.
    bars: Option<Bars>,
    // A std Mutex: nothing awaits while it is locked.
    shown: Mutex<Shown>,
}

struct Bars {
    // One bar of several lines, not several bars, so that all lines change at once.
    bar: ProgressBar,
    term: Term,
    color: Color,
}

impl Progress {
    pub fn open(mode: ProgressMode, color: Color) -> Self {
        if mode == ProgressMode::Never {
            return Self { display: None };
        }
        let term = Term::buffered_stderr();
        // The library's own rate limit, which must not drop an update that passed ours.
        let target = ProgressDrawTarget::term(term.clone(), 20);
        // Hidden: no terminal, or one that can't move its cursor.
        let bars = (!target.is_hidden()).then(|| {
            let bar = ProgressBar::with_draw_target(None, target);
            let style = ProgressStyle::with_template("{msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            Bars { bar, term, color }
        });
        let shown = Mutex::new(Shown::new(bars.is_some(), Instant::now()));
        let display = Some(Arc::new(Display { bars, shown }));
        Self { display }
    }

    /// Shows a run, unless it was shown a moment ago. A new reason to wait is shown at once.
    fn update(&self, view: &ProgressView) {
        let Some(display) = &self.display else { return };
        let mut shown = display.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.is_due(view, Instant::now()) {
            return;
        }
        let renderer = Renderer {
            view,
            now: Timestamp::now(),
            zone: &local_zone(),
        };
        if let Some(Bars { bar, term, color }) = &display.bars {
            bar.set_message(renderer.bars(term.size().1, *color).join("\n"));
        } else {
            let line = renderer.line() + "\n";
            // A write error must not stop a run.
            io::stderr().write_all(line.as_bytes()).ok();
        }
    }

    /// Hides the bars while `write` writes to the terminal. `write` must not show progress itself.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match self.display.as_ref().and_then(|it| it.bars.as_ref()) {
            Some(bars) => bars.bar.suspend(write),
            None => write(),
        }
    }

    /// Removes the bars; nothing is shown afterwards.
    pub fn finish(&self) {
        if let Some(display) = &self.display {
            let mut shown = display.shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.is_over = true;
            if let Some(bars) = &display.bars {
                bars.bar.finish_and_clear();
            }
        }
    }
}

/// Writes to standard error between two updates of the bars.
impl Write for Progress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.suspend(|| io::stderr().write_all(bytes))
            .map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// How often bars are drawn. A run that ends before the first update shows none, instead of a flash.
const ON_SCREEN: Duration = Duration::from_millis(200);

/// How often a line is written while rows end, and while nothing but a countdown changes: one a minute shows life
/// without filling the log.
const IN_LINES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

struct Shown {
    is_screen: bool,
    at: Instant,
    rows: (u64, Option<u64>),
    reasons: Vec<String>,
    is_over: bool,
}

impl Shown {
    fn new(is_screen: bool, at: Instant) -> Self {
        Self {
            is_screen,
            at,
            rows: (0, None),
            reasons: Vec::new(),
            is_over: false,
        }
    }

    /// Returns whether to show the run now. If so, remembers what is shown.
    fn is_due(&mut self, view: &ProgressView, at: Instant) -> bool {
        let rows = (view.done, view.total);
        let reasons = view.reasons();
        // A reason that comes back isn't new: the minute window fills up once a minute.
        let is_new = !reasons.is_empty() && reasons != self.reasons;
        let interval = match IN_LINES {
            _ if self.is_screen => ON_SCREEN,
            [_, idle] if rows == self.rows => idle,
            [moving, _] => moving,
        };
        if self.is_over || (!is_new && at.saturating_duration_since(self.at) < interval) {
            return false;
        }
        if is_new {
            self.reasons = reasons.into_iter().map(str::to_owned).collect();
        }
        self.at = at;
        self.rows = rows;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::status_messages::{LaneProgress, WaitReason};
    use super::*;

    fn view(done: u64, why: Option<&'static str>) -> ProgressView {
        ProgressView {
            total: Some(100),
            done,
            lanes: vec![LaneProgress {
                waiting: why.map(|why| WaitReason {
                    why: why.into(),
                    word: "",
                    until: None,
                }),
                ..LaneProgress::default()
            }],
            ..ProgressView::default()
        }
    }

    /// Returns the times (in milliseconds) at which something is shown.
    fn shown(is_screen: bool, times: impl Iterator<Item = (u64, ProgressView)>) -> Vec<u64> {
        let start = Instant::now();
        let mut shown = Shown::new(is_screen, start);
        let due = times
            .filter(|(millis, view)| shown.is_due(view, start + Duration::from_millis(*millis)));
        due.map(|(millis, _)| millis).collect()
    }

    #[test]
    fn bars_are_drawn_five_times_a_second_and_a_new_reason_to_wait_at_once() {
        let ticks = (0..50).map(|tick| (tick * 10, view(tick, None)));
        assert_eq!(shown(true, ticks), [200, 400]);
        let waits = [(10, Some("a")), (20, Some("a")), (30, Some("b"))];
        let waits = waits.map(|(millis, why)| (millis, view(1, why)));
        assert_eq!(shown(true, waits.into_iter()), [10, 30]);
    }

    #[test]
    fn lines_come_while_something_moves_and_rarely_while_nothing_does() {
        let moving = (0..60).map(|second| (second * 1000, view(second + 1, None)));
        let at = |seconds: &[u64]| -> Vec<u64> { seconds.iter().map(|it| it * 1000).collect() };
        assert_eq!(shown(false, moving), at(&[10, 20, 30, 40, 50]));
        let waiting = Some("for the hour window");
        let idle = (0..=190).map(|second| {
            let why = waiting.filter(|_| second != 61);
            (second * 1000, view(1, why.filter(|_| second >= 60)))
        });
        assert_eq!(
            shown(false, idle),
            at(&[10, 60, 120, 180]),
            "a reason is told once"
        );
    }

    #[test]
    fn nothing_is_shown_once_it_is_over() {
        let start = Instant::now();
        let mut over = Shown::new(true, start);
        over.is_over = true;
        assert!(!over.is_due(&view(9, Some("x")), start + Duration::from_secs(9)));
    }
}
