//! Shows how a run goes, and keeps log lines out of the bars.
//!
//! Hides indicatif behind a few verbs. On a terminal there are bars; elsewhere a plain line now and then, without a
//! single escape sequence; or nothing at all. Nothing here can fail or slow a run: what cannot be drawn is not drawn,
//! and there is no thread that ticks, so a run that waits an hour is drawn only as often as somebody calls
//! [`Progress::update`].

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::progress_view::{Present, ProgressView};
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
        // Hidden means: no terminal, or one that cannot move its cursor.
        let is_hidden = ProgressDrawTarget::term(term.clone(), LIBRARY_HZ).is_hidden();
        let face = if is_hidden {
            Face::Lines(Mutex::new(Lines::new(Box::new(io::stderr()))))
        } else {
            let target = ProgressDrawTarget::term(term.clone(), LIBRARY_HZ);
            let width = Box::new(move || term.size().1);
            Face::Bars(Bars::new(target, width, paint, Instant::now()))
        };
        Self {
            face: Arc::new(face),
        }
    }

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
        opened: Instant,
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
                next: opened + FIRST_DRAW_AFTER,
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

#[cfg(test)]
mod tests {
    use indicatif::TermLike;
    use jiff::tz::TimeZone;

    use crate::cli::progress_view::{LaneView, Waiting};

    use super::*;

    /// A terminal that wraps as real ones do: when the next letter comes, not when the line is full.
    #[derive(Clone, Debug)]
    struct Screen {
        columns: u16,
        state: Arc<Mutex<State>>,
    }

    #[derive(Debug, Default)]
    struct State {
        rows: Vec<Vec<char>>,
        row: usize,
        column: usize,
        flushes: usize,
    }

    impl State {
        fn row(&mut self) -> &mut Vec<char> {
            let needed = self.rows.len().max(self.row + 1);
            self.rows.resize(needed, Vec::new());
            &mut self.rows[self.row]
        }
    }

    impl Screen {
        fn new(columns: u16) -> Self {
            let state = Arc::default();
            Self { columns, state }
        }

        fn put(&self, text: &str) {
            let mut state = self.state.lock().unwrap();
            for letter in text.chars() {
                if letter == '\n' || (state.column == usize::from(self.columns) && letter != '\r') {
                    (state.row, state.column) = (state.row + 1, 0);
                }
                match letter {
                    '\n' => {}
                    '\r' => state.column = 0,
                    _ => {
                        let column = state.column;
                        let row = state.row();
                        row.resize(row.len().max(column + 1), ' ');
                        row[column] = letter;
                        state.column += 1;
                    }
                }
            }
        }

        fn rows(&self) -> Vec<String> {
            let state = self.state.lock().unwrap();
            let rows = state.rows.iter().map(|row| row.iter().collect());
            let rows = rows.map(|row: String| row.trim_end().to_owned());
            rows.filter(|row| !row.is_empty()).collect()
        }

        fn flushes(&self) -> usize {
            self.state.lock().unwrap().flushes
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            self.columns
        }

        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            let mut state = self.state.lock().unwrap();
            state.row = state.row.saturating_sub(n);
            Ok(())
        }

        fn move_cursor_down(&self, n: usize) -> io::Result<()> {
            self.state.lock().unwrap().row += n;
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.put(&format!("{text}\n"));
            Ok(())
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.put(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            let mut state = self.state.lock().unwrap();
            state.row().clear();
            state.column = 0;
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            self.state.lock().unwrap().flushes += 1;
            Ok(())
        }
    }

    fn bars(screen: &Screen, opened: Instant) -> Progress {
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let width = screen.clone();
        let width = Box::new(move || width.width());
        let bars = Bars::new(target, width, Paint::Plain, opened);
        Progress {
            face: Arc::new(Face::Bars(bars)),
        }
    }

    fn present() -> Present {
        Present {
            now: "2026-11-23T14:05:00Z".parse().unwrap(),
            zone: TimeZone::UTC,
        }
    }

    fn view(done: u64, why: Option<&str>) -> ProgressView {
        ProgressView {
            total: Some(100),
            done,
            lanes: vec![LaneView {
                waiting: why.map(|why| Waiting {
                    why: why.to_owned(),
                    until: None,
                }),
                ..LaneView::default()
            }],
            ..ProgressView::default()
        }
    }

    /// Draws at `millis` after the start.
    fn draw(progress: &Progress, start: Instant, millis: u64, view: &ProgressView) {
        let at = start + Duration::from_millis(millis);
        match &*progress.face {
            Face::Bars(bars) => bars.update(view, at, &present()),
            Face::Lines(lines) => lock(lines).update(view, at, &present()),
            Face::Hidden => {}
        }
    }

    #[test]
    fn log_lines_stand_above_the_bars_and_the_bars_go_without_a_trace() {
        let screen = Screen::new(40);
        let start = Instant::now();
        let progress = bars(&screen, start);
        draw(
            &progress,
            start,
            1000,
            &view(50, Some("waiting for a window")),
        );
        let drawn = ["[====>    ] 50/100", "waiting for a window"];
        assert_eq!(screen.rows(), drawn);
        progress.suspend(|| screen.put("a line of the log\n"));
        assert_eq!(screen.rows(), ["a line of the log", drawn[0], drawn[1]]);
        draw(&progress, start, 2000, &view(100, None));
        assert_eq!(screen.rows(), ["a line of the log", "[=========] 100/100"]);
        progress.finish();
        assert_eq!(screen.rows(), ["a line of the log"]);
        draw(&progress, start, 9000, &view(7, Some("never")));
        progress.suspend(|| screen.put("another\n"));
        assert_eq!(screen.rows(), ["a line of the log", "another"]);
    }

    #[test]
    fn a_look_that_is_wider_than_the_terminal_wraps_nowhere() {
        for columns in [1, 8, 20, 60] {
            let screen = Screen::new(columns);
            let start = Instant::now();
            let progress = bars(&screen, start);
            let long = view(50, Some(&"reason ".repeat(30)));
            for millis in [1000, 2000, 3000] {
                draw(&progress, start, millis, &long);
            }
            assert!(screen.rows().len() <= 2, "{:?}", screen.rows());
        }
    }

    #[test]
    fn nothing_is_drawn_at_first_then_five_times_a_second_and_a_new_reason_at_once() {
        let screen = Screen::new(60);
        let start = Instant::now();
        let progress = bars(&screen, start);
        draw(&progress, start, 0, &view(1, None));
        assert!(screen.rows().is_empty());
        let before = screen.flushes();
        for tick in 0..100 {
            draw(&progress, start, 1000 + tick * 10, &view(tick, None));
        }
        assert_eq!(screen.flushes() - before, 5);
        draw(
            &progress,
            start,
            1801,
            &view(99, Some("waiting for an hour window")),
        );
        assert_eq!(screen.flushes() - before, 6);
    }

    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn without_a_terminal_lines_come_while_something_moves_and_rarely_while_nothing_does() {
        let pipe = Pipe::default();
        let progress = Progress {
            face: Arc::new(Face::Lines(Mutex::new(Lines::new(Box::new(pipe.clone()))))),
        };
        let count = || {
            let bytes = pipe.0.lock().unwrap();
            String::from_utf8_lossy(&bytes).lines().count()
        };
        let start = Instant::now();
        for second in 0..60 {
            draw(&progress, start, second * 1000, &view(second, None));
        }
        assert_eq!(count(), 5);
        draw(
            &progress,
            start,
            60_000,
            &view(60, Some("waiting for the hour window")),
        );
        draw(&progress, start, 61_000, &view(61, None));
        draw(
            &progress,
            start,
            62_000,
            &view(61, Some("waiting for the hour window")),
        );
        assert_eq!(count(), 6, "a reason is told once");
        for second in 62..=180 {
            draw(
                &progress,
                start,
                second * 1000,
                &view(61, Some("waiting for the hour window")),
            );
        }
        assert_eq!(
            count(),
            8,
            "at 70 s for the move, at 130 s as a sign of life"
        );
        progress.finish();
        draw(&progress, start, 999_000, &view(99, Some("another")));
        assert_eq!(count(), 8);
        assert!(!pipe.0.lock().unwrap().contains(&0x1b));
    }
}
