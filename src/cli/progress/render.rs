//! Progress as text: a view goes in, lines come out.
//!
//! Pure: the present, the time zone and the width are arguments. What does not fit in a line is left out whole, with a
//! `…` in its place, so that no number is ever cut in two; the most telling parts come first. A time is never what is
//! left out: it gets a line of its own, or the words before it are cut.

use std::time::Duration;

use console::{measure_text_width, truncate_str};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::terminal::{Color, Style};
use crate::cli::text::{ClockTime, Number, Span, visible, window_name};
use crate::model::Outcome;

use super::view::{LANES_SHOWN, LaneProgress, ProgressView, WaitReason};

/// The cells of a bar that makes room for numbers.
const SHORT_BAR: usize = 8;

const BETWEEN: &str = " · ";

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

/// The present, as the reader's clock shows it.
#[derive(Clone, Debug)]
pub(super) struct DisplayClock {
    pub(super) now: Timestamp,
    pub(super) zone: TimeZone,
}

impl DisplayClock {
    fn time(&self, at: Timestamp) -> ClockTime<'_> {
        ClockTime::new(at, self.now, &self.zone)
    }
}

/// How much is said of the outcomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Full,
    /// What leaves nothing to do is one sum.
    Short,
    /// What leaves work is one sum, too. `accepted` is not in it, for it leaves none where nobody asked for verification.
    Least,
}

pub(super) struct Renderer<'a> {
    pub(super) view: &'a ProgressView,
    pub(super) clock: &'a DisplayClock,
}

impl Renderer<'_> {
    /// Returns the lines of the bars, none of which fills `width` columns: what stands in the last column makes some
    /// terminals wrap.
    pub(super) fn bars(&self, width: u16, color: Color) -> Vec<String> {
        let budget = usize::from(width.saturating_sub(1));
        let mut lines = vec![color.apply(Style::Good, &self.main_line(budget))];
        for (position, lane) in self.shown_lanes() {
            let mut own = pack(&name(lane), &self.lane_pieces(position, lane), budget);
            if let Some(piece) = in_flight(lane) {
                match own.last_mut() {
                    // Said where there is room, so that no line comes and goes with the calls.
                    Some(line)
                        if width_of(line) + width_of(BETWEEN) + width_of(&piece) <= budget =>
                    {
                        line.push_str(BETWEEN);
                        line.push_str(&piece);
                    }
                    Some(_) => {}
                    None => own.push(fit(&name(lane), &[piece], budget)),
                }
            }
            lines.extend(own);
            if let Some(waiting) = &lane.waiting {
                let words = format!("{}{}", name(lane), visible(&waiting.why));
                let line = fit_time(&words, &self.until(waiting), budget);
                lines.push(color.apply(Style::Warning, &line));
            }
        }
        lines.extend(self.more_lanes().map(|more| fit("", &[more], budget)));
        lines
    }

    /// Returns all of it in one line, for logs of machines.
    pub(super) fn line(&self) -> String {
        let mut pieces = self.counts(Detail::Full);
        for (position, lane) in self.shown_lanes() {
            let first = pieces.len();
            pieces.extend(self.lane_pieces(position, lane));
            pieces.extend(in_flight(lane));
            let waiting = lane.waiting.as_ref();
            pieces.extend(waiting.map(|it| format!("{}{}", visible(&it.why), self.until(it))));
            if let Some(piece) = pieces.get_mut(first) {
                piece.insert_str(0, &name(lane));
            }
        }
        pieces.extend(self.more_lanes());
        let time = self.clock.time(self.clock.now);
        format!("{time} {}{}", self.mark(), pieces.join(BETWEEN))
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

    /// Returns a lane's windows and, of the first lane, which mostly decides it, the end of the run.
    fn lane_pieces(&self, position: usize, lane: &LaneProgress) -> Vec<String> {
        let mut pieces = Vec::new();
        for (position, usage) in lane.windows.iter().enumerate() {
            // What is counted is said once.
            let noun = if position == 0 { "cancels " } else { "" };
            let (used, limit) = (usage.taken.into(), usage.window.limit.get().into());
            let period = window_name(usage.window.period);
            pieces.push(format!(
                "{noun}{}/{} per {period}",
                Number(used),
                Number(limit)
            ));
        }
        // "About", for retries and answers take their time, too.
        let finish = self.view.finish.filter(|_| position == 0);
        pieces.extend(finish.map(|at| format!("ends about {}", self.clock.time(at))));
        pieces
    }

    /// Returns how many rows are done, and the outcomes that occurred.
    fn counts(&self, detail: Detail) -> Vec<String> {
        let done = Number(self.view.done);
        let mut pieces = vec![match self.view.total {
            Some(total) => format!("{done}/{}", Number(total)),
            None => format!("{done} done, still reading"),
        }];
        let (mut work, mut other) = (0_u64, 0_u64);
        let rest = Outcome::ALL.into_iter();
        let rest = rest.filter(|outcome| !FIRST.contains(outcome));
        for outcome in FIRST.into_iter().chain(rest) {
            let count = self.view.outcomes.get(&outcome).copied();
            let count = count.unwrap_or_default();
            match (detail, outcome) {
                _ if count == 0 => {}
                (Detail::Least, outcome)
                    if outcome.leaves_work() && outcome != Outcome::Accepted =>
                {
                    work += count;
                }
                (Detail::Short | Detail::Least, outcome) if !FIRST.contains(&outcome) => {
                    other += count;
                }
                _ => pieces.push(format!("{outcome} {}", Number(count))),
            }
        }
        if work > 0 {
            let need = if work == 1 { "needs" } else { "need" };
            // Behind what was cancelled, and before what may be left out.
            let place = 1 + usize::from(self.view.outcomes.contains_key(&Outcome::Cancelled));
            pieces.insert(
                place.min(pieces.len()),
                format!("{} {need} attention", Number(work)),
            );
        }
        pieces.extend((other > 0).then(|| format!("other {}", Number(other))));
        pieces
    }

    /// Returns the line of bar and counts: the bar gives way to the numbers, and outcomes are summed up, before anything
    /// is left out.
    fn main_line(&self, budget: usize) -> String {
        let full = (budget / 4).min(40);
        let short = full.min(SHORT_BAR);
        for (cells, detail) in [
            (full, Detail::Full),
            (short, Detail::Full),
            (short, Detail::Short),
            (0, Detail::Short),
        ] {
            let total = self.view.total.filter(|_| cells > 0);
            let bar = total.map(|total| bar(self.view.done, total, cells));
            let counts = self.counts(detail).join(BETWEEN);
            let line = format!("{}{}{counts}", self.mark(), bar.unwrap_or_default());
            if width_of(&line) <= budget {
                return line;
            }
        }
        fit(self.mark(), &self.counts(Detail::Least), budget)
    }

    fn until(&self, waiting: &WaitReason) -> String {
        let Some(until) = waiting.until else {
            return String::new();
        };
        // Whole seconds, rounded up: a countdown that shows 0 s while it still waits looks stuck.
        let left = until.duration_since(self.clock.now).as_secs_f64().ceil();
        let left = Duration::try_from_secs_f64(left).unwrap_or_default();
        format!(
            " {} {} ({})",
            waiting.word,
            self.clock.time(until),
            Span(left)
        )
    }
}

fn width_of(text: &str) -> usize {
    measure_text_width(text)
}

fn name(lane: &LaneProgress) -> String {
    let name = lane.name.as_deref();
    name.map(|name| format!("{}: ", visible(name)))
        .unwrap_or_default()
}

fn in_flight(lane: &LaneProgress) -> Option<String> {
    let count = Number(lane.in_flight as u64);
    (lane.in_flight > 0).then(|| format!("{count} in flight"))
}

/// Draws a bar of `cells` cells in ASCII: block characters are two columns wide in some East Asian terminals, and the
/// line would wrap.
fn bar(done: u64, total: u64, cells: usize) -> String {
    let filled = u128::from(done.min(total)) * cells as u128 / u128::from(total.max(1));
    let filled = usize::try_from(filled).unwrap_or(cells);
    let head = if filled < cells { ">" } else { "" };
    let rest = cells - filled - head.len();
    format!("[{}{head}{}] ", "=".repeat(filled), " ".repeat(rest))
}

/// Puts as many pieces into each line as fit, behind `head`; one that is wider than a line is cut.
fn pack(head: &str, pieces: &[String], budget: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces {
        match lines.last_mut() {
            Some(line) if width_of(line) + width_of(BETWEEN) + width_of(piece) <= budget => {
                line.push_str(BETWEEN);
                line.push_str(piece);
            }
            _ => {
                let line = format!("{head}{piece}");
                lines.push(truncate_str(&line, budget, "…").into_owned());
            }
        }
    }
    lines
}

/// Joins as many pieces as fit into one line; what does not fit is left out, with a mark.
fn fit(head: &str, pieces: &[String], budget: usize) -> String {
    const MARK: &str = " …";
    let whole = pack(head, pieces, budget);
    if let [line] = whole.as_slice() {
        return line.clone();
    }
    let room = budget.saturating_sub(width_of(MARK));
    let first = pack(head, pieces, room).into_iter().next();
    truncate_str(&(first.unwrap_or_default() + MARK), budget, "…").into_owned()
}

/// Joins words and the time that follows them; where both are too long, the words are cut.
fn fit_time(words: &str, time: &str, budget: usize) -> String {
    let room = budget.saturating_sub(width_of(time));
    // Of no room at all the mark itself would take some.
    let words = if room == 0 {
        "".into()
    } else {
        truncate_str(words, room, "…")
    };
    truncate_str(&format!("{words}{time}"), budget, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::quota::Usage;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn clock() -> DisplayClock {
        DisplayClock {
            now: at("2026-11-23T14:04:57.5Z"),
            zone: TimeZone::fixed(jiff::tz::offset(0)),
        }
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
            in_flight: 16,
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

    fn lines(view: &ProgressView, width: u16) -> Vec<String> {
        let clock = &clock();
        Renderer { view, clock }.bars(width, Color::Plain)
    }

    fn bars(view: &ProgressView, width: u16) -> String {
        lines(view, width).join("\n")
    }

    #[test]
    fn bars_at_60_columns_leave_out_what_does_not_fit() {
        insta::assert_snapshot!(bars(&view(), 60), @r#"
        1,204/5,000 · cancelled 1,090 · failed 1 · other 113
        cancels 100/100 per minute · 1,204/1,500 per hour
        ends about 17:08:00 UTC · 16 in flight
        waiting for quota (100/minute) until 14:05:09 UTC (12 s)
        "#);
    }

    #[test]
    fn bars_at_80_columns() {
        insta::assert_snapshot!(bars(&view(), 80), @r#"
        [=>      ] 1,204/5,000 · cancelled 1,090 · failed 1 · other 113
        cancels 100/100 per minute · 1,204/1,500 per hour · ends about 17:08:00 UTC
        waiting for quota (100/minute) until 14:05:09 UTC (12 s)
        "#);
    }

    #[test]
    fn bars_at_200_columns() {
        insta::assert_snapshot!(bars(&view(), 200), @r#"
        [=========>                              ] 1,204/5,000 · cancelled 1,090 · failed 1 · already_final 101 · too_late 12
        cancels 100/100 per minute · 1,204/1,500 per hour · ends about 17:08:00 UTC · 16 in flight
        waiting for quota (100/minute) until 14:05:09 UTC (12 s)
        "#);
    }

    #[test]
    fn a_sandbox_run_of_two_tenants_that_still_reads() {
        let mut two = view();
        two.is_sandbox = true;
        two.total = None;
        two.lanes = ["contoso", "fabrikam\u{1b}[2J"]
            .map(|name| lane(Some(name)))
            .into();
        two.lanes[1].waiting = None;
        insta::assert_snapshot!(bars(&two, 80), @r#"
        SANDBOX 1,204 done, still reading · cancelled 1,090 · failed 1 · other 113
        contoso: cancels 100/100 per minute · 1,204/1,500 per hour
        contoso: ends about 17:08:00 UTC · 16 in flight
        contoso: waiting for quota (100/minute) until 14:05:09 UTC (12 s)
        fabrikam\u{1b}[2J: cancels 100/100 per minute · 1,204/1,500 per hour
        "#);
    }

    #[test]
    fn the_line_of_a_machines_log_says_all_of_it() {
        let line = |view: &ProgressView| {
            Renderer {
                view,
                clock: &clock(),
            }
            .line()
        };
        insta::assert_snapshot!(line(&view()), @"14:04:57 UTC 1,204/5,000 · cancelled 1,090 · failed 1 · already_final 101 · too_late 12 · cancels 100/100 per minute · 1,204/1,500 per hour · ends about 17:08:00 UTC · 16 in flight · waiting for quota (100/minute) until 14:05:09 UTC (12 s)");
    }

    #[test]
    fn no_line_fills_the_width_however_narrow_and_many_lanes_are_summed_up() {
        let mut many = view();
        many.lanes = (0..9)
            .map(|number| lane(Some(&format!("tenant {number} 東京"))))
            .collect();
        for width in 0..130 {
            let lines = lines(&many, width);
            assert!(lines.len() <= 3 + 3 * LANES_SHOWN, "{lines:?}");
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
        insta::assert_snapshot!(main(60), @"1,204/5,000 · cancelled 1,000 · 5,000 need attention …");
        insta::assert_snapshot!(main(80), @"1,204/5,000 · cancelled 1,000 · 5,000 need attention · accepted 1,000 …");
        insta::assert_snapshot!(main(130), @"1,204/5,000 · cancelled 1,000 · 5,000 need attention · accepted 1,000 · other 6,000");
        insta::assert_snapshot!(main(300), @"[=========>                              ] 1,204/5,000 · cancelled 1,000 · failed 1,000 · unknown 1,000 · forbidden 1,000 · not_found 1,000 · invalid 1,000 · accepted 1,000 · already_cancelled 1,000 · already_final 1,000 · too_late 1,000 · skipped 1,000 · duplicate 1,000 · not_attempted 1,000");
    }

    #[test]
    fn each_outcome_is_named_once() {
        let mut all = view();
        all.outcomes = Outcome::ALL.into_iter().zip([1; 13]).collect();
        let (view, clock) = (&all, &clock());
        let counts = Renderer { view, clock }.counts(Detail::Full);
        assert_eq!(counts.len(), 1 + Outcome::ALL.len());
    }

    #[test]
    fn the_time_of_a_waiting_line_is_never_cut() {
        let mut paused = view();
        paused.lanes[0].waiting = Some(WaitReason {
            why: "paused by the service (429)".into(),
            word: "until",
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

    #[test]
    fn a_piece_that_does_not_fit_is_left_out_whole() {
        let pieces = ["1,204/5,000", "cancelled 1,090", "failed 1"].map(str::to_owned);
        for (budget, line) in [
            (50, "1,204/5,000 · cancelled 1,090 · failed 1"),
            (40, "1,204/5,000 · cancelled 1,090 · failed 1"),
            (39, "1,204/5,000 · cancelled 1,090 …"),
            (30, "1,204/5,000 …"),
            (8, "1,204… …"),
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
