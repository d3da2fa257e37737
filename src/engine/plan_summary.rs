//! What a plan comes to: counts, people, machines and reasons, gathered row by row.
//!
//! Nothing here grows with the input. What is counted by a word of somebody else's (a type, a requestor, a reason) has
//! a bound on its words; what comes beyond it is counted together.

use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;

use crate::model::{ActionId, Outcome};

use super::plan_digest::PlanDigest;

/// Combinations of type, status and verdict that are told apart; real tenants show some dozens.
const MAX_CELLS: usize = 200;

/// Names that are told apart in one count.
const MAX_NAMES: usize = 1000;

/// Reasons that are told apart.
const MAX_REASONS: usize = 40;

/// Rows named for each reason, and machines named of all.
const EXAMPLES: usize = 3;
const MACHINES: usize = 5;

/// What becomes of a row by the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// A cancel is sent.
    Send,
    /// Its record could not be read, so that nobody can tell.
    Unread,
    /// It has its last word already, and nothing is sent.
    Settled(Outcome),
}

impl Verdict {
    /// Returns the word that stands in a printed plan.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Unread => "unread",
            Self::Settled(outcome) => outcome.as_str(),
        }
    }

    /// Returns whether somebody should look at the row before anything is sent.
    pub fn leaves_work(self) -> bool {
        match self {
            Self::Send => false,
            Self::Unread => true,
            Self::Settled(outcome) => outcome.leaves_work(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row of a plan, as far as a summary looks at it.
#[derive(Clone, Copy)]
pub struct PlanLine<'row> {
    /// The action; none in a row that names none.
    pub id: Option<ActionId>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why, where it is not sent.
    pub reason: &'row str,
    /// Where it stands.
    pub source: &'row dyn fmt::Display,
    /// The action's type, where it is known.
    pub action_type: Option<&'row str>,
    /// Its status, where its record was read.
    pub status: Option<&'row str>,
    /// Who asked for it.
    pub requestor: Option<&'row str>,
    /// Where they asked.
    pub request_source: Option<&'row str>,
    /// Its machine's name, or else its id.
    pub machine: Option<&'row str>,
    /// When it was asked for.
    pub created_at: Option<Timestamp>,
}

/// Rows that share type, status and verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanCell {
    /// The type; empty where it is not known.
    pub action_type: String,
    /// The status; empty where it is not known.
    pub status: String,
    /// What becomes of them.
    pub verdict: Verdict,
    /// How many.
    pub rows: u64,
}

/// Rows that are not sent for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanReason {
    /// What becomes of them.
    pub verdict: Verdict,
    /// Why the first of them is not sent; the others' reasons differ in a name or a number at most.
    pub reason: String,
    /// How many.
    pub rows: u64,
    /// Where the first of them stand.
    pub examples: Vec<String>,
    /// How many characters of the reason all of them share.
    shared: usize,
}

/// How often each of some names came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameCounts {
    counts: HashMap<String, u64>,
    /// Those that came when no more names were told apart.
    others: u64,
}

impl NameCounts {
    fn add(&mut self, name: &str) {
        if let Some(count) = self.counts.get_mut(name) {
            *count += 1;
        } else if self.counts.len() < MAX_NAMES {
            self.counts.insert(name.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }

    /// Returns the names, the most frequent first.
    pub fn top(&self) -> Vec<(&str, u64)> {
        let mut top: Vec<_> = self
            .counts
            .iter()
            .map(|(name, &count)| (name.as_str(), count))
            .collect();
        top.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        top
    }

    /// Returns how many came under names that are not told apart.
    pub fn others(&self) -> u64 {
        self.others
    }
}

/// What a plan comes to. People, machines and times are those of the rows that are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanSummary {
    /// Rows.
    pub rows: u64,
    /// Those that are sent.
    pub send: u64,
    /// Those of them whose type is known.
    pub types_known: u64,
    /// Those whose record could not be read.
    pub unread: u64,
    /// Those that somebody should look at first.
    pub left_over: u64,
    /// Names the set of actions that are sent.
    pub digest: PlanDigest,
    /// Who asked for what is sent.
    pub requestors: NameCounts,
    /// Where they asked.
    pub request_sources: NameCounts,
    /// When the oldest was asked for.
    pub oldest: Option<Timestamp>,
    /// When the newest was asked for.
    pub newest: Option<Timestamp>,
    /// Some machines.
    pub machines: Vec<String>,
    /// Why the others are not sent.
    pub reasons: Vec<PlanReason>,
    /// In the order in which they came; rows of one kind nearly always follow each other, and so are found at once.
    cells: Vec<PlanCell>,
    last_cell: usize,
}

impl PlanSummary {
    /// Counts a row in.
    pub fn add(&mut self, line: &PlanLine<'_>) {
        self.rows += 1;
        self.left_over += u64::from(line.verdict.leaves_work());
        self.count_cell(line);
        match line.verdict {
            Verdict::Send => self.add_sent(line),
            Verdict::Unread => {
                self.unread += 1;
                self.add_reason(line);
            }
            Verdict::Settled(_) => self.add_reason(line),
        }
    }

    /// Returns the rows by type, status and verdict: what is sent first, then in the order of the words.
    pub fn cells(&self) -> Vec<&PlanCell> {
        let mut cells: Vec<_> = self.cells.iter().collect();
        cells.sort_by(|one, other| {
            (one.verdict, &one.action_type, &one.status).cmp(&(
                other.verdict,
                &other.action_type,
                &other.status,
            ))
        });
        cells
    }

    /// Returns how many rows of each type are sent, in the order of the types; an unknown type is an empty text.
    pub fn types_sent(&self) -> Vec<(&str, u64)> {
        let mut types: Vec<(&str, u64)> = Vec::new();
        for cell in self.cells() {
            match types.last_mut() {
                _ if cell.verdict != Verdict::Send => {}
                Some((last, rows)) if *last == cell.action_type => *rows += cell.rows,
                _ => types.push((&cell.action_type, cell.rows)),
            }
        }
        types
    }

    fn add_sent(&mut self, line: &PlanLine<'_>) {
        self.send += 1;
        self.types_known += u64::from(line.action_type.is_some());
        if let Some(id) = line.id {
            self.digest.add(id);
        }
        if let Some(requestor) = line.requestor {
            self.requestors.add(requestor);
        }
        if let Some(source) = line.request_source {
            self.request_sources.add(source);
        }
        if let Some(created) = line.created_at {
            self.oldest = Some(self.oldest.map_or(created, |oldest| oldest.min(created)));
            self.newest = self.newest.max(Some(created));
        }
        if let Some(machine) = line.machine
            && self.machines.len() < MACHINES
            && !self.machines.iter().any(|known| known == machine)
        {
            self.machines.push(machine.to_owned());
        }
    }

    fn count_cell(&mut self, line: &PlanLine<'_>) {
        let mut action_type = line.action_type.unwrap_or_default();
        let mut status = line.status.unwrap_or_default();
        let is_it = |cell: &PlanCell, action_type: &str, status: &str| {
            cell.verdict == line.verdict && cell.action_type == action_type && cell.status == status
        };
        let last = self.cells.get(self.last_cell);
        if !last.is_some_and(|cell| is_it(cell, action_type, status)) {
            let find = |cells: &[PlanCell], action_type: &str, status: &str| {
                cells
                    .iter()
                    .position(|cell| is_it(cell, action_type, status))
            };
            let mut found = find(&self.cells, action_type, status);
            if found.is_none() && self.cells.len() >= MAX_CELLS {
                (action_type, status) = ("(others)", "");
                found = find(&self.cells, action_type, status);
            }
            self.last_cell = found.unwrap_or_else(|| {
                self.cells.push(PlanCell {
                    action_type: action_type.to_owned(),
                    status: status.to_owned(),
                    verdict: line.verdict,
                    rows: 0,
                });
                self.cells.len() - 1
            });
        }
        if let Some(cell) = self.cells.get_mut(self.last_cell) {
            cell.rows += 1;
        }
    }

    fn add_reason(&mut self, line: &PlanLine<'_>) {
        let shared = shared(line.reason);
        let beginning = &line.reason.as_bytes()[..shared];
        let same = |known: &PlanReason| {
            known.verdict == line.verdict && known.reason.as_bytes()[..known.shared] == *beginning
        };
        let found = self.reasons.iter().position(same).unwrap_or_else(|| {
            let is_full = self.reasons.len() >= MAX_REASONS;
            let is_rest = |known: &PlanReason| known.verdict == line.verdict && known.shared == 0;
            if is_full && let Some(rest) = self.reasons.iter().position(is_rest) {
                return rest;
            }
            let (reason, shared) = if is_full {
                ("for other reasons", 0)
            } else {
                (line.reason, shared)
            };
            self.reasons.push(PlanReason {
                verdict: line.verdict,
                reason: reason.to_owned(),
                rows: 0,
                examples: Vec::new(),
                shared,
            });
            self.reasons.len() - 1
        });
        let known = &mut self.reasons[found];
        known.rows += 1;
        if known.examples.len() < EXAMPLES {
            known.examples.push(line.source.to_string());
        }
    }
}

/// Returns how much of a reason does not depend on the row: all before the first number or quoted text.
fn shared(reason: &str) -> usize {
    reason
        .find(|letter: char| letter.is_ascii_digit() || letter == '`')
        .unwrap_or(reason.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'row>(number: &'row u64, verdict: Verdict, reason: &'row str) -> PlanLine<'row> {
        PlanLine {
            id: ActionId::from_bytes(u128::from(*number).to_be_bytes()),
            verdict,
            reason,
            source: number,
            action_type: Some("Isolate"),
            status: Some("Pending"),
            requestor: None,
            request_source: None,
            machine: None,
            created_at: None,
        }
    }

    #[test]
    fn rows_are_counted_by_type_status_and_verdict_what_is_sent_first() {
        let mut summary = PlanSummary::default();
        let held = Verdict::Settled(Outcome::Skipped);
        for (number, verdict) in [(1, held), (2, Verdict::Send), (3, held), (4, Verdict::Send)] {
            summary.add(&line(&number, verdict, "why"));
        }
        let unknown = PlanLine {
            action_type: None,
            ..line(&5, Verdict::Send, "")
        };
        summary.add(&unknown);
        let cells: Vec<_> = summary
            .cells()
            .into_iter()
            .map(|cell| (cell.verdict, cell.action_type.as_str(), cell.rows))
            .collect();
        let expected = [
            (Verdict::Send, "", 1),
            (Verdict::Send, "Isolate", 2),
            (held, "Isolate", 2),
        ];
        assert_eq!(cells, expected);
        assert_eq!(summary.types_sent(), [("", 1), ("Isolate", 2)]);
        assert_eq!((summary.rows, summary.send, summary.types_known), (5, 3, 2));
    }

    #[test]
    fn reasons_that_differ_in_a_number_or_a_name_are_one() {
        let mut summary = PlanSummary::default();
        let twin = Verdict::Settled(Outcome::Duplicate);
        let bad = Verdict::Settled(Outcome::Invalid);
        for number in 1..=9 {
            let reason = format!("the same id stands in row {number}");
            summary.add(&line(&number, twin, &reason));
            summary.add(&line(&number, bad, &format!("its word `{number}` is none")));
        }
        assert_eq!(summary.reasons.len(), 2);
        assert_eq!(summary.reasons[0].reason, "the same id stands in row 1");
        assert_eq!(summary.reasons[0].rows, 9);
        assert_eq!(summary.reasons[0].examples, ["1", "2", "3"]);
        assert_eq!(summary.left_over, 9);
    }

    #[test]
    fn no_input_makes_it_grow_without_bound_and_no_row_is_lost() {
        let mut summary = PlanSummary::default();
        for number in 0..5000_u64 {
            let word = format!("w{number}");
            let reason = "x".repeat(usize::try_from(number).unwrap_or_default());
            let mut one = line(&number, Verdict::Send, &reason);
            (one.action_type, one.requestor) = (Some(word.as_str()), Some(word.as_str()));
            summary.add(&one);
            one.verdict = Verdict::Settled(Outcome::Skipped);
            summary.add(&one);
        }
        assert!(summary.cells.len() <= MAX_CELLS + 2);
        assert!(summary.reasons.len() <= MAX_REASONS + 1);
        let counted: u64 = summary.cells().iter().map(|cell| cell.rows).sum();
        assert_eq!(counted, 10_000);
        let reasons: u64 = summary.reasons.iter().map(|reason| reason.rows).sum();
        assert_eq!(reasons, 5000);
        let named = summary.requestors.top().len() as u64;
        assert_eq!(named + summary.requestors.others(), 5000);
    }

    #[test]
    fn people_machines_and_times_are_those_of_what_is_sent() {
        let mut summary = PlanSummary::default();
        let at = |second| Timestamp::from_second(second).ok();
        for number in 1..=20_u64 {
            let machine = format!("ws-{}", number / 2);
            let mut one = line(&number, Verdict::Send, "");
            one.machine = Some(&machine);
            one.requestor = Some(if number < 4 { "b" } else { "a" });
            one.created_at = at(i64::try_from(number).unwrap());
            summary.add(&one);
            one.verdict = Verdict::Settled(Outcome::AlreadyFinal);
            one.requestor = Some("nobody");
            one.created_at = at(0);
            summary.add(&one);
        }
        assert_eq!(summary.machines, ["ws-0", "ws-1", "ws-2", "ws-3", "ws-4"]);
        assert_eq!(summary.requestors.top(), [("a", 17), ("b", 3)]);
        assert_eq!((summary.oldest, summary.newest), (at(1), at(20)));
    }
}
