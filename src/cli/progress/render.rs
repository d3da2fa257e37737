//! Renders a progress view as lines of text.
//!
//! Time, time zone and width are arguments. Numbers are never cut: what doesn't fit goes to the next line.

use std::time::Duration;

use console::{measure_text_width, truncate_str};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::format_time::{Count, Number, Span, clock_time, visible, window_name, wrap};
use crate::cli::terminal::{Color, Style};

use super::status_messages::{LANES_SHOWN, LaneProgress, ProgressView, WaitReason};

/// Cells of a bar that makes room for numbers.
const SHORT_BAR: usize = 8;

const BETWEEN: &str = " · ";

/// A view, the current time and the reader's time zone.
pub(super) struct Renderer<'a> {
    pub(super) view: &'a ProgressView,
    pub(super) now: Timestamp,
    pub(super) zone: &'a TimeZone,
}

impl Renderer<'_> {
    /// Returns the lines of the bars, each narrower than `width`: text in the last column makes some terminals wrap.
    pub(super) fn bars(&self, width: u16, color: Color) -> Vec<String> {
        let budget = usize::from(width.saturating_sub(1));
        let mut lines = Vec::new();
        let mut push = |style: Option<Style>, line: &str| {
            let line = truncate_str(line, budget, "…");
            lines.push(style.map_or_else(|| line.to_string(), |style| color.apply(style, &line)));
        };
        for line in self.main_lines(budget) {
            push(Some(Style::Good), &line);
        }
        for (position, lane) in self.shown_lanes() {
            for line in pack(&name(lane), &self.lane_pieces(position, lane), budget) {
                push(None, &line);
            }
            if let Some(waiting) = &lane.waiting {
                let words = format!("{}{}", name(lane), self.waiting(waiting));
                for line in wrap(&words, budget, 2) {
                    push(Some(Style::Warning), &line);
                }
            }
        }
        if let Some(more) = self.more_lanes() {
            push(None, &more);
        }
        lines
    }

    /// Returns everything in one line, for logs.
    pub(super) fn line(&self) -> String {
        let mut pieces = self.counts();
        for (position, lane) in self.shown_lanes() {
            let first = pieces.len();
            pieces.extend(self.lane_pieces(position, lane));
            pieces.extend(lane.waiting.as_ref().map(|it| self.waiting(it)));
            if let Some(piece) = pieces.get_mut(first) {
                piece.insert_str(0, &name(lane));
            }
        }
        pieces.extend(self.more_lanes());
        let time = self.time(self.now);
        format!("{time} {}{}", self.mark(), pieces.join(BETWEEN))
    }

    fn time(&self, at: Timestamp) -> String {
        clock_time(at, self.now, self.zone)
    }

    fn mark(&self) -> &'static str {
        if self.view.is_sandbox { "SANDBOX " } else { "" }
    }

    fn shown_lanes(&self) -> impl Iterator<Item = (usize, &LaneProgress)> {
        self.view.lanes.iter().take(LANES_SHOWN).enumerate()
    }

    fn more_lanes(&self) -> Option<String> {
        let more = self.view.lanes.len().saturating_sub(LANES_SHOWN);
        (more > 0).then(|| format!("and {more} more tenants"))
    }

    /// Returns a lane's window usage and hanging calls. The first lane also gets the end of the run, which it usually
    /// decides.
    fn lane_pieces(&self, position: usize, lane: &LaneProgress) -> Vec<String> {
        let mut pieces = Vec::new();
        for (position, usage) in lane.windows.iter().enumerate() {
            // Only the first window has the noun.
            let noun = if position == 0 { "sent " } else { "" };
            let (used, limit) = (usage.taken.into(), usage.window.limit.get().into());
            let period = window_name(usage.window.period);
            pieces.push(format!(
                "{noun}{}/{} per {period}",
                Number(used),
                Number(limit)
            ));
        }
        // "About", because retries and answers take time too.
        let finish = self.view.finish.filter(|_| position == 0);
        pieces.extend(finish.map(|at| format!("ends about {}", self.time(at))));
        pieces.extend(lane.hanging.map(|(calls, since)| {
            let calls = Count::new(calls as u64, "call");
            format!("{calls} in flight, no answer for {}", Span(since))
        }));
        pieces
    }

    fn counts(&self) -> Vec<String> {
        let done = Number(self.view.done);
        let mut pieces = vec![match self.view.total {
            Some(total) => format!("{done}/{}", Number(total)),
            None => format!("{done} done, still reading"),
        }];
        let outcomes = self.view.outcomes.iter();
        pieces.extend(
            outcomes.map(|(outcome, count)| format!("{} {}", outcome.words(), Number(*count))),
        );
        pieces
    }

    /// Returns bar and counts; the bar shrinks to make room for the counts.
    fn main_lines(&self, budget: usize) -> Vec<String> {
        let (mark, counts) = (self.mark(), self.counts());
        let full = (budget / 4).min(40);
        for cells in [full, full.min(SHORT_BAR)] {
            if let Some(total) = self.view.total {
                let bar = bar(self.view.done, total, cells);
                let line = format!("{mark}{bar}{}", counts.join(BETWEEN));
                if measure_text_width(&line) <= budget {
                    return vec![line];
                }
            }
        }
        pack(mark, &counts, budget)
    }

    fn waiting(&self, waiting: &WaitReason) -> String {
        let why = visible(&waiting.why);
        let Some(until) = waiting.until else {
            return why.into_owned();
        };
        // Whole seconds, rounded up: a countdown at 0 s that still waits looks stuck.
        let left = until.duration_since(self.now).as_secs_f64().ceil();
        let left = Duration::try_from_secs_f64(left).unwrap_or_default();
        let (word, time) = (waiting.word, self.time(until));
        format!("{why} {word} {time} ({})", Span(left))
    }
}

fn name(lane: &LaneProgress) -> String {
    let name = lane.name.as_deref();
    name.map(|name| format!("{}: ", visible(name)))
        .unwrap_or_default()
}

/// Draws a bar in ASCII. Block characters are two columns wide in some East Asian terminals, and would wrap the line.
fn bar(done: u64, total: u64, cells: usize) -> String {
    let filled = u128::from(done.min(total)) * cells as u128 / u128::from(total.max(1));
    let filled = usize::try_from(filled).unwrap_or(cells);
    let head = if filled < cells { ">" } else { "" };
    let rest = cells - filled - head.len();
    format!("[{}{head}{}] ", "=".repeat(filled), " ".repeat(rest))
}

/// Joins the pieces into lines of at most `budget` columns, each after `head`.
fn pack(head: &str, pieces: &[String], budget: usize) -> Vec<String> {
    let width = measure_text_width;
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces {
        match lines.last_mut() {
            Some(line) if width(line) + width(BETWEEN) + width(piece) <= budget => {
                line.push_str(BETWEEN);
                line.push_str(piece);
            }
            _ => lines.push(format!("{head}{piece}")),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::model::Outcome;
    use crate::quota::Usage;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn lane(name: Option<&str>) -> LaneProgress {
        let usage = |window: &str, taken| Usage {
            window: window.parse().unwrap(),
            taken,
            free_at: None,
            all_free_in: Duration::ZERO,
        };
        LaneProgress {
            name: name.map(str::to_owned),
            windows: vec![usage("100/1m", 100), usage("1500/1h", 1204)],
            hanging: None,
            waiting: Some(WaitReason {
                why: "waiting for quota (100/minute)".into(),
                word: "until",
                until: Some(at("2026-11-23T14:05:09Z")),
            }),
        }
    }

    fn view() -> ProgressView {
        ProgressView {
            is_sandbox: false,
            total: Some(5000),
            done: 1204,
            outcomes: BTreeMap::from([
                (Outcome::Cancelled, 1090),
                (Outcome::AlreadyFinal, 101),
                (Outcome::TooLate, 12),
                (Outcome::Failed, 1),
            ]),
            lanes: vec![lane(None)],
            finish: Some(at("2026-11-23T17:08:00Z")),
        }
    }

    fn rendered<T>(view: &ProgressView, render: impl FnOnce(&Renderer<'_>) -> T) -> T {
        render(&Renderer {
            view,
            now: at("2026-11-23T14:04:57.5Z"),
            zone: &TimeZone::UTC,
        })
    }

    fn bars(view: &ProgressView, width: u16) -> String {
        rendered(view, |it| it.bars(width, Color::Plain)).join("\n")
    }

    #[test]
    fn bars_give_way_to_numbers_and_numbers_go_on_in_the_next_line() {
        insta::assert_snapshot!(bars(&view(), 60), @"
        1,204/5,000 · cancelled 1,090 · already final 101
        too late 12 · failed 1
        sent 100/100 per minute · 1,204/1,500 per hour
        ends about 17:08:00 UTC
        waiting for quota (100/minute) until 14:05:09 UTC (12 s)
        ");
        insta::assert_snapshot!(bars(&view(), 80), @"
        1,204/5,000 · cancelled 1,090 · already final 101 · too late 12 · failed 1
        sent 100/100 per minute · 1,204/1,500 per hour · ends about 17:08:00 UTC
        waiting for quota (100/minute) until 14:05:09 UTC (12 s)
        ");
        insta::assert_snapshot!(bars(&view(), 200), @"
        [=========>                              ] 1,204/5,000 · cancelled 1,090 · already final 101 · too late 12 · failed 1
        sent 100/100 per minute · 1,204/1,500 per hour · ends about 17:08:00 UTC
        waiting for quota (100/minute) until 14:05:09 UTC (12 s)
        ");
    }

    #[test]
    fn a_sandbox_run_of_two_tenants_that_still_reads_while_calls_hang() {
        let mut two = view();
        two.is_sandbox = true;
        two.total = None;
        two.lanes = ["contoso", "fabrikam\u{1b}[2J"]
            .map(|name| lane(Some(name)))
            .into();
        two.lanes[1].waiting = None;
        two.lanes[1].hanging = Some((16, Duration::from_secs(12)));
        insta::assert_snapshot!(bars(&two, 80), @r"
        SANDBOX 1,204 done, still reading · cancelled 1,090 · already final 101
        SANDBOX too late 12 · failed 1
        contoso: sent 100/100 per minute · 1,204/1,500 per hour
        contoso: ends about 17:08:00 UTC
        contoso: waiting for quota (100/minute) until 14:05:09 UTC (12 s)
        fabrikam\u{1b}[2J: sent 100/100 per minute · 1,204/1,500 per hour
        fabrikam\u{1b}[2J: 16 calls in flight, no answer for 12 s
        ");
        insta::assert_snapshot!(rendered(&two, |it| vec![it.line()])[0], @r"14:04:57 UTC SANDBOX 1,204 done, still reading · cancelled 1,090 · already final 101 · too late 12 · failed 1 · contoso: sent 100/100 per minute · 1,204/1,500 per hour · ends about 17:08:00 UTC · waiting for quota (100/minute) until 14:05:09 UTC (12 s) · fabrikam\u{1b}[2J: sent 100/100 per minute · 1,204/1,500 per hour · 16 calls in flight, no answer for 12 s");
    }

    #[test]
    fn no_line_fills_the_width_however_narrow_and_many_lanes_are_summed_up() {
        let mut many = view();
        many.outcomes = Outcome::ALL.into_iter().zip([1000; 13]).collect();
        many.lanes = (0..9)
            .map(|number| lane(Some(&format!("tenant {number} 東京"))))
            .collect();
        for width in 0..130_u16 {
            let most = usize::from(width.saturating_sub(1)).max(1);
            for line in rendered(&many, |it| it.bars(width, Color::Plain)) {
                assert!(measure_text_width(&line) <= most, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_countdown_never_shows_less_than_nothing() {
        let mut late = view();
        late.lanes[0].waiting.as_mut().unwrap().until = Some(at("2026-11-23T14:04:50Z"));
        assert!(bars(&late, 80).ends_with("(0 s)"));
    }

    #[test]
    fn the_bar_is_full_only_at_the_end() {
        assert_eq!(bar(0, 0, 4), "[>   ] ");
        assert_eq!(bar(999, 1000, 4), "[===>] ");
        assert_eq!(bar(1000, 1000, 4), "[====] ");
        assert_eq!(bar(u64::MAX, 3, 4), "[====] ");
        assert_eq!(bar(1, 2, 0), "[] ");
    }
}
