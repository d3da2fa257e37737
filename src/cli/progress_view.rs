//! What the bars show, as text: a snapshot goes in, lines come out.
//!
//! Pure: the present, the time zone and the width are arguments. What does not fit in a line is left out whole, with a
//! `…` in its place, so that no number is ever cut in two; the most telling parts come first. A time is never what is
//! left out: it gets a line of its own, or the words before it are cut.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::Outcome;

use super::terminal::{Paint, Tone};
use super::text::{ClockTime, Number, Span, visible};

/// How many lanes have lines of their own; with more, the bars would fill the screen.
const LANES_SHOWN: usize = 4;

/// The cells of a bar that makes room for numbers.
const SHORT_BAR: usize = 8;

/// The outcomes that are named first: what the run is for, then what leaves work.
const FIRST: [Outcome; 7] = [
    Outcome::Cancelled,
    Outcome::Failed,
    Outcome::Unknown,
    Outcome::Forbidden,
    Outcome::NotFound,
    Outcome::Invalid,
    Outcome::Accepted,
];

/// How far one quota window is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowView {
    /// Its name, as it follows "per": `minute`, or `6 s`.
    pub name: String,
    pub used: u64,
    pub limit: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What happens meanwhile, as it precedes "until": `waiting for the minute window`.
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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressView {
    /// Whether it runs against the imitation.
    pub sandbox: bool,
    /// How many rows there are; unknown while the input is read.
    pub total: Option<u64>,
    pub done: u64,
    pub outcomes: BTreeMap<Outcome, u64>,
    pub lanes: Vec<LaneView>,
    /// When the run will have ended, where that can be told.
    pub finish: Option<Timestamp>,
}

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
            lines.extend(lane.quota_lines(&name, finish, (present, budget)));
            if let Some(waiting) = &lane.waiting {
                let line = waiting.line(&name, present, budget);
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
        for (position, lane) in self.lanes.iter().take(LANES_SHOWN).enumerate() {
            let name = self.lane_name(lane);
            let finish = self.finish.filter(|_| position == 0);
            let mut own = lane.window_pieces();
            own.extend(finish.map(|at| ending(at, present)));
            own.extend(lane.in_flight_piece());
            own.extend(lane.waiting.iter().map(|waiting| waiting.text(present)));
            if let Some(first) = own.first_mut() {
                first.insert_str(0, &name);
            }
            pieces.extend(own);
        }
        if self.lanes.len() > LANES_SHOWN {
            pieces.push(format!("and {} more lanes", self.lanes.len() - LANES_SHOWN));
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
        let shown = self.lanes.iter().take(LANES_SHOWN);
        let waiting = shown.filter_map(|lane| lane.waiting.as_ref());
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

    /// Returns the outcomes that occurred, the ones to be named first in front.
    fn counts(&self) -> impl Iterator<Item = (Outcome, u64)> {
        let rest = Outcome::ALL.into_iter();
        let rest = rest.filter(|outcome| !FIRST.contains(outcome));
        FIRST.into_iter().chain(rest).filter_map(|outcome| {
            let count = self.outcomes.get(&outcome).copied();
            count
                .filter(|&count| count > 0)
                .map(|count| (outcome, count))
        })
    }

    fn outcome_pieces(&self) -> impl Iterator<Item = String> {
        self.counts().map(piece)
    }

    /// Returns the outcomes with those that leave nothing to do in one sum.
    fn summed_pieces(&self) -> Vec<String> {
        let mut pieces = Vec::new();
        let mut others = 0_u64;
        for (outcome, count) in self.counts() {
            if FIRST.contains(&outcome) {
                pieces.push(piece((outcome, count)));
            } else {
                others += count;
            }
        }
        pieces.extend(other(others));
        pieces
    }

    /// Returns the fewest pieces: what leaves work is one sum, too. `accepted` is not in it, for it leaves none where
    /// nobody asked for verification.
    fn fewest_pieces(&self) -> Vec<String> {
        let mut pieces = Vec::new();
        let (mut work, mut others) = (0_u64, 0_u64);
        let mut accepted = None;
        for (outcome, count) in self.counts() {
            match outcome {
                Outcome::Cancelled => pieces.push(piece((outcome, count))),
                Outcome::Accepted => accepted = Some(piece((outcome, count))),
                outcome if outcome.leaves_work() => work += count,
                _ => others += count,
            }
        }
        if work > 0 {
            let need = if work == 1 { "needs" } else { "need" };
            pieces.push(format!("{} {need} a look", Number(work)));
        }
        pieces.extend(accepted);
        pieces.extend(other(others));
        pieces
    }

    /// Returns the line of bar and counts: the bar gives way to the numbers, and outcomes are summed up, before anything
    /// is left out.
    fn main_line(&self, budget: usize) -> String {
        let full = (budget / 4).min(40);
        let head = |cells: usize| {
            let total = self.total.filter(|_| cells > 0);
            let bar = total.map(|total| bar(self.done, total, cells));
            format!("{}{}", self.mark(), bar.unwrap_or_default())
        };
        let with = |outcomes: Vec<String>| {
            let mut pieces = vec![self.counted()];
            pieces.extend(outcomes);
            pieces
        };
        let whole = with(self.outcome_pieces().collect());
        let summed = with(self.summed_pieces());
        let short = full.min(SHORT_BAR);
        for (cells, pieces) in [
            (full, &whole),
            (short, &whole),
            (short, &summed),
            (0, &summed),
        ] {
            let line = format!("{}{}", head(cells), pieces.join(BETWEEN));
            if console::measure_text_width(&line) <= budget {
                return line;
            }
        }
        fit(&head(0), &with(self.fewest_pieces()), budget)
    }
}

impl LaneView {
    fn window_pieces(&self) -> Vec<String> {
        let windows = self.windows.iter().enumerate();
        windows
            .map(|(position, window)| {
                // What is counted is said once.
                let noun = if position == 0 { "cancels " } else { "" };
                let (used, limit) = (Number(window.used), Number(window.limit));
                format!("{noun}{used}/{limit} per {}", visible(&window.name))
            })
            .collect()
    }

    fn in_flight_piece(&self) -> Option<String> {
        let count = Number(self.in_flight.into());
        (self.in_flight > 0).then(|| format!("{count} in flight"))
    }

    /// Returns the windows and the end of the run, on two lines where one is too short. How many calls are in flight
    /// is said where there is room, so that no line comes and goes with them.
    fn quota_lines(
        &self,
        name: &str,
        finish: Option<Timestamp>,
        (present, budget): (&Present, usize),
    ) -> Vec<String> {
        let windows = self.window_pieces();
        let finish: Vec<_> = finish.map(|at| ending(at, present)).into_iter().collect();
        let both = [windows.clone(), finish.clone()].concat();
        let width = console::measure_text_width;
        let mut lines = if width(name) + width(&both.join(BETWEEN)) <= budget {
            vec![both]
        } else {
            vec![windows, finish]
        };
        lines.retain(|pieces| !pieces.is_empty());
        let mut lines: Vec<_> = lines
            .into_iter()
            .map(|pieces| fit(name, &pieces, budget))
            .collect();
        match (lines.last_mut(), self.in_flight_piece()) {
            (Some(line), Some(piece)) => {
                if width(line) + width(BETWEEN) + width(&piece) <= budget {
                    line.push_str(BETWEEN);
                    line.push_str(&piece);
                }
            }
            (None, Some(piece)) => lines.push(fit(name, &[piece], budget)),
            (_, None) => {}
        }
        lines
    }
}

impl Waiting {
    fn text(&self, present: &Present) -> String {
        format!("{}{}", visible(&self.why), self.time(present))
    }

    fn line(&self, name: &str, present: &Present, budget: usize) -> String {
        let words = format!("{name}{}", visible(&self.why));
        fit_time(&words, &self.time(present), budget)
    }

    fn time(&self, present: &Present) -> String {
        let Some(until) = self.until else {
            return String::new();
        };
        // Whole seconds, rounded up: a countdown that shows 0 s while it still waits looks stuck.
        let left = until.duration_since(present.now).as_secs_f64().ceil();
        let left = Duration::try_from_secs_f64(left).unwrap_or_default();
        format!(" until {} ({})", present.clock(until), Span(left))
    }
}

fn piece((outcome, count): (Outcome, u64)) -> String {
    format!("{outcome} {}", Number(count))
}

fn other(count: u64) -> Option<String> {
    (count > 0).then(|| format!("other {}", Number(count)))
}

/// "About", for retries and answers take their time, too.
fn ending(at: Timestamp, present: &Present) -> String {
    format!("ends about {}", present.clock(at))
}

/// What parts the pieces of a line.
const BETWEEN: &str = " · ";

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

/// Joins words and the time that follows them; where both are too long, the words are cut.
fn fit_time(words: &str, time: &str, budget: usize) -> String {
    let room = budget.saturating_sub(console::measure_text_width(time));
    // Of no room at all the mark itself would take some.
    let words = match room {
        0 => Cow::Borrowed(""),
        room => console::truncate_str(words, room, "…"),
    };
    console::truncate_str(&format!("{words}{time}"), budget, "…").into_owned()
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
                why: "waiting for the minute window".to_owned(),
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
        1,204/5,000 · cancelled 1,090 · failed 1 · other 113
        cancels 100/100 per minute · 1,204/1,500 per hour
        ends about 17:08:00 UTC · 16 in flight
        waiting for the minute window until 14:05:09 UTC (12 s)
        "#);
    }

    #[test]
    fn bars_at_80_columns() {
        insta::assert_snapshot!(bars(&view(), 80), @r#"
        [=>      ] 1,204/5,000 · cancelled 1,090 · failed 1 · other 113
        cancels 100/100 per minute · 1,204/1,500 per hour · ends about 17:08:00 UTC
        waiting for the minute window until 14:05:09 UTC (12 s)
        "#);
    }

    #[test]
    fn bars_at_200_columns() {
        insta::assert_snapshot!(bars(&view(), 200), @r#"
        [=========>                              ] 1,204/5,000 · cancelled 1,090 · failed 1 · already_final 101 · too_late 12
        cancels 100/100 per minute · 1,204/1,500 per hour · ends about 17:08:00 UTC · 16 in flight
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
        SANDBOX 1,204 done, still reading · cancelled 1,090 · failed 1 · other 113
        contoso: cancels 100/100 per minute · 1,204/1,500 per hour
        contoso: ends about 17:08:00 UTC · 16 in flight
        contoso: waiting for the minute window until 14:05:09 UTC (12 s)
        fabrikam\u{1b}[2J: cancels 100/100 per minute · 1,204/1,500 per hour
        "#);
    }

    #[test]
    fn the_plain_line_says_all_of_it() {
        insta::assert_snapshot!(view().plain_line(&present()), @"14:04:57 UTC 1,204/5,000 · cancelled 1,090 · failed 1 · already_final 101 · too_late 12 · cancels 100/100 per minute · 1,204/1,500 per hour · ends about 17:08:00 UTC · 16 in flight · waiting for the minute window until 14:05:09 UTC (12 s)");
    }

    #[test]
    fn no_line_fills_the_width_however_narrow_and_many_lanes_are_summed_up() {
        let mut many = view();
        many.lanes = (0..9)
            .map(|number| lane(&format!("tenant {number} 東京")))
            .collect();
        for width in 0..130 {
            let lines = many.bar_lines(&present(), width, Paint::Plain);
            assert!(lines.len() <= 3 + 2 * LANES_SHOWN, "{lines:?}");
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
    fn what_leaves_work_is_named_before_the_rest_and_before_the_bar() {
        let mut bad = view();
        bad.outcomes = Outcome::ALL.into_iter().zip([1000; 13]).collect();
        let main = |width| bars(&bad, width).lines().next().unwrap().to_owned();
        insta::assert_snapshot!(main(60), @"1,204/5,000 · cancelled 1,000 · 5,000 need a look …");
        insta::assert_snapshot!(main(80), @"1,204/5,000 · cancelled 1,000 · 5,000 need a look · accepted 1,000 …");
        insta::assert_snapshot!(main(130), @"1,204/5,000 · cancelled 1,000 · 5,000 need a look · accepted 1,000 · other 6,000");
        insta::assert_snapshot!(main(300), @"[=========>                              ] 1,204/5,000 · cancelled 1,000 · failed 1,000 · unknown 1,000 · forbidden 1,000 · not_found 1,000 · invalid 1,000 · accepted 1,000 · already_cancelled 1,000 · already_final 1,000 · too_late 1,000 · skipped 1,000 · duplicate 1,000 · not_attempted 1,000");
    }

    #[test]
    fn each_outcome_is_named_once() {
        let mut all = view();
        all.outcomes = Outcome::ALL.into_iter().zip([1; 13]).collect();
        assert_eq!(all.outcome_pieces().count(), Outcome::ALL.len());
    }

    #[test]
    fn the_time_of_a_waiting_line_is_never_cut() {
        let mut paused = view();
        paused.lanes[0].waiting = Some(Waiting {
            why: "paused by the service (429)".to_owned(),
            until: Some(at("2026-11-24T00:51:00Z")),
        });
        let line =
            |view: &ProgressView, width| bars(view, width).lines().last().unwrap().to_owned();
        insta::assert_snapshot!(line(&paused, 80), @"paused by the service (429) until 2026-11-24 00:51 UTC (10 h 46 min)");
        insta::assert_snapshot!(line(&paused, 60), @"paused by the ser… until 2026-11-24 00:51 UTC (10 h 46 min)");
        for width in 50..100 {
            let line = line(&paused, width);
            assert!(
                line.ends_with(" until 2026-11-24 00:51 UTC (10 h 46 min)"),
                "{line}"
            );
        }
    }

    #[test]
    fn a_countdown_never_shows_less_than_nothing() {
        let waiting = Waiting {
            why: "x".to_owned(),
            until: Some(at("2026-11-23T14:04:50Z")),
        };
        assert!(waiting.text(&present()).ends_with("(0 s)"));
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
    fn a_piece_that_does_not_fit_is_left_out_whole() {
        let pieces = ["1,204/5,000", "cancelled 1,090", "failed 1"].map(str::to_owned);
        for (budget, line) in [
            (50, "1,204/5,000 · cancelled 1,090 · failed 1"),
            (40, "1,204/5,000 · cancelled 1,090 · failed 1"),
            (39, "1,204/5,000 · cancelled 1,090 …"),
            (30, "1,204/5,000 …"),
            (8, "1,204/5…"),
        ] {
            assert_eq!(fit("", &pieces, budget), line, "{budget}");
        }
    }

    #[test]
    fn words_are_cut_before_the_time_is() {
        for (budget, line) in [
            (17, "paused until 9 h"),
            (15, "paus… until 9 h"),
            (10, " until 9 h"),
            (6, " unti…"),
        ] {
            assert_eq!(fit_time("paused", " until 9 h", budget), line);
        }
    }
}
