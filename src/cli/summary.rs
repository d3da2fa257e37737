//! The summary of a run, as text for a terminal.
//!
//! The first line counts what is left to do, so that a reader in a hurry can't miss it. Prose is wrapped; paths and
//! commands aren't, so that they can be copied.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{FollowUp, Operation, Outcome, RunId};
use crate::report::{AcceptedPolicy, Severity, left, meaning};

use super::format_time::{Count, Number, Span, stopped, visible};
use super::hint::{ForwardedFlags, Hint};
use super::table::Table;
use super::terminal::{Color, Page, Style};

/// The result of a run, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) run: RunId,
    pub(super) operation: Operation,
    /// Whether the run used the sandbox; the first line says so.
    pub(super) sandbox: bool,
    /// Whether the input ended early, so that rows may be missing.
    pub(super) is_input_cut: bool,
    /// Rows by outcome.
    pub(super) outcomes: BTreeMap<Outcome, u64>,
    /// Statuses of the `already_final` rows, as the service spells them; empty if unknown.
    pub(super) final_statuses: BTreeMap<String, u64>,
    /// Whether `accepted` counts as done.
    pub(super) accepted: AcceptedPolicy,
    /// Skipped rows by reason.
    pub(super) skipped: BTreeMap<String, u64>,
    /// Machines by follow-up, the gravest first.
    pub(super) follow_ups: Vec<(FollowUp, u64)>,
    /// Machines with follow-ups; one may have several.
    pub(super) machines_left: u64,
    /// Machines that stay isolated or restricted, one line per reason.
    pub(super) left_alone: Vec<String>,
    pub(super) elapsed: Duration,
    /// Calls sent, including reads and refused calls.
    pub(super) calls: u64,
    /// Calls answered with 429.
    pub(super) throttled: u64,
    /// Cancels that were sent again.
    pub(super) retries: u64,
    /// Why the run stopped early.
    pub(super) stop: Option<String>,
    /// Other warnings, one line each.
    pub(super) notes: Vec<String>,
    pub(super) reports: Vec<String>,
    pub(super) next_steps: Vec<Hint>,
}

impl Summary {
    pub(super) fn render(&self, width: u16, color: Color, flags: &ForwardedFlags) -> String {
        let mut page = Page::new(width, color);
        let mark = if self.sandbox { "SANDBOX: " } else { "" };
        let left = left(&self.outcomes, self.accepted, &self.follow_ups);
        let mut lines = Vec::new();
        if let Some(stop) = &self.stop {
            lines.push(("", Style::Warning, stopped(stop)));
        }
        if left.is_empty() {
            let stays = self.stays();
            let (style, what) = if self.is_input_cut {
                (Style::Warning, "part of the input was not read")
            } else if self.outcomes.values().all(|&count| count == 0) {
                (Style::Warning, "nothing was sent: there are no rows")
            } else if let Some(stays) = &stays {
                (Style::Warning, stays.as_str())
            } else if self.all_skipped() {
                (Style::Warning, "nothing was sent: every row was skipped")
            } else {
                (Style::Good, "nothing left to do")
            };
            lines.push(("", style, what.to_owned()));
        }
        let style = |severity| match severity {
            Severity::Critical => Style::Error,
            Severity::Warning => Style::Warning,
        };
        let machines = left.iter().filter(|part| part.follow_up.is_some()).count();
        if machines > 1 {
            let count = Count::new(self.machines_left, "machine");
            lines.push((
                "",
                style(left[0].severity),
                format!("{count} still need work"),
            ));
        }
        for part in &left {
            let is_part = part.follow_up.is_some() && machines > 1;
            let indent = if is_part { "  " } else { "" };
            lines.push((indent, style(part.severity), part.text.clone()));
        }
        for (position, (before, style, line)) in lines.iter().enumerate() {
            let mark = if position == 0 { mark } else { "" };
            page.push(before, Some(*style), &format!("{mark}{line}"), 2);
        }
        for line in &self.left_alone {
            page.push("", Some(Style::Warning), &visible(line), 2);
        }
        if !self.outcomes.values().all(|&count| count == 0) {
            page.raw("");
            self.outcome_table(&mut page, width, color);
        }
        for note in &self.notes {
            page.push("", Some(Style::Warning), &visible(note), 2);
        }
        page.raw("");
        for line in self.facts() {
            page.push("", Some(Style::Dim), &line, 2);
        }
        self.what_next(&mut page, flags);
        page.text
    }

    /// Says how many machines a release left as they were.
    fn stays(&self) -> Option<String> {
        let skipped = self
            .outcomes
            .get(&Outcome::Skipped)
            .copied()
            .unwrap_or_default();
        let is_some = self.operation == Operation::Release && skipped > 0;
        let verb = if skipped == 1 { "stays" } else { "stay" };
        let machines = Count::new(skipped, "machine");
        is_some.then(|| format!("{machines} {verb} isolated or restricted on purpose"))
    }

    fn all_skipped(&self) -> bool {
        let mut rows = self.outcomes.iter().filter(|&(_, &count)| count > 0);
        rows.next()
            .is_some_and(|(&outcome, _)| outcome == Outcome::Skipped)
            && rows.next().is_none()
    }

    fn outcome_table(&self, page: &mut Page, width: u16, color: Color) {
        let mut table = Table::new();
        table.right = &[1];
        let counts = Outcome::ALL
            .into_iter()
            .filter_map(|outcome| Some((outcome, *self.outcomes.get(&outcome)?)))
            .filter(|(_, count)| *count > 0);
        let mut total = 0_u64;
        for (outcome, count) in counts {
            total = total.saturating_add(count);
            let cells = [outcome.words(), Number(count).to_string()];
            table.noted(cells, visible(&self.meaning(outcome)).into_owned());
        }
        table.row(["total", &Number(total).to_string()]);
        for line in table.lines(usize::from(width).saturating_sub(1)) {
            page.raw(&color_outcome(&format!(" {line}"), color));
        }
    }

    /// Explains an outcome; for skipped rows, gives their reasons.
    fn meaning(&self, outcome: Outcome) -> String {
        if outcome != Outcome::Skipped || self.skipped.is_empty() {
            return meaning(outcome, &self.final_statuses);
        }
        let mut reasons: Vec<_> = self.skipped.iter().collect();
        reasons.sort_by_key(|(_, rows)| std::cmp::Reverse(**rows));
        let is_only = reasons.len() == 1;
        let reasons = reasons.into_iter().map(|(reason, &rows)| {
            if is_only {
                reason.clone()
            } else {
                format!("{} {reason}", Number(rows))
            }
        });
        reasons.collect::<Vec<_>>().join(", ")
    }

    fn facts(&self) -> Vec<String> {
        let mut facts = Vec::new();
        let mut numbers = vec![
            Span(self.elapsed).to_string(),
            Count::new(self.calls, "call").to_string(),
        ];
        if self.throttled > 0 {
            numbers.push(format!("{} throttled (429)", Number(self.throttled)));
        }
        if self.retries > 0 {
            numbers.push(Count::new(self.retries, "retry").to_string());
        }
        facts.push(numbers.join(" · "));
        facts.push(format!("run {}", self.run));
        facts
    }

    fn what_next(&self, page: &mut Page, flags: &ForwardedFlags) {
        match self.reports.len() {
            0 => {}
            1 => page.raw("report"),
            count => page.raw(&Count::new(count as u64, "report").to_string()),
        }
        for path in &self.reports {
            page.raw(&format!("  {}", visible(path)));
        }
        if !self.next_steps.is_empty() {
            page.raw("Next");
        }
        for step in &self.next_steps {
            match step {
                Hint::Text(why) => page.push("  ", None, &visible(why), 2),
                Hint::Command(why, command) => {
                    page.push("  ", None, &format!("{}:", visible(why)), 2);
                    page.raw(&format!("    {}", visible(&command.render(flags))));
                }
            }
        }
    }
}

/// Colors the outcome at the start of a line. After the layout, because the table would count the colors as width.
fn color_outcome(line: &str, color: Color) -> String {
    let mut all = Outcome::ALL.into_iter();
    let Some(outcome) = all.find(|outcome| line.trim_start().starts_with(&outcome.words())) else {
        return line.to_owned();
    };
    let style = match outcome {
        Outcome::Cancelled | Outcome::AlreadyCancelled => Style::Good,
        Outcome::Accepted | Outcome::TooLate | Outcome::NotAttempted => Style::Warning,
        outcome if outcome.needs_attention() => Style::Error,
        _ => Style::Dim,
    };
    let words = outcome.words();
    line.replacen(&words, &color.apply(style, &words), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::hint::NextCommand;

    fn run() -> RunId {
        RunId::parse("0199f3c2-10aa-7b1e-8a77-9a3d0c5be0a1").unwrap()
    }

    fn clean() -> Summary {
        Summary {
            run: run(),
            operation: Operation::Cancel,
            sandbox: false,
            is_input_cut: false,
            outcomes: BTreeMap::from([(Outcome::Cancelled, 1500), (Outcome::Failed, 0)]),
            final_statuses: BTreeMap::new(),
            accepted: AcceptedPolicy::IsEnough,
            skipped: BTreeMap::new(),
            follow_ups: vec![(FollowUp::Unisolate, 0)],
            machines_left: 0,
            left_alone: Vec::new(),
            elapsed: Duration::from_secs(842),
            calls: 1515,
            throttled: 0,
            retries: 0,
            stop: None,
            notes: Vec::new(),
            reports: vec![format!("./mde-cancel-{}.csv", run())],
            next_steps: Vec::new(),
        }
    }

    fn bad_night() -> Summary {
        let counts = Outcome::ALL.into_iter().zip(1_u64..);
        Summary {
            sandbox: true,
            outcomes: counts.map(|(outcome, n)| (outcome, n * n * 100)).collect(),
            final_statuses: [("Succeeded", 1188), ("Failed", 400), ("TimeOut", 12)]
                .map(|(status, count)| (status.to_owned(), count))
                .into(),
            accepted: AcceptedPolicy::IsLeft,
            follow_ups: vec![
                (FollowUp::Unisolate, 412),
                (FollowUp::ManualOnboard, 1),
                (FollowUp::CheckDevice, 3),
            ],
            machines_left: 415,
            left_alone: vec!["excluded: 1 machine is still isolated: dc-01".to_owned()],
            skipped: [("excluded by keep.txt", 6000), ("protected type", 400)]
                .map(|(reason, count)| (reason.to_owned(), count))
                .into(),
            notes: vec!["warning: 1 line of keep.txt matches nothing: srv-0O3".to_owned()],
            elapsed: Duration::from_secs(11_040),
            throttled: 12,
            retries: 1,
            stop: Some("by Ctrl-C".to_owned()),
            reports: vec!["report.csv".to_owned(), "-".to_owned()],
            next_steps: vec![
                "release the machines that were isolated before the cancel came".into(),
                Hint::Command(
                    "go on with what was not attempted".to_owned(),
                    NextCommand::Resume(run()),
                ),
            ],
            ..clean()
        }
    }

    fn text(summary: &Summary, width: u16, color: Color) -> String {
        summary.render(width, color, &ForwardedFlags::default())
    }

    fn widest(text: &str) -> usize {
        text.lines().map(console::measure_text_width).max().unwrap()
    }

    #[test]
    fn a_clean_run_says_that_nothing_is_left() {
        insta::assert_snapshot!(text(&clean(), 80, Color::Plain), @"
        nothing left to do

         cancelled  1,500  confirmed by the service
         total      1,500

        14 min 02 s · 1,515 calls
        run 0199f3c2-10aa-7b1e-8a77-9a3d0c5be0a1
        report
          ./mde-cancel-0199f3c2-10aa-7b1e-8a77-9a3d0c5be0a1.csv
        ");
    }

    #[test]
    fn a_bad_night_at_60_columns() {
        insta::assert_snapshot!(text(&bad_night(), 60, Color::Plain), @"
        SANDBOX: stopped by Ctrl-C
        415 machines still need work
          412 machines are isolated now and need release
          1 machine is offboarded: onboard again by hand
          3 machines may be changed, as the action was already in
            progress: check them
        63,500 rows need attention: 400 accepted, 6,400 not found,
          8,100 forbidden, 12,100 invalid, 16,900 failed, 19,600
          unknown
        22,500 rows were not attempted
        excluded: 1 machine is still isolated: dc-01

         cancelled              100  confirmed by the service
         accepted               400  accepted, but not seen to take
                                     effect
         already cancelled      900  had already been cancelled
         already final        1,600  had already ended: 1,188
                                     Succeeded, 400 Failed, 12
                                     TimeOut
         too late             2,500  accepted, but the action had
                                     completed
         released             3,600  released, confirmed by the
                                     service
         already released     4,900  had already been released
         not found            6,400  no such action in this tenant
         forbidden            8,100  a permission is missing: see
                                     `reason` in the report
         skipped             10,000  6,000 excluded by keep.txt, 400
                                     protected type
         invalid             12,100  unusable row: see `reason` in
                                     the report
         duplicate           14,400  same id as another row
         failed              16,900  not applied: see `reason` in
                                     the report
         unknown             19,600  may or may not have been
                                     applied
         not attempted       22,500  the run stopped before their
                                     turn
         total              124,000
        warning: 1 line of keep.txt matches nothing: srv-0O3

        3 h 04 min · 1,515 calls · 12 throttled (429) · 1 retry
        run 0199f3c2-10aa-7b1e-8a77-9a3d0c5be0a1
        2 reports
          report.csv
          -
        Next
          release the machines that were isolated before the cancel
            came
          go on with what was not attempted:
            mde-cancel resume 0199f3c2-10aa-7b1e-8a77-9a3d0c5be0a1
        ");
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_and_colours_change_no_letter() {
        for width in [60, 80, 200] {
            let plain = text(&bad_night(), width, Color::Plain);
            assert!(widest(&plain) <= usize::from(width), "{plain}");
            assert!(!plain.contains('\u{1b}'));
            let colored = text(&bad_night(), width, Color::Colored);
            assert_eq!(console::strip_ansi_codes(&colored), plain);
            assert!(colored.contains('\u{1b}'));
        }
    }

    #[test]
    fn a_run_that_sent_nothing_does_not_read_as_a_success() {
        let first = |outcomes: &[(Outcome, u64)]| -> String {
            let mut summary = clean();
            summary.outcomes = outcomes.iter().copied().collect();
            let text = text(&summary, 80, Color::Plain);
            text.lines().next().unwrap().to_owned()
        };
        let skipped = first(&[(Outcome::Skipped, 3), (Outcome::Cancelled, 0)]);
        assert_eq!(skipped, "nothing was sent: every row was skipped");
        assert_eq!(first(&[]), "nothing was sent: there are no rows");
    }

    #[test]
    fn the_first_line_counts_the_gravest_thing_that_is_left() {
        let first = |summary: &Summary| -> String {
            let text = text(summary, 80, Color::Plain);
            text.lines().next().unwrap().to_owned()
        };
        let mut summary = clean();
        summary.is_input_cut = true;
        assert_eq!(first(&summary), "part of the input was not read");
        summary.is_input_cut = false;
        summary.outcomes.insert(Outcome::Accepted, 2);
        assert_eq!(first(&summary), "nothing left to do");
        summary.accepted = AcceptedPolicy::IsLeft;
        assert_eq!(first(&summary), "2 rows need attention: 2 accepted");
        summary.outcomes.insert(Outcome::NotAttempted, 1);
        assert_eq!(first(&summary), "2 rows need attention: 2 accepted");
        summary.outcomes.remove(&Outcome::Accepted);
        assert_eq!(first(&summary), "1 row was not attempted");
        summary.follow_ups = vec![(FollowUp::Unisolate, 412)];
        assert_eq!(
            first(&summary),
            "412 machines are isolated now and need release"
        );
        summary.sandbox = true;
        summary.follow_ups = vec![(FollowUp::Unisolate, 1)];
        assert_eq!(
            first(&summary),
            "SANDBOX: 1 machine is isolated now and needs release"
        );
    }

    #[test]
    fn text_of_others_cannot_move_the_cursor() {
        let mut summary = clean();
        summary.stop = Some("\u{1b}[2J".to_owned());
        summary.reports = vec!["a\rb.csv".to_owned()];
        assert!(!text(&summary, 80, Color::Plain).contains(['\u{1b}', '\r']));
    }
}
