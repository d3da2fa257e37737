//! What the bars show, as text: a snapshot goes in, lines come out.
//!
//! Pure: the present, the time zone and the width are arguments. What does not fit in a line is left out whole, with a
//! `…` in its place, so that no number is ever cut in two; the most telling parts come first.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::Outcome;

use super::terminal::Paint;
use super::terminal::Tone;
use super::text::ClockTime;
use super::text::Number;
use super::text::Span;
use super::text::visible;

/// How many lanes have lines of their own; with more, the bars would fill the screen.
const LANES_SHOWN: usize = 4;

/// How far one quota window is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowView {
    /// Its name, for example `minute`.
    pub name: String,
    /// Slots taken.
    pub used: u64,
    /// Slots there are.
    pub limit: u64,
}

/// What a lane waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What it is, as it follows "waiting for": `the minute window`.
    pub why: String,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
}

/// One tenant's share of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneView {
    /// What it is called; shown where there is more than one lane.
    pub name: String,
    /// Its quota windows, the shortest first.
    pub windows: Vec<WindowView>,
    /// How many cancels are on their way.
    pub in_flight: u32,
    /// What it waits for, where it waits.
    pub waiting: Option<Waiting>,
}

/// One look at a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressView {
    /// Whether it runs against the imitation.
    pub sandbox: bool,
    /// How many rows there are; unknown while the input is read.
    pub total: Option<u64>,
    /// How many have their outcome.
    pub done: u64,
    /// How many ended how.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Every lane.
    pub lanes: Vec<LaneView>,
    /// When the run will have ended, where that can be told.
    pub finish: Option<Timestamp>,
}

/// When and where somebody looks.
#[derive(Clone, Debug)]
pub(super) struct Present {
    pub(super) now: Timestamp,
    pub(super) zone: TimeZone,
}

impl Present {
    fn clock(&self, at: Timestamp) -> ClockTime<'_> {
        ClockTime::new(at, self.now, &self.zone)
    }
}

impl ProgressView {
    /// Returns the lines of the bars, none of which fills `width` columns: what stands in the last column makes some
    /// terminals wrap.
    pub(super) fn bar_lines(&self, present: &Present, width: u16, paint: Paint) -> Vec<String> {
        let budget = usize::from(width.saturating_sub(1));
        let mut lines = vec![paint.apply(Tone::Good, &self.main_line(budget))];
        for (position, lane) in self.lanes.iter().take(LANES_SHOWN).enumerate() {
            let name = self.lane_name(lane);
            // The end of the run is said once, beside the first lane's windows, which mostly decide it.
            let finish = self.finish.filter(|_| position == 0);
            let quota = lane.quota_pieces(finish, present);
            if !quota.is_empty() {
                lines.push(fit(&name, &quota, budget));
            }
            if let Some(waiting) = &lane.waiting {
                let line = fit(&name, &[waiting.text(present)], budget);
                lines.push(paint.apply(Tone::Caution, &line));
            }
        }
        if self.lanes.len() > LANES_SHOWN {
            let more = self.lanes.len() - LANES_SHOWN;
            lines.push(fit("", &[format!("and {more} more lanes")], budget));
        }
        lines
    }

    /// Returns the whole look in one line, for logs of machines.
    pub(super) fn plain_line(&self, present: &Present) -> String {
        let mut pieces = vec![self.counted()];
        pieces.extend(self.outcome_pieces());
        for (position, lane) in self.lanes.iter().enumerate() {
            let name = self.lane_name(lane);
            let finish = self.finish.filter(|_| position == 0);
            let mut own = lane.quota_pieces(finish, present);
            own.extend(lane.waiting.iter().map(|waiting| waiting.text(present)));
            if let Some(first) = own.first_mut() {
                first.insert_str(0, &name);
            }
            pieces.extend(own);
        }
        format!(
            "{} {}{}",
            present.clock(present.now),
            self.mark(),
            pieces.join(" · ")
        )
    }

    /// Returns what the lanes wait for, without the times, which change with every look.
    pub(super) fn reasons(&self) -> Vec<&str> {
        let waiting = self.lanes.iter().filter_map(|lane| lane.waiting.as_ref());
        waiting.map(|waiting| waiting.why.as_str()).collect()
    }

    fn mark(&self) -> &'static str {
        if self.sandbox { "SANDBOX " } else { "" }
    }

    fn lane_name(&self, lane: &LaneView) -> String {
        if self.lanes.len() > 1 {
            format!("{}: ", visible(&lane.name))
        } else {
            String::new()
        }
    }

    fn counted(&self) -> String {
        match self.total {
            Some(total) => format!("{}/{}", Number(self.done), Number(total)),
            None => format!("{} done, still reading", Number(self.done)),
        }
    }

    fn outcome_pieces(&self) -> impl Iterator<Item = String> {
        let counts = self.outcomes.iter().filter(|(_, count)| **count > 0);
        counts.map(|(outcome, &count)| format!("{outcome} {}", Number(count)))
    }

    fn main_line(&self, budget: usize) -> String {
        let cells = (budget / 4).min(40);
        let bar = self
            .total
            .map_or_else(String::new, |total| bar(self.done, total, cells));
        let mut pieces = vec![self.counted()];
        pieces.extend(self.outcome_pieces());
        fit(&format!("{}{bar}", self.mark()), &pieces, budget)
    }
}

impl LaneView {
    fn quota_pieces(&self, finish: Option<Timestamp>, present: &Present) -> Vec<String> {
        let mut pieces: Vec<_> = self
            .windows
            .iter()
            .map(|window| {
                let name = visible(&window.name);
                format!("{name} {}/{}", Number(window.used), Number(window.limit))
            })
            .collect();
        pieces.extend(finish.map(|at| format!("done by {}", present.clock(at))));
        if self.in_flight > 0 {
            pieces.push(format!("{} in flight", Number(self.in_flight.into())));
        }
        pieces
    }
}

impl Waiting {
    fn text(&self, present: &Present) -> String {
        let why = visible(&self.why);
        let Some(until) = self.until else {
            return format!("waiting for {why}");
        };
        // Whole seconds, rounded up: a countdown that shows 0 s while it still waits looks stuck.
        let left = until.duration_since(present.now).as_secs_f64().ceil();
        let left = Duration::try_from_secs_f64(left).unwrap_or_default();
        format!(
            "waiting for {why} until {} ({})",
            present.clock(until),
            Span(left)
        )
    }
}

/// Draws a bar of `cells` cells in ASCII: block characters are two columns wide in some East Asian terminals, and the
/// line would wrap.
fn bar(done: u64, total: u64, cells: usize) -> String {
    let share = |cells: usize| {
        let filled = u128::from(done.min(total)) * cells as u128 / u128::from(total.max(1));
        usize::try_from(filled).unwrap_or(cells)
    };
    let filled = share(cells);
    let head = if filled < cells { ">" } else { "" };
    let rest = cells - filled - head.len();
    format!("[{}{head}{}] ", "=".repeat(filled), " ".repeat(rest))
}

/// Joins as many pieces as fit into `budget` columns; what does not fit is left out, with a mark.
fn fit(head: &str, pieces: &[String], budget: usize) -> String {
    const BETWEEN: &str = " · ";
    const MARK: &str = " …";
    let width = console::measure_text_width;
    let mut line = head.to_owned();
    for (position, piece) in pieces.iter().enumerate() {
        let between = if position == 0 { "" } else { BETWEEN };
        let last = position + 1 == pieces.len();
        let reserved = if last { 0 } else { width(MARK) };
        if position > 0 && width(&line) + width(between) + width(piece) + reserved > budget {
            line.push_str(MARK);
            break;
        }
        line.push_str(between);
        line.push_str(piece);
    }
    console::truncate_str(&line, budget, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn present() -> Present {
        Present {
            now: at("2026-11-23T14:04:57.5Z"),
            zone: TimeZone::fixed(jiff::tz::offset(0)),
        }
    }

    fn lane(name: &str) -> LaneView {
        let window = |name: &str, used, limit| WindowView {
            name: name.to_owned(),
            used,
            limit,
        };
        LaneView {
            name: name.to_owned(),
            windows: vec![window("minute", 100, 100), window("hour", 1204, 1500)],
            in_flight: 16,
            waiting: Some(Waiting {
                why: "the minute window".to_owned(),
                until: Some(at("2026-11-23T14:05:09Z")),
            }),
        }
    }

    fn view() -> ProgressView {
        ProgressView {
            sandbox: false,
            total: Some(5000),
            done: 1204,
            outcomes: BTreeMap::from([
                (Outcome::Cancelled, 1090),
                (Outcome::AlreadyFinal, 101),
                (Outcome::TooLate, 12),
                (Outcome::Failed, 1),
            ]),
            lanes: vec![lane("contoso")],
            finish: Some(at("2026-11-23T17:08:00Z")),
        }
    }

    fn bars(view: &ProgressView, width: u16) -> String {
        view.bar_lines(&present(), width, Paint::Plain).join("\n")
    }

    #[test]
    fn bars_at_60_columns_leave_out_what_does_not_fit() {
        insta::assert_snapshot!(bars(&view(), 60), @r#"
        [===>          ] 1,204/5,000 · cancelled 1,090 …
        minute 100/100 · hour 1,204/1,500 · done by 17:08:00 UTC …
        waiting for the minute window until 14:05:09 UTC (12 s)
        "#);
    }

    #[test]
    fn bars_at_80_columns() {
        insta::assert_snapshot!(bars(&view(), 80), @r#"
        [====>              ] 1,204/5,000 · cancelled 1,090 · already_final 101 …
        minute 100/100 · hour 1,204/1,500 · done by 17:08:00 UTC · 16 in flight
        waiting for the minute window until 14:05:09 UTC (12 s)
        "#);
    }

    #[test]
    fn bars_at_200_columns() {
        insta::assert_snapshot!(bars(&view(), 200), @r#"
        [=========>                              ] 1,204/5,000 · cancelled 1,090 · already_final 101 · too_late 12 · failed 1
        minute 100/100 · hour 1,204/1,500 · done by 17:08:00 UTC · 16 in flight
        waiting for the minute window until 14:05:09 UTC (12 s)
        "#);
    }

    #[test]
    fn a_sandbox_run_of_two_tenants_that_still_reads() {
        let mut two = view();
        two.sandbox = true;
        two.total = None;
        two.lanes.push(LaneView {
            waiting: None,
            ..lane("fabrikam\u{1b}[2J")
        });
        insta::assert_snapshot!(bars(&two, 80), @r#"
        SANDBOX 1,204 done, still reading · cancelled 1,090 · already_final 101 …
        contoso: minute 100/100 · hour 1,204/1,500 · done by 17:08:00 UTC …
        contoso: waiting for the minute window until 14:05:09 UTC (12 s)
        fabrikam\u{1b}[2J: minute 100/100 · hour 1,204/1,500 · 16 in flight
        "#);
    }

    #[test]
    fn the_plain_line_says_all_of_it() {
        insta::assert_snapshot!(view().plain_line(&present()), @r#"
        14:04:57 UTC 1,204/5,000 · cancelled 1,090 · already_final 101 · too_late 12 · failed 1 · minute 100/100 · hour 1,204/1,500 · done by 17:08:00 UTC · 16 in flight · waiting for the minute window until 14:05:09 UTC (12 s)
        "#);
    }

    #[test]
    fn no_line_fills_the_width_however_narrow_and_many_lanes_are_summed_up() {
        let mut many = view();
        many.lanes = (0..9)
            .map(|number| lane(&format!("tenant {number} 東京")))
            .collect();
        for width in 0..130 {
            let lines = many.bar_lines(&present(), width, Paint::Plain);
            assert_eq!(lines.len(), 2 + 2 * LANES_SHOWN);
            for line in lines {
                assert!(
                    console::measure_text_width(&line)
                        <= usize::from(width.saturating_sub(1)).max(1),
                    "{width}: {line}"
                );
            }
        }
    }

    #[test]
    fn the_bar_is_full_only_at_the_end() {
        assert_eq!(bar(0, 0, 4), "[>   ] ");
        assert_eq!(bar(999, 1000, 4), "[===>] ");
        assert_eq!(bar(1000, 1000, 4), "[====] ");
        assert_eq!(bar(u64::MAX, 3, 4), "[====] ");
        assert_eq!(bar(1, 2, 0), "[] ");
    }

    #[test]
    fn a_countdown_never_shows_less_than_nothing() {
        let waiting = Waiting {
            why: "x".to_owned(),
            until: Some(at("2026-11-23T14:04:50Z")),
        };
        assert!(waiting.text(&present()).ends_with("(0 s)"));
    }
}
