//! Geometry of the charts in the HTML report: outcome bars and the panels of the timeline.
//!
//! All numbers are for a fixed-size canvas that the page stretches. Each chart has a text alternative with the same
//! information.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Count, Number, Outcome, Span, window_name};

use super::timeline::{COLUMNS, SendGap, Timeline, WaitedFor, WindowUse, between};

/// The canvas width of a bar.
const BAR: u64 = 1000;

/// The minimum width of a segment: a few pixels on a phone.
const VISIBLE: u64 = 14;

/// The height of a full window on a panel of height 100; below the edge, so that the line is visible.
const FULL: f64 = 90.0;

/// How many timeline columns one bar of sent calls covers.
const COLUMNS_A_BAR: usize = 4;

/// Returns the CSS class for the color of an outcome.
pub(super) fn tone(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Cancelled
        | Outcome::AlreadyCancelled
        | Outcome::Released
        | Outcome::AlreadyReleased => "good",
        Outcome::Accepted | Outcome::TooLate | Outcome::NotAttempted => "wait",
        Outcome::AlreadyFinal | Outcome::Skipped | Outcome::Duplicate => "calm",
        Outcome::NotFound
        | Outcome::Forbidden
        | Outcome::Invalid
        | Outcome::Failed
        | Outcome::Unknown => "bad",
    }
}

pub(super) struct BarSegment {
    pub(super) tone: &'static str,
    pub(super) x: u64,
    pub(super) width: u64,
    pub(super) label: String,
}

/// Returns the segments of a bar, in the order of outcomes. Each has the minimum width; the rest is divided by count,
/// filling the bar exactly.
pub(super) fn bar(outcomes: &BTreeMap<Outcome, u64>) -> Vec<BarSegment> {
    let count = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
    let present = || {
        Outcome::ALL
            .into_iter()
            .filter(|outcome| count(*outcome) > 0)
    };
    let whole: u64 = present().map(count).sum();
    let shared = BAR - VISIBLE * present().count() as u64;
    let (mut x, mut so_far) = (0, 0);
    let mut parts = Vec::new();
    for (place, outcome) in (1..).zip(present()) {
        so_far += count(outcome);
        let share = u128::from(shared) * u128::from(so_far) / u128::from(whole);
        let end = VISIBLE * place + u64::try_from(share).unwrap_or(shared);
        parts.push(BarSegment {
            tone: tone(outcome),
            x,
            width: end - x,
            label: format!("{} {outcome}", Number(count(outcome))),
        });
        x = end;
    }
    parts
}

/// Returns a bar's text alternative.
pub(super) fn bar_text(outcomes: &BTreeMap<Outcome, u64>) -> String {
    let all = Outcome::ALL.into_iter();
    let parts: Vec<_> = all
        .filter_map(|outcome| Some((outcome, *outcomes.get(&outcome)?)))
        .filter(|(_, count)| *count > 0)
        .map(|(outcome, count)| format!("{} {outcome}", Number(count)))
        .collect();
    parts.join(", ")
}

/// The timeline for the page.
pub(super) struct TimelineChart {
    pub(super) note: String,
    pub(super) panels: Vec<ChartPanel>,
    pub(super) waits: Vec<WaitSpan>,
    pub(super) axis: Vec<String>,
}

pub(super) struct ChartPanel {
    pub(super) title: String,
    pub(super) note: String,
    pub(super) alt: String,
    pub(super) has_limit: bool,
    pub(super) path: String,
    /// Ticks where calls were throttled.
    pub(super) refused: String,
}

/// A wait, drawn behind the panels.
pub(super) struct WaitSpan {
    pub(super) tone: &'static str,
    pub(super) x: usize,
    pub(super) width: usize,
    pub(super) label: String,
}

pub(super) fn timeline_chart(line: &Timeline) -> TimelineChart {
    let refused = refused(line);
    let mut panels = vec![sent_panel(line, &refused)];
    let windows = line.windows.iter();
    panels.extend(windows.map(|used| window_panel(used, line, &refused)));
    let waits = line
        .waits
        .iter()
        .map(|wait| wait_span(wait, line))
        .collect();
    TimelineChart {
        note: note(line),
        panels,
        waits,
        axis: axis(line.start, line.end),
    }
}

fn note(line: &Timeline) -> String {
    let took = Span(between(line.start, line.end));
    let mut text = format!("Times are UTC; the picture spans {took}.");
    if line.windows.is_empty() {
        text.push_str(" No quota was kept to.");
    } else {
        text.push_str(
            " A slot is taken when a request is sent and comes back one period after its answer.",
        );
    }
    if line.foreign > 0 {
        let others = Count::new(line.foreign, "request");
        // Writing to a String cannot fail.
        write!(
            text,
            " {others} of other runs took slots of the same quota and are counted."
        )
        .ok();
    }
    text
}

fn sent_panel(line: &Timeline, refused: &str) -> ChartPanel {
    let bars: Vec<u32> = line
        .sent
        .chunks(COLUMNS_A_BAR)
        .map(|columns| columns.iter().sum())
        .collect();
    let most = bars.iter().copied().max().unwrap_or(0);
    let total: u64 = line.sent.iter().map(|&count| u64::from(count)).sum();
    let throttled: u64 = line.throttled.iter().map(|&count| u64::from(count)).sum();
    let mut path = String::new();
    for (place, &count) in bars.iter().enumerate().filter(|(_, count)| **count > 0) {
        let x = place * COLUMNS_A_BAR;
        let top = height(count, most);
        // Writing to a String cannot fail.
        write!(path, "M{x} 100V{top:.1}h{COLUMNS_A_BAR}V100z").ok();
    }
    let each = Span(columns_span(line, COLUMNS_A_BAR));
    let mut note = format!(
        "{}, at most {} in {each}",
        Number(total),
        Number(most.into())
    );
    if throttled > 0 {
        write!(note, ", {} answered by 429", Number(throttled)).ok();
    }
    if !line.cooled_down.is_zero() {
        write!(note, ", paused {} for it", Span(line.cooled_down)).ok();
    }
    ChartPanel {
        alt: format!("Requests sent over time: {note}"),
        title: "Requests sent".to_owned(),
        note,
        has_limit: false,
        path,
        refused: refused.to_owned(),
    }
}

fn window_panel(used: &WindowUse, line: &Timeline, refused: &str) -> ChartPanel {
    let limit = used.window.limit.get();
    let name = window_name(used.window.period);
    let most = used.peaks.iter().copied().max().unwrap_or(0);
    let mut path = String::from("M0 100");
    let mut last = None;
    for (x, &peak) in used.peaks.iter().enumerate() {
        if last != Some(peak) {
            write!(path, "H{x}V{:.1}", height(peak, limit)).ok();
            last = Some(peak);
        }
    }
    write!(path, "H{COLUMNS}V100").ok();
    let of = Number(limit.into());
    let note = if used.waited.is_zero() {
        format!("at most {} taken, no wait", Number(most.into()))
    } else {
        format!(
            "at most {} taken, waited {}",
            Number(most.into()),
            Span(used.waited)
        )
    };
    let throttled: u64 = line.throttled.iter().map(|&count| u64::from(count)).sum();
    ChartPanel {
        alt: format!(
            "Slots taken of {of} per {name} over time: {note}; {} answered by 429",
            Number(throttled)
        ),
        title: format!("{of} per {name}"),
        note,
        has_limit: true,
        path,
        refused: refused.to_owned(),
    }
}

/// Draws ticks at the upper edge where calls were throttled.
fn refused(line: &Timeline) -> String {
    let mut path = String::new();
    for (x, _) in line.throttled.iter().enumerate().filter(|(_, n)| **n > 0) {
        write!(path, "M{x}.5 0v9").ok();
    }
    path
}

fn wait_span(wait: &SendGap, line: &Timeline) -> WaitSpan {
    let width = (wait.to - wait.from).max(1);
    let span = Span(columns_span(line, width));
    let (tone, why) = match wait.cause {
        WaitedFor::Window(place) => {
            let window = line.windows.get(place);
            let name = window.map_or_else(String::new, |used| window_name(used.window.period));
            ("quota", format!("waiting for the {name} window"))
        }
        WaitedFor::Cooldown => ("cooldown", "paused after a 429".to_owned()),
        WaitedFor::Other => ("pause", "nothing sent".to_owned()),
    };
    WaitSpan {
        tone,
        x: wait.from,
        width,
        label: format!("{why}, about {span}"),
    }
}

fn axis(start: Timestamp, end: Timestamp) -> Vec<String> {
    let whole = between(start, end);
    let format = if whole > Duration::from_secs(20 * 3600) {
        "%b %d %H:%M"
    } else if whole > Duration::from_secs(3 * 3600) {
        "%H:%M"
    } else {
        "%H:%M:%S"
    };
    (0..5)
        .filter_map(|quarter| start.checked_add(whole / 4 * quarter).ok())
        .map(|at| at.strftime(format).to_string())
        .collect()
}

fn columns_span(line: &Timeline, columns: usize) -> Duration {
    let count = |columns: usize| u32::try_from(columns).unwrap_or(u32::MAX);
    between(line.start, line.end) * count(columns) / count(COLUMNS)
}

/// Returns the y coordinate of a count.
fn height(count: u32, full: u32) -> f64 {
    let share = f64::from(count) / f64::from(full.max(1));
    100.0 - FULL * share.min(100.0 / FULL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_that_occurs_can_be_seen_in_its_bar() {
        let outcomes = BTreeMap::from([
            (Outcome::Cancelled, 1_000_000),
            (Outcome::Failed, 1),
            (Outcome::Unknown, 0),
        ]);
        let seen = |outcomes| -> Vec<_> {
            let parts = bar(outcomes).into_iter();
            parts.map(|part| (part.tone, part.x, part.width)).collect()
        };
        assert_eq!(seen(&outcomes), [("good", 0, 985), ("bad", 985, 15)]);
        assert_eq!(bar_text(&outcomes), "1,000,000 cancelled, 1 failed");
        let mut all: BTreeMap<_, _> = Outcome::ALL.map(|outcome| (outcome, 1)).into();
        all.insert(Outcome::Cancelled, u64::MAX / 2);
        let parts = seen(&all);
        assert_eq!(parts.len(), Outcome::ALL.len());
        assert!(parts.iter().all(|(_, _, width)| *width >= VISIBLE));
        let ends: Vec<_> = parts.iter().map(|(_, x, width)| x + width).collect();
        let begins: Vec<_> = parts.iter().skip(1).map(|(_, x, _)| *x).collect();
        assert_eq!(ends[..ends.len() - 1], begins[..]);
        assert_eq!(ends.last(), Some(&BAR));
        assert!(bar(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn a_window_that_is_full_touches_its_line_and_no_count_leaves_the_panel() {
        for (count, full, y) in [
            (0, 100, 100.0),
            (100, 100, 10.0),
            (500, 100, 0.0),
            (0, 0, 100.0),
        ] {
            assert!((height(count, full) - y).abs() < 1e-9, "{count} of {full}");
        }
    }
}
