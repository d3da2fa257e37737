//! A plan's summary: counts, people, machines and reasons, collected row by row.
//!
//! Its size doesn't grow with the input. Counts by free text (type, requestor, reason) have a maximum number of keys;
//! everything beyond is counted together.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::{Hash as _, Hasher as _};

use jiff::Timestamp;
use ring::digest::{Context, SHA256};

use crate::input::is_skipped_by_earlier_report;
use crate::model::{
    ActionId, ActionType, Criterion, ExclusionList, ExclusionMatches, FollowUp, Mismatch,
    Operation, Outcome, ReportRow,
};
use crate::store::NewRow;

use super::core::reasons::MISSING_ONCE;
use super::skip_rules::{Precheck, is_excluded, is_unknown_type};

/// Separate lines in the table; real tenants have a few dozen.
const MAX_LINES: usize = 200;

/// Separate names in one count.
const MAX_NAMES: usize = 1000;

/// Machines, files or values named in one line of the table.
const EXAMPLES: usize = 3;

/// Distinct machines counted at most.
const MAX_MACHINES: usize = 100_000;

/// Starts the reason of an ended action whose effect on the machine has been undone since.
pub(super) const UNDONE_SINCE: &str = "released since";

/// What the plan does with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Send,
    Unread,
    /// Already settled; nothing is sent.
    Settled(Outcome),
}

impl Verdict {
    /// Returns what the plan does with a journaled row that the run may not have reached.
    pub fn of(row: &ReportRow) -> Self {
        match row.outcome {
            outcome if row.settled_at.is_some() => Self::Settled(outcome),
            // It is read again, but never sent again.
            Outcome::Accepted => Self::Settled(Outcome::Accepted),
            _ if row.reason == MISSING_ONCE => Self::Settled(Outcome::NotFound),
            _ => Self::Send,
        }
    }

    /// The word in the frozen plan.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Unread => "unread",
            Self::Settled(outcome) => outcome.as_str(),
        }
    }

    /// Returns whether somebody should check the row before anything is sent.
    pub fn needs_attention(self) -> bool {
        match self {
            Self::Send => false,
            Self::Unread => true,
            Self::Settled(outcome) => outcome.needs_attention(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row of a plan, for the summary.
#[derive(Clone, Copy)]
pub struct PlanLine<'row> {
    /// `None` if the row's id is invalid.
    pub id: Option<ActionId>,
    pub verdict: Verdict,
    /// Why it isn't sent. The text after `: ` is specific to the row.
    pub reason: &'row str,
    pub source: &'row dyn fmt::Display,
    pub tenant: Option<&'row str>,
    pub comment: Option<&'row str>,
    pub action_type: Option<&'row str>,
    /// Only if its record was read.
    pub status: Option<&'row str>,
    pub requestor: Option<&'row str>,
    pub request_source: Option<&'row str>,
    pub machine_id: Option<&'row str>,
    pub computer_dns_name: Option<&'row str>,
    pub created_at: Option<Timestamp>,
    pub follow_up: Option<FollowUp>,
    pub is_checked: bool,
}

impl<'row> PlanLine<'row> {
    pub fn of(row: &'row ReportRow) -> Self {
        Self {
            id: ActionId::parse(&row.action_id).ok(),
            verdict: Verdict::of(row),
            reason: &row.reason,
            source: &row.source,
            tenant: row.tenant.as_deref(),
            comment: row.comment.as_deref(),
            action_type: row.action_type.as_deref(),
            status: row.action_status.as_deref(),
            requestor: row.requestor.as_deref(),
            request_source: row.request_source.as_deref(),
            machine_id: row.machine_id.as_deref(),
            computer_dns_name: row.computer_dns_name.as_deref(),
            created_at: row.created_at,
            follow_up: row.follow_up.as_deref().and_then(FollowUp::parse),
            is_checked: row.checked_at.is_some(),
        }
    }
}

impl<'row> From<&'row NewRow> for PlanLine<'row> {
    /// For rows whose record wasn't read.
    fn from(row: &'row NewRow) -> Self {
        let (settled, told) = (row.settlement.as_ref(), &row.context);
        Self {
            id: row.id.as_ref().ok().copied(),
            verdict: settled.map_or(Verdict::Send, |it| Verdict::Settled(it.outcome)),
            reason: settled.map_or("", |it| &it.reason),
            source: &row.source,
            tenant: told.tenant.as_deref(),
            comment: told.comment.as_deref(),
            action_type: told.action_type.as_ref().map(ActionType::as_str),
            status: None,
            requestor: told.requestor.as_deref(),
            request_source: None,
            machine_id: told.machine_id.as_deref(),
            computer_dns_name: told.computer_dns_name.as_deref(),
            created_at: None,
            follow_up: None,
            is_checked: false,
        }
    }
}

impl PlanLine<'_> {
    fn machine(&self) -> Option<&str> {
        self.computer_dns_name.or(self.machine_id)
    }

    /// Returns whether the input asks to send the row, whatever is known of it now.
    fn is_named(&self) -> bool {
        match self.verdict {
            Verdict::Settled(Outcome::Invalid | Outcome::Duplicate) => false,
            Verdict::Settled(Outcome::Skipped) => {
                let mismatch = Mismatch::parse(self.reason);
                let is_elsewhere = mismatch.is_some_and(|it| it.criterion == Criterion::Tenant);
                !is_elsewhere && !is_skipped_by_earlier_report(self.reason)
            }
            Verdict::Send | Verdict::Unread | Verdict::Settled(_) => true,
        }
    }

    /// Splits the reason into the part shared with other rows and the row's own part.
    fn shared_reason(&self) -> (&str, Option<&str>) {
        let (shared, detail) = match self.reason.split_once(": ") {
            Some((shared, detail)) => (shared, Some(detail)),
            None => (self.reason, None),
        };
        match self.verdict {
            Verdict::Settled(Outcome::AlreadyFinal) if shared == UNDONE_SINCE => (shared, None),
            // Type and status say enough, and these reasons name times and people.
            Verdict::Send
            | Verdict::Settled(
                Outcome::Cancelled
                | Outcome::Accepted
                | Outcome::AlreadyCancelled
                | Outcome::AlreadyFinal
                | Outcome::TooLate,
            ) => ("", None),
            Verdict::Unread | Verdict::Settled(_) => (shared, detail),
        }
    }
}

/// Rows with the same verdict, type, status and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanCell {
    pub verdict: Verdict,
    /// Empty if unknown.
    pub action_type: String,
    /// Empty if unknown, and in a release.
    pub status: String,
    /// In a release, who isolated or restricted the machines.
    pub requestor: String,
    /// In a release, when: the oldest and the newest.
    pub created: Option<(Timestamp, Timestamp)>,
    /// What their reasons have in common; empty if there is none.
    pub reason: String,
    /// The first few different machines, values or positions in files.
    pub names: Vec<String>,
    /// Rows with other names.
    pub more: u64,
    pub follow_up: Option<FollowUp>,
    pub rows: u64,
}

impl PlanCell {
    fn name(&mut self, name: &str) {
        if self.names.iter().any(|known| known == name) {
            return;
        }
        if self.names.len() < EXAMPLES {
            self.names.push(name.to_owned());
        } else {
            self.more += 1;
        }
    }
}

/// Rows by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameCounts {
    counts: HashMap<String, u64>,
    /// Rows whose names came after the limit.
    others: u64,
}

impl NameCounts {
    pub(super) fn add(&mut self, name: &str, rows: u64) {
        if let Some(count) = self.counts.get_mut(name) {
            *count += rows;
        } else if self.counts.len() < MAX_NAMES {
            self.counts.insert(name.to_owned(), rows);
        } else {
            self.others += rows;
        }
    }

    /// Returns the names, most frequent first.
    pub fn top(&self) -> Vec<(&str, u64)> {
        let mut top: Vec<_> = self
            .counts
            .iter()
            .map(|(name, &count)| (name.as_str(), count))
            .collect();
        top.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        top
    }

    pub fn others(&self) -> u64 {
        self.others
    }
}

/// Machines: the first few names, and the number of all.
#[derive(Clone, Debug, Default)]
pub struct Machines {
    pub names: Vec<String>,
    seen: HashSet<u64>,
}

impl Machines {
    fn add(&mut self, name: &str) {
        let mut hasher = DefaultHasher::new();
        name.to_lowercase().hash(&mut hasher);
        if self.seen.len() < MAX_MACHINES
            && self.seen.insert(hasher.finish())
            && self.names.len() < EXAMPLES
        {
            self.names.push(name.to_owned());
        }
    }

    pub fn more(&self) -> u64 {
        (self.seen.len() - self.names.len()) as u64
    }
}

/// A plan's summary. People, machines and times are those of rows to send.
#[derive(Clone, Debug, Default)]
pub struct PlanSummary {
    pub rows: u64,
    pub send: u64,
    /// Rows to send whose type is known.
    pub types_known: u64,
    /// Rows to send whose record was read.
    pub checked: u64,
    /// Rows whose record couldn't be read.
    pub unread: u64,
    /// Rows not sent because one read didn't find them; a run reads them again.
    pub missing_once: u64,
    /// Rows that somebody should check first.
    pub left_over: u64,
    pub requestors: NameCounts,
    pub request_sources: NameCounts,
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
    pub machines: Machines,
    pub skips: Skips,
    pub exclusions: ExclusionMatches,
    hash: PlanHash,
    /// Hashes all rows that the input asks to send, if requested.
    named: Option<PlanHash>,
    operation: Operation,
    tenant: Option<String>,
    comment: Option<String>,
    /// In order of appearance. Similar rows usually follow each other, so `last_cell` is checked first.
    cells: Vec<PlanCell>,
    last_cell: usize,
}

impl PlanSummary {
    /// `tenant` is the run's only tenant, `None` if rows name theirs; `comment` overrides the rows' own.
    pub fn new(tenant: Option<String>, comment: Option<String>, exclude: ExclusionList) -> Self {
        Self {
            exclusions: ExclusionMatches::of(exclude),
            tenant,
            comment,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn of(self, operation: Operation) -> Self {
        Self {
            hash: PlanHash::of(operation.as_str()),
            operation,
            ..self
        }
    }

    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Also computes the id of the rows that the input asks to send.
    #[must_use]
    pub fn with_named_id(self) -> Self {
        Self {
            named: Some(PlanHash::default()),
            ..self
        }
    }

    pub fn add(&mut self, line: &PlanLine<'_>) {
        self.rows += 1;
        self.left_over += u64::from(line.verdict.needs_attention());
        self.exclusions
            .add(line.id, line.machine_id, line.computer_dns_name);
        self.count_cell(line);
        self.missing_once += u64::from(line.reason == MISSING_ONCE);
        self.hash_row(line);
        match line.verdict {
            Verdict::Send => self.add_sent(line),
            Verdict::Unread => self.unread += 1,
            Verdict::Settled(Outcome::Skipped) => self.skips.add(line.reason, 1),
            Verdict::Settled(_) => {}
        }
    }

    /// The id of the rows to send.
    pub fn id(&self) -> PlanId {
        self.hash.id()
    }

    /// The id of the rows that the input asks to send, whatever became of them.
    pub fn named_id(&self) -> Option<PlanId> {
        self.named.as_ref().map(PlanHash::id)
    }

    /// Returns whether the run can send only the approved plan or a part of it: either the input is that plan, or the
    /// rows left to send are. A row that one read missed may turn up in the next, so then only the input counts.
    pub fn is_within(&self, approved: PlanId) -> bool {
        let is_left = self.missing_once == 0 && self.id() == approved;
        is_left || self.named_id() == Some(approved)
    }

    /// Returns the lines of the table, rows to send first, then in alphabetical order.
    pub fn cells(&self) -> Vec<&PlanCell> {
        let mut cells: Vec<_> = self.cells.iter().collect();
        cells.sort_by(|one, other| {
            let key = |cell: &PlanCell| {
                let texts = [&cell.action_type, &cell.status, &cell.reason].map(String::clone);
                (cell.verdict, texts)
            };
            key(one).cmp(&key(other))
        });
        cells
    }

    /// Returns how many rows of each type to send, in the order of the types; an unknown type is empty.
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

    /// Returns rows by expected outcome; rows to send count as not attempted.
    pub fn outcomes(&self) -> BTreeMap<Outcome, u64> {
        let mut outcomes = BTreeMap::new();
        for cell in &self.cells {
            let outcome = match cell.verdict {
                Verdict::Settled(outcome) => outcome,
                Verdict::Send | Verdict::Unread => Outcome::NotAttempted,
            };
            *outcomes.entry(outcome).or_default() += cell.rows;
        }
        outcomes
    }

    /// Returns whether a machine needs manual action although nothing is sent to it.
    pub fn has_follow_ups(&self) -> bool {
        self.cells.iter().any(|cell| cell.follow_up.is_some())
    }

    fn hash_row(&mut self, line: &PlanLine<'_>) {
        let Some(id) = line.id else {
            return;
        };
        let tenant = self.tenant.as_deref().or(line.tenant).unwrap_or_default();
        let comment = self.comment.as_deref().or(line.comment).unwrap_or_default();
        if line.verdict == Verdict::Send {
            self.hash.add(tenant, id, comment);
        }
        if let Some(named) = &mut self.named
            && line.is_named()
        {
            named.add(tenant, id, comment);
        }
    }

    fn add_sent(&mut self, line: &PlanLine<'_>) {
        self.send += 1;
        self.types_known += u64::from(line.action_type.is_some());
        self.checked += u64::from(line.is_checked);
        if let Some(requestor) = line.requestor {
            self.requestors.add(requestor, 1);
        }
        if let Some(source) = line.request_source {
            self.request_sources.add(source, 1);
        }
        if let Some(created) = line.created_at {
            self.oldest = Some(self.oldest.map_or(created, |oldest| oldest.min(created)));
            self.newest = self.newest.max(Some(created));
        }
        if let Some(machine) = line.machine() {
            self.machines.add(machine);
        }
    }

    fn count_cell(&mut self, line: &PlanLine<'_>) {
        let is_release = self.operation == Operation::Release;
        let mut action_type = line.action_type.unwrap_or_default();
        let mut status = line.status.filter(|_| !is_release).unwrap_or_default();
        // Of a machine that was released, the record is the release's.
        let is_record_ours = line.verdict != Verdict::Settled(Outcome::AlreadyReleased);
        let (requestor, created) = if is_release && is_record_ours {
            (line.requestor.unwrap_or_default(), line.created_at)
        } else {
            ("", None)
        };
        let (mut reason, detail) = line.shared_reason();
        let is_it = |cell: &PlanCell, action_type: &str, status: &str, reason: &str| {
            cell.verdict == line.verdict
                && cell.action_type == action_type
                && cell.status == status
                && cell.requestor == requestor
                && cell.reason == reason
                && cell.follow_up == line.follow_up
        };
        let last = self.cells.get(self.last_cell);
        if !last.is_some_and(|cell| is_it(cell, action_type, status, reason)) {
            let find = |cells: &[PlanCell], action_type: &str, status: &str, reason: &str| {
                let mut cells = cells.iter();
                cells.position(|cell| is_it(cell, action_type, status, reason))
            };
            let mut found = find(&self.cells, action_type, status, reason);
            if found.is_none() && self.cells.len() >= MAX_LINES {
                (action_type, status, reason) = ("(others)", "", "");
                found = find(&self.cells, action_type, status, reason);
            }
            self.last_cell = found.unwrap_or_else(|| {
                self.cells.push(PlanCell {
                    verdict: line.verdict,
                    action_type: action_type.to_owned(),
                    status: status.to_owned(),
                    requestor: requestor.to_owned(),
                    created: None,
                    reason: reason.to_owned(),
                    names: Vec::new(),
                    more: 0,
                    follow_up: line.follow_up,
                    rows: 0,
                });
                self.cells.len() - 1
            });
        }
        let Some(cell) = self.cells.get_mut(self.last_cell) else {
            return;
        };
        cell.rows += 1;
        if let Some(at) = created {
            let (oldest, newest) = cell.created.unwrap_or((at, at));
            cell.created = Some((oldest.min(at), newest.max(at)));
        }
        match (line.verdict, detail) {
            _ if is_release => {
                if let Some(machine) = line.machine() {
                    cell.name(machine);
                }
            }
            (Verdict::Settled(Outcome::Skipped), Some(detail)) => cell.name(detail),
            // These are fixed in the file, so name the position.
            (Verdict::Settled(Outcome::Invalid | Outcome::Duplicate | Outcome::NotFound), _) => {
                cell.name(&line.source.to_string());
            }
            _ => {}
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skips {
    /// Rows not selected, by the value that didn't match.
    pub not_selected: BTreeMap<Criterion, NameCounts>,
    pub excluded: u64,
    unselected: u64,
    /// Rows settled by the input alone, whose record might have decided otherwise.
    by_word: u64,
}

impl Skips {
    pub fn add(&mut self, reason: &str, rows: u64) {
        if let Some(mismatch) = Mismatch::parse(reason) {
            self.unselected += rows;
            self.by_word += match mismatch.criterion {
                Criterion::Tenant => 0,
                _ => rows,
            };
            let values = self.not_selected.entry(mismatch.criterion).or_default();
            values.add(mismatch.value.as_deref().unwrap_or("none"), rows);
        }
        self.excluded += if is_excluded(reason) { rows } else { 0 };
        self.by_word += if is_unknown_type(reason) { rows } else { 0 };
    }

    /// Returns whether there were rows, but none belongs to the selection or the tenant.
    pub fn is_nothing_selected(&self, outcomes: &BTreeMap<Outcome, u64>) -> bool {
        let unjudged = [Outcome::Invalid, Outcome::Duplicate, Outcome::NotFound];
        let unjudged: u64 = unjudged
            .map(|outcome| count(outcomes, outcome))
            .iter()
            .sum();
        let rows: u64 = outcomes.values().sum();
        self.unselected > 0 && self.unselected + unjudged == rows
    }

    /// Returns whether the skipped rows need attention: every row was skipped, or the input alone settled rows whose
    /// records might have decided otherwise.
    pub fn leave_work(&self, outcomes: &BTreeMap<Outcome, u64>, precheck: Precheck) -> bool {
        let skipped = count(outcomes, Outcome::Skipped);
        let rows: u64 = outcomes.values().sum();
        let are_all = skipped > 0 && skipped + count(outcomes, Outcome::Duplicate) == rows;
        are_all || (precheck == Precheck::Skip && self.by_word > 0)
    }
}

fn count(outcomes: &BTreeMap<Outcome, u64>, outcome: Outcome) -> u64 {
    outcomes.get(&outcome).copied().unwrap_or_default()
}

/// 80 bits.
const BYTES: usize = 10;

/// Identifies the rows that a plan sends: `961c-2524-c3ed-07b1-4e02`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanId([u8; BYTES]);

impl PlanId {
    /// Parses an id with or without dashes, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().replace('-', "");
        let is_id = digits.len() == 2 * BYTES && digits.bytes().all(|it| it.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| is_id)?;
        let bytes = number.to_be_bytes();
        bytes.last_chunk().copied().map(Self)
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, pair) in self.0.chunks(2).enumerate() {
            let dash = if position == 0 { "" } else { "-" };
            write!(f, "{dash}{:02x}{:02x}", pair[0], pair[1])?;
        }
        Ok(())
    }
}

/// Hashes the rows of a plan in order.
#[derive(Clone)]
pub struct PlanHash(Context);

impl PlanHash {
    pub fn of(operation: &str) -> Self {
        let mut hash = Self(Context::new(&SHA256));
        hash.text(operation);
        hash
    }

    /// Adds a row to send. `comment` is the run's or the row's own.
    pub fn add(&mut self, tenant: &str, id: ActionId, comment: &str) {
        self.text(tenant);
        self.0.update(id.as_bytes());
        self.text(comment);
    }

    pub fn id(&self) -> PlanId {
        let hash = self.0.clone().finish();
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&hash.as_ref()[..BYTES]);
        PlanId(bytes)
    }

    /// The length comes first, so that no two lists of texts give the same bytes.
    fn text(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }
}

impl fmt::Debug for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlanHash({})", self.id())
    }
}

impl Default for PlanHash {
    fn default() -> Self {
        Self::of(Operation::Cancel.as_str())
    }
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
            tenant: None,
            comment: None,
            action_type: Some("Isolate"),
            status: Some("Pending"),
            requestor: None,
            request_source: None,
            machine_id: None,
            computer_dns_name: None,
            created_at: None,
            follow_up: None,
            is_checked: true,
        }
    }

    const SKIPPED: Verdict = Verdict::Settled(Outcome::Skipped);

    #[test]
    fn rows_are_counted_by_verdict_type_and_status_what_is_sent_first() {
        let mut summary = PlanSummary::default();
        for (number, verdict) in [
            (1, SKIPPED),
            (2, Verdict::Send),
            (3, SKIPPED),
            (4, Verdict::Send),
        ] {
            summary.add(&line(&number, verdict, ""));
        }
        let unknown = PlanLine {
            action_type: None,
            is_checked: false,
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
            (SKIPPED, "Isolate", 2),
        ];
        assert_eq!(cells, expected);
        assert_eq!(summary.types_sent(), [("", 1), ("Isolate", 2)]);
        let counts = (
            summary.rows,
            summary.send,
            summary.types_known,
            summary.checked,
        );
        assert_eq!(counts, (5, 3, 2, 2));
    }

    #[test]
    fn rows_of_one_reason_are_one_line_that_names_what_differs() {
        let mut summary = PlanSummary::default();
        for number in 1..=9_u64 {
            let excluded = format!("excluded by keep.txt: ws-{}", number / 2);
            summary.add(&line(&number, SKIPPED, &excluded));
            let duplicate = format!("same id as an earlier row: row {number}");
            summary.add(&line(
                &number,
                Verdict::Settled(Outcome::Duplicate),
                &duplicate,
            ));
        }
        let cells = summary.cells();
        let shown = |cell: &PlanCell| (cell.reason.clone(), cell.names.join(" "), cell.rows);
        assert_eq!(
            [shown(cells[0]), shown(cells[1])],
            [
                (
                    "excluded by keep.txt".to_owned(),
                    "ws-0 ws-1 ws-2".to_owned(),
                    9
                ),
                (
                    "same id as an earlier row".to_owned(),
                    "1 2 3".to_owned(),
                    9
                ),
            ]
        );
        assert_eq!(summary.skips.excluded, 9);
        assert_eq!(summary.outcomes()[&Outcome::Duplicate], 9);
    }

    #[test]
    fn no_input_makes_it_grow_without_bound_and_no_row_is_lost() {
        let mut summary = PlanSummary::default();
        for number in 0..5000_u64 {
            let word = format!("w{number}");
            let mut one = line(&number, Verdict::Send, "");
            (one.action_type, one.requestor) = (Some(word.as_str()), Some(word.as_str()));
            summary.add(&one);
            (one.verdict, one.reason) = (SKIPPED, &word);
            summary.add(&one);
        }
        assert!(summary.cells.len() <= MAX_LINES + 2);
        let counted: u64 = summary.cells().iter().map(|cell| cell.rows).sum();
        assert_eq!(counted, 10_000);
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
            one.computer_dns_name = Some(&machine);
            one.requestor = Some(if number < 4 { "b" } else { "a" });
            one.created_at = at(i64::try_from(number).unwrap());
            summary.add(&one);
            one.verdict = Verdict::Settled(Outcome::AlreadyFinal);
            one.requestor = Some("nobody");
            one.created_at = at(0);
            summary.add(&one);
        }
        assert_eq!(summary.machines.names, ["ws-0", "ws-1", "ws-2"]);
        assert_eq!(summary.machines.more(), 8);
        assert_eq!(summary.requestors.top(), [("a", 17), ("b", 3)]);
        assert_eq!((summary.oldest, summary.newest), (at(1), at(20)));
    }

    #[test]
    fn the_input_names_what_its_records_and_exclusions_settled_and_not_what_it_skips_itself() {
        let named = |verdict, reason: &str| {
            let mut summary = PlanSummary::default().with_named_id();
            summary.add(&line(&1, verdict, reason));
            summary.named_id() != PlanSummary::default().with_named_id().named_id()
        };
        for (verdict, reason, expected) in [
            (Verdict::Send, "", true),
            (Verdict::Unread, "", true),
            (Verdict::Settled(Outcome::AlreadyFinal), "", true),
            (Verdict::Settled(Outcome::NotFound), MISSING_ONCE, true),
            (SKIPPED, "excluded by keep.txt: ws-1", true),
            (SKIPPED, "type not selected: LiveResponse", true),
            (SKIPPED, "tenant not selected: fabrikam", false),
            (SKIPPED, "the plan says `skipped`: excluded", false),
            (SKIPPED, "was cancelled in run 1", false),
            (Verdict::Settled(Outcome::Duplicate), "", false),
            (Verdict::Settled(Outcome::Invalid), "", false),
        ] {
            assert_eq!(named(verdict, reason), expected, "{verdict} {reason}");
        }
    }

    #[test]
    fn the_id_takes_the_runs_tenant_and_comment_before_the_rows_own() {
        let id = |summary: &PlanSummary, tenant, comment| {
            let mut summary = summary.clone();
            let one = PlanLine {
                tenant,
                comment,
                ..line(&1, Verdict::Send, "")
            };
            summary.add(&one);
            summary.id()
        };
        let rows_own = PlanSummary::default();
        let text = |word: &str| Some(word.to_owned());
        let runs = PlanSummary::new(text("contoso"), text("CHG-1"), ExclusionList::default());
        assert_eq!(
            id(&rows_own, Some("contoso"), Some("CHG-1")),
            id(&runs, Some("fabrikam"), None)
        );
        assert_ne!(
            id(&rows_own, None, Some("a")),
            id(&rows_own, None, Some("b"))
        );
    }
}

#[cfg(test)]
mod skips_tests {
    use super::*;

    fn skips(reasons: &[(&str, u64)]) -> Skips {
        let mut skips = Skips::default();
        for &(reason, rows) in reasons {
            skips.add(reason, rows);
        }
        skips
    }

    #[test]
    fn nothing_is_selected_where_no_row_matches_that_could_be_judged() {
        let of_type = skips(&[("type not selected: LiveResponse", 3)]);
        let two = skips(&[
            ("type not selected: LiveResponse", 2),
            ("tenant not selected: fabrikam", 1),
        ]);
        let excluded = skips(&[("excluded by keep.txt: dc-01", 3)]);
        let three = [(Outcome::Skipped, 3)];
        for (skips, outcomes, expected) in [
            (&of_type, &three[..], true),
            (&two, &three[..], true),
            (&excluded, &three[..], false),
            (
                &of_type,
                &[
                    (Outcome::Skipped, 3),
                    (Outcome::Invalid, 1),
                    (Outcome::Duplicate, 2),
                    (Outcome::NotFound, 1),
                ],
                true,
            ),
            (
                &of_type,
                &[(Outcome::Skipped, 3), (Outcome::Cancelled, 1)],
                false,
            ),
            (&of_type, &[(Outcome::Skipped, 4)], false),
            (&Skips::default(), &[], false),
        ] {
            let outcomes = outcomes.iter().copied().collect();
            assert_eq!(
                skips.is_nothing_selected(&outcomes),
                expected,
                "{outcomes:?}"
            );
        }
        let values = two.not_selected[&Criterion::Tenant].top();
        assert_eq!(values, [("fabrikam", 1)]);
    }

    #[test]
    fn rows_that_a_word_of_the_input_skipped_leave_work() {
        let mixed = [(Outcome::Skipped, 1), (Outcome::Cancelled, 1)].into();
        for (reason, by_word) in [
            ("requestor not selected: soc-tools", true),
            (
                "type unknown, so it may be protected (--allow-protected unknown cancels it): x",
                true,
            ),
            (
                "protected type (--allow-protected Unisolate cancels it)",
                false,
            ),
            ("excluded by keep.txt: dc-01", false),
            ("tenant not selected: fabrikam", false),
        ] {
            let skips = skips(&[(reason, 1)]);
            assert_eq!(
                skips.leave_work(&mixed, Precheck::Skip),
                by_word,
                "{reason}"
            );
            assert!(!skips.leave_work(&mixed, Precheck::ReadFirst), "{reason}");
            let all = [(Outcome::Skipped, 1), (Outcome::Duplicate, 1)].into();
            assert!(skips.leave_work(&all, Precheck::ReadFirst), "{reason}");
        }
    }
}

#[cfg(test)]
mod plan_id_tests {
    use super::*;

    fn id_of(rows: &[(&str, u128, &str)]) -> String {
        let mut hash = PlanHash::default();
        for &(tenant, number, comment) in rows {
            let id = ActionId::from_bytes(number.to_be_bytes()).unwrap();
            hash.add(tenant, id, comment);
        }
        hash.id().to_string()
    }

    #[test]
    fn every_part_of_every_row_counts() {
        let base = id_of(&[("contoso", 1, "a"), ("contoso", 2, "b")]);
        for other in [
            &[("contoso", 1, "a")][..],
            &[("contoso", 2, "b"), ("contoso", 1, "a")],
            &[("contoso", 1, "a"), ("contoso", 2, "c")],
            &[("fabrikam", 1, "a"), ("contoso", 2, "b")],
            &[("contoso", 1, "ab"), ("contoso", 2, "")],
            &[("contoso", 1, "a"), ("contoso", 2, "b"), ("contoso", 3, "")],
        ] {
            assert_ne!(id_of(other), base, "{other:?}");
        }
        assert_ne!(PlanHash::of("release").id(), PlanHash::of("cancel").id());
    }

    #[test]
    fn it_reads_the_same_in_every_version_and_reads_back() {
        let text = id_of(&[("contoso", 1, ""), ("contoso", 2, "CHG-4711")]);
        insta::assert_snapshot!(text, @"dba2-e8ad-f0bf-b716-5b76");
        let id = PlanId::parse(&text);
        assert_eq!(id.unwrap().to_string(), text);
        assert_eq!(PlanId::parse(&text.replace('-', "").to_uppercase()), id);
        for bad in [
            "",
            "961c",
            "961c-2524-c3ed-07b1-4e0",
            "961c-2524-c3ed-07b1-4e021",
            "zzzz-2524-c3ed-07b1-4e02",
        ] {
            assert_eq!(PlanId::parse(bad), None, "{bad}");
        }
    }
}
