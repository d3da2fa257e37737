//! One tenant's share of a run: its rows, its gates and what it knows of its service.
//!
//! The state lives here; what happens on each kind of event stands in the files beside it: `send` (which call leaves
//! next), `cancel` (answers to cancels), `look` (answers to reads), `settle` (last words).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use crate::engine::rules::Precheck;
use crate::model::{ActionType, Destination, LaneId, Moment, Outcome, RowNumber, RunId, Uptime};
use crate::retry::RereadReason;
use crate::store::{CallId, LoadFrom, Phase, QueuedRow, Record};

use super::denied_types::TypeRecord;
use super::event::{CallToken, Effect, RunEvent, StopReason, Waiting};
use super::gate::{Gate, GateWait, WaitCause};
use super::page_request::PageReads;
use super::reasons;
use super::row::Row;
use super::run::Share;
use super::settings::{CoreSettings, LaneSettings, Tally};
use super::token::TokenExpiry;

/// Rows held ready in memory, so that the next one is there when a slot comes free; the rest stay in the journal.
pub(super) const LOOKAHEAD: usize = 256;

/// Ids in one batch read at most.
pub(super) const MAX_BATCH: usize = 100;

/// Rows in doubt or waiting for a retry that may be held at most; more are not loaded until some are settled.
const MOST_ROWS: usize = 20_000;

/// A lane is asked every second while its process is at work, and in a simulation after the longest pause of its rules.
/// What passes beyond that between two questions has passed without us: the machine slept, or the process was stopped.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// What a call that is under way is for.
#[derive(Debug)]
pub(super) enum CallKind {
    /// To cancel this row's action.
    Cancel(RowNumber),
    /// To look at these rows' records.
    Reread(Vec<RowNumber>),
    /// To read the page that is wanted.
    Page,
}

/// A call from the question to the ledger until its answer is judged.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) kind: CallKind,
    pub(super) destination: Destination,
    pub(super) call: Option<CallId>,
    pub(super) token: u32,
    /// Which generation of its gate's breaker it belongs to.
    pub(super) generation: u32,
}

/// What is known of the lane's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenState {
    Absent,
    Asked,
    Ready,
}

/// Whether records may be read with this token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Untried,
    Permitted,
    Forbidden,
}

/// What the journal was asked for.
#[derive(Debug)]
pub(super) enum Loading {
    /// The next rows; it is looked through up to this number.
    Through(RowNumber),
    /// Rows of a type in question.
    Sample(Option<ActionType>),
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and all combinations occur"
)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) settings: Arc<CoreSettings>,
    /// Whether cancels may be sent. Else states are read for a plan, and what would be sent is left in the journal.
    pub(super) is_armed: bool,
    pub(super) rng: SmallRng,
    pub(super) cancel: Gate,
    pub(super) get: Gate,
    pub(super) list: Gate,
    pub(super) rows: HashMap<RowNumber, Row>,
    pub(super) queue: Queue,
    /// Rows that wait until it is known whether their type is denied.
    pub(super) in_question: Vec<RowNumber>,
    /// Rows whose record must be looked at, by when.
    pub(super) rereads: BTreeSet<(Uptime, RowNumber)>,
    /// Rows whose record is to be read before they are sent, in input order.
    pub(super) unread: BTreeSet<RowNumber>,
    /// Since when there are any.
    pub(super) unread_since: Option<Uptime>,
    pub(super) has_read_a_batch: bool,
    /// Since when reads that left have brought no proper answer.
    pub(super) reads_since: Option<Uptime>,
    pub(super) reads_are_slow: bool,
    pub(super) pages: PageReads,
    pub(super) calls: HashMap<CallToken, InFlight>,
    next_ticket: u64,
    pub(super) token: TokenState,
    pub(super) expiry: TokenExpiry,
    /// Counts tokens, so that an old one's 401 is told from a new one's.
    pub(super) token_number: u32,
    /// Whether a token was refused and nothing good came since.
    pub(super) token_doubted: bool,
    pub(super) reading: Reading,
    /// Proper answers to calls of any kind.
    pub(super) proper_answers: u64,
    /// Proper answers to reads.
    pub(super) read_answers: u64,
    /// Proper answers to cancels.
    pub(super) cancel_answers: u64,
    /// Whether anything was ever heard from the service.
    pub(super) answered: bool,
    pub(super) first_call: Option<Uptime>,
    /// What kept the last call from being answered.
    pub(super) last_fault: String,
    /// 404s that are not the service's own, before any proper answer.
    pub(super) strange_404s: u32,
    appended: RowNumber,
    loaded: RowNumber,
    pub(super) loading: Option<Loading>,
    input_ended: bool,
    /// How often the journal was looked through before.
    pass: u32,
    /// Rows that were left for later in this pass because another run is working on them, by that run.
    in_progress: BTreeMap<RunId, u64>,
    /// Rows of unknown type that were left for later in this pass because every type is denied.
    pub(super) deferred_unknown: u64,
    /// The token with which a refresh after 403s ended.
    pub(super) refreshed_after_403: Option<u32>,
    pub(super) tally: Tally,
    pub(super) types: BTreeMap<Option<ActionType>, TypeRecord>,
    /// Rows that were not found while no action of the input ever was.
    pub(super) missing: u32,
    /// Rows that were sent and ended in any way.
    pub(super) ended: u64,
    pub(super) found_any: bool,
    /// The last refusal that could not be mended, and how often it came in a row.
    pub(super) refusal: (String, u32),
    /// At most so many ids in one batch read.
    pub(super) batch: usize,
    /// Pages of so many records are known to be given out.
    pub(super) known_page: usize,
    /// Batches of this size that were taken since the size was last changed.
    pub(super) good_batches: u32,
    /// Rows that were sent and ended badly.
    pub(super) failures: u64,
    stepped: Option<Uptime>,
    /// For how long no row has ended although calls could leave.
    stuck: Duration,
    pub(super) stop: Option<StopReason>,
    /// Since when nothing new leaves.
    pub(super) stopping_since: Option<Uptime>,
    pub(super) waiting: Option<Waiting>,
    pub(super) wake: Option<Uptime>,
    /// What it may open of all lanes' calls while it is its turn.
    pub(super) share: Share,
    /// Gathered while one event is handled, written as one transaction.
    pub(super) records: Vec<Record>,
    pub(super) tell: Vec<RunEvent>,
}

impl Lane {
    pub(super) fn new(id: LaneId, settings: Arc<CoreSettings>, lane: LaneSettings) -> Self {
        let rng = SmallRng::seed_from_u64(settings.seed.wrapping_add(u64::from(id.0)));
        Self {
            id,
            settings,
            is_armed: true,
            rng,
            cancel: Gate::new(lane.cancel),
            get: Gate::new(lane.get),
            list: Gate::new(lane.list),
            rows: HashMap::new(),
            queue: Queue::default(),
            in_question: Vec::new(),
            rereads: BTreeSet::new(),
            unread: BTreeSet::new(),
            unread_since: None,
            has_read_a_batch: false,
            reads_since: None,
            reads_are_slow: false,
            pages: PageReads::default(),
            calls: HashMap::new(),
            next_ticket: 0,
            token: TokenState::Absent,
            expiry: TokenExpiry::default(),
            token_number: 0,
            token_doubted: false,
            reading: Reading::Untried,
            proper_answers: 0,
            read_answers: 0,
            cancel_answers: 0,
            answered: false,
            first_call: None,
            last_fault: String::new(),
            strange_404s: 0,
            appended: RowNumber(0),
            loaded: RowNumber(0),
            loading: None,
            input_ended: false,
            pass: 0,
            in_progress: BTreeMap::new(),
            deferred_unknown: 0,
            refreshed_after_403: None,
            tally: Tally::default(),
            types: BTreeMap::new(),
            missing: 0,
            ended: 0,
            found_any: false,
            refusal: (String::new(), 0),
            batch: MAX_BATCH,
            known_page: 0,
            good_batches: 0,
            failures: 0,
            stepped: None,
            stuck: Duration::ZERO,
            stop: None,
            stopping_since: None,
            waiting: None,
            wake: None,
            share: Share::default(),
            records: Vec::new(),
            tell: Vec::new(),
        }
    }

    pub(super) fn appended(
        &mut self,
        last: RowNumber,
        count: u64,
        settled: &BTreeMap<Outcome, u64>,
    ) {
        // A plan without states has nothing to load.
        if self.is_armed || self.settings.rules.precheck == Precheck::ReadFirst {
            self.appended = self.appended.max(last);
        }
        self.tally.rows += count;
        for (&outcome, &count) in settled {
            self.tally.settle_many(outcome, count);
        }
    }

    pub(super) fn input_ended(&mut self) {
        self.input_ended = true;
    }

    pub(super) fn loaded(&mut self, now: Moment, queued: Vec<QueuedRow>) {
        match self.loading.take() {
            Some(Loading::Sample(action_type)) => {
                let numbers = queued.into_iter().filter_map(|row| {
                    let number = row.number;
                    let is_here = self.rows.contains_key(&number) || self.take_in(now, row);
                    (is_here && !self.is_under_way(number)).then_some(number)
                });
                let numbers = numbers.collect();
                self.sampled(&action_type, numbers);
            }
            Some(Loading::Through(through)) => {
                let last = queued.last().map_or(self.loaded, |row| row.number);
                self.loaded = if queued.len() < LOOKAHEAD {
                    // The journal may have grown between the question and the answer.
                    through.max(last)
                } else {
                    last
                };
                for row in queued {
                    if !self.rows.contains_key(&row.number) {
                        self.take_in(now, row);
                    }
                }
                self.see_open(now);
            }
            None => {}
        }
    }

    /// Takes a row into memory. Returns whether it is there; else it was left for later.
    fn take_in(&mut self, now: Moment, row: QueuedRow) -> bool {
        let (number, in_progress) = (row.number, row.in_progress);
        // What went out once goes out again, so that the record tells our cancel from others'.
        let comment = match &row.comment_sent {
            Some(sent) => Arc::from(sent.as_str()),
            None => self
                .settings
                .comment
                .for_row(row.context.comment.as_deref()),
        };
        let in_doubt = match row.phase {
            Phase::Unknown | Phase::Sent => Some(RereadReason::UnknownResult),
            Phase::Accepted => Some(RereadReason::Verify),
            Phase::Fresh | Phase::Again => None,
        };
        // A later pass comes after whatever else was at work on the action.
        let state_at = row
            .checked_at
            .filter(|&at| at <= now.wall && self.pass == 0)
            .map(|at| now.uptime_at(at));
        let mut row = Row::new(row, comment);
        row.reread = in_doubt;
        row.state_at = state_at;
        row.watch = self
            .settings
            .verify_for
            .map(|verify_for| (now.uptime.after(verify_for), 0));
        self.rows.insert(number, row);
        if !self.is_armed {
            return self.take_into_plan(now, number);
        }
        if let Some(run) = in_progress {
            self.defer_in_progress(number, run);
            return false;
        }
        if self.defer_if_denied(number) {
            return false;
        }
        if in_doubt.is_some() {
            self.rereads.insert((now.uptime, number));
        } else {
            self.admit(now, number);
        }
        true
    }

    /// Takes a row into a plan if its state is wanted. What was sent before is the run's to look at.
    fn take_into_plan(&mut self, now: Moment, number: RowNumber) -> bool {
        let row = self.rows.get(&number);
        let is_unsent = row.is_some_and(|row| row.attempts == 0 && row.reread.is_none());
        if is_unsent && self.needs_reading(now, number) {
            self.admit(now, number);
            true
        } else {
            self.leave_to_run(number);
            false
        }
    }

    /// Leaves a row of a plan in the journal, for the run to send or to read again.
    pub(super) fn leave_to_run(&mut self, number: RowNumber) {
        self.rows.remove(&number);
        self.unread.remove(&number);
        self.moved();
    }

    /// Leaves a row for later on whose action another run is working.
    pub(super) fn defer_in_progress(&mut self, number: RowNumber, run: RunId) {
        *self.in_progress.entry(run).or_default() += 1;
        self.defer(number, reasons::of_in_progress(run));
    }

    /// Leaves a row in the journal, unsettled: it is loaded again in a later pass, or by whoever resumes the run.
    pub(super) fn defer(&mut self, number: RowNumber, reason: String) {
        self.rows.remove(&number);
        self.unread.remove(&number);
        self.records.push(Record::Deferred {
            run: self.settings.run,
            row: number,
            reason,
        });
        self.moved();
        self.leaves_sample(number);
    }

    /// Asks the journal for more rows where few are left.
    pub(super) fn load_more(&mut self, out: &mut Vec<Effect>) {
        self.load_sample(out);
        if self.is_pass_due() {
            self.pass += 1;
            self.loaded = RowNumber(0);
            self.in_progress.clear();
            self.forget_denied();
        }
        if self.loading.is_none() && self.wants_more() {
            self.loading = Some(Loading::Through(self.appended));
            out.push(Effect::Load {
                lane: self.id,
                from: LoadFrom::After(self.loaded),
                limit: LOOKAHEAD,
            });
        }
    }

    /// Returns whether all else is done, and rows that were left for later are worth another look.
    fn is_pass_due(&self) -> bool {
        let is_worth_it =
            (self.pass == 0 && !self.in_progress.is_empty()) || self.may_send_deferred();
        is_worth_it && self.is_through()
    }

    /// Says which rows are left for later, and why.
    pub(super) fn say_deferred(&self) -> Option<String> {
        let runs = self.in_progress.iter();
        let mut parts: Vec<_> = runs
            .map(|(run, &count)| format!("{} in progress in run {run}", reasons::rows(count)))
            .collect();
        parts.extend(self.say_denied());
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Returns whether more rows are wanted from the journal, and it has any.
    fn wants_more(&self) -> bool {
        let ready = self.queue.fresh_len() + self.unread.len() + self.in_question.len();
        ready < LOOKAHEAD / 2 && self.may_load_more()
    }

    /// Returns whether the journal has more rows and there is room for them.
    pub(super) fn may_load_more(&self) -> bool {
        // A plan reads states once its input is whole, so that it reads as few pages as it can.
        let is_time = self.is_armed || self.input_ended;
        is_time && self.rows.len() < MOST_ROWS && self.loaded < self.appended
    }

    /// Returns whether rows are on their way from the journal.
    pub(super) fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// Returns whether nothing more is appended to the journal.
    pub(super) fn is_input_ended(&self) -> bool {
        self.input_ended
    }

    /// Returns whether no row is left, now or to come.
    pub(super) fn is_finished(&self) -> bool {
        self.is_through() && !self.is_pass_due()
    }

    /// Returns whether no row is left in this pass.
    fn is_through(&self) -> bool {
        self.input_ended
            && self.loaded >= self.appended
            && self.loading.is_none()
            && self.rows.is_empty()
            && self.calls.is_empty()
    }

    /// Returns whether a row's cancel is on the wire or at the ledger.
    pub(super) fn is_under_way(&self, number: RowNumber) -> bool {
        let mut calls = self.calls.values();
        calls.any(|flight| matches!(flight.kind, CallKind::Cancel(row) if row == number))
    }

    /// Returns whether no open row can still tell one row's faults from the service's: all have had their share.
    pub(super) fn nobody_else_can_tell(&self) -> bool {
        let bound = self.settings.retry.max_attempts as usize;
        self.queue.fresh_len() == 0
            && self.loaded >= self.appended
            && self.rows.values().all(|row| row.faults.len() >= bound)
    }

    /// Returns whether nothing is on the wire, at the ledger or on its way from the journal.
    pub(super) fn is_drained(&self) -> bool {
        self.calls.is_empty() && self.loading.is_none()
    }

    pub(super) fn gate(&mut self, destination: Destination) -> &mut Gate {
        match destination {
            Destination::Cancel => &mut self.cancel,
            Destination::Get => &mut self.get,
            Destination::List => &mut self.list,
        }
    }

    pub(super) fn new_ticket(&mut self) -> CallToken {
        self.next_ticket += 1;
        CallToken(self.next_ticket)
    }

    /// Writes down what one event led to.
    pub(super) fn flush(&mut self, out: &mut Vec<Effect>) {
        let records = std::mem::take(&mut self.records);
        let tell = std::mem::take(&mut self.tell);
        let lane = self.id;
        out.extend((self.pages.response.take()).map(|page| Effect::Respond { lane, page }));
        if records.is_empty() {
            out.extend(tell.into_iter().map(|event| Effect::Tell { lane, event }));
        } else {
            out.push(Effect::Write {
                lane,
                records,
                tell,
            });
        }
    }

    /// Remembers that something has to wait, so that the runner wakes us then.
    pub(super) fn note_wait(&mut self, wait: GateWait) {
        if let Some(until) = wait.until {
            self.wake_at(until);
            self.waiting.get_or_insert(Waiting {
                cause: wait.cause,
                until,
            });
        }
    }

    /// Sees to it that the runner wakes us at `at` at the latest.
    pub(super) fn wake_at(&mut self, at: Uptime) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Counts the time since the last step: nothing ended in it, and where the quota did not hold everything back, the
    /// lane is stuck for so much longer.
    pub(super) fn pass_time(&mut self, now: Uptime) {
        let passed = self
            .stepped
            .map_or(Duration::ZERO, |before| now.since(before))
            .min(LONGEST_STEP);
        self.stepped = Some(now);
        self.give_up_silence(now);
        let cause = self.waiting.map(|waiting| waiting.cause);
        let skipped = matches!(
            cause,
            Some(
                WaitCause::Window
                    | WaitCause::Cooldown
                    | WaitCause::Reads
                    | WaitCause::ReadCooldown
            )
        );
        let is_idle = self.rows.is_empty() && self.pages.request.is_none();
        if is_idle || (skipped && self.calls.is_empty()) {
            return;
        }
        self.stuck += passed;
        if self.stuck >= self.settings.give_up_after {
            let last = self.rows.values().map(|row| row.last_words.as_str());
            let last = last.chain([self.last_fault.as_str()]);
            let last = last
                .filter(|words| !words.is_empty())
                .max()
                .unwrap_or("nothing");
            let reason = format!(
                "nothing ended for {} s; last answer: {last}",
                self.stuck.as_secs()
            );
            self.stop(StopReason::GaveUp(reason));
        }
    }

    /// Stops the lane of a service of which nothing was ever heard.
    fn give_up_silence(&mut self, now: Uptime) {
        let waited = self.first_call.map(|first| now.since(first));
        if !self.answered && waited.is_some_and(|waited| waited >= self.settings.reach_timeout) {
            let what = if self.last_fault.is_empty() {
                "no answer in time".to_owned()
            } else {
                self.last_fault.clone()
            };
            self.stop(StopReason::Unreachable(what));
        }
    }

    /// Notes that a row ended.
    pub(super) fn moved(&mut self) {
        self.stuck = Duration::ZERO;
    }

    /// Stops the lane: nothing new leaves, what is on the wire is waited for.
    pub(super) fn stop(&mut self, reason: StopReason) {
        if self.stop.is_none() {
            self.tell.push(RunEvent::Stopping(reason.clone()));
            self.stop = Some(reason);
        }
    }
}

/// The rows of one lane that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Rows that had their turn and were refused a slot: they keep their place at the head.
    head: BTreeSet<RowNumber>,
    /// In input order, whatever the order in which their records were read.
    fresh: BTreeSet<RowNumber>,
    retries: BTreeSet<(Uptime, RowNumber)>,
}

impl Queue {
    pub(super) fn push_fresh(&mut self, row: RowNumber) {
        self.fresh.insert(row);
    }

    pub(super) fn push_head(&mut self, row: RowNumber) {
        self.head.insert(row);
    }

    pub(super) fn push_retry(&mut self, due: Uptime, row: RowNumber) {
        self.retries.insert((due, row));
    }

    /// Takes the next row out; a retry jumps ahead once it has been due for `patience`.
    pub(super) fn pop(&mut self, now: Uptime, patience: Duration) -> Option<RowNumber> {
        if let Some(row) = self.head.pop_first() {
            return Some(row);
        }
        let due = self.retries.first().map(|&(due, _)| due);
        if due.is_some_and(|due| due.after(patience) <= now) || self.fresh.is_empty() {
            return match due {
                Some(due) if due <= now => self.retries.pop_first().map(|(_, row)| row),
                _ => None,
            };
        }
        self.fresh.pop_first()
    }

    /// Returns when the next row may go: now, at the first retry's time, or never.
    pub(super) fn next_due(&self, now: Uptime) -> Option<Uptime> {
        if self.head.is_empty() && self.fresh.is_empty() {
            self.retries.first().map(|&(due, _)| due.max(now))
        } else {
            Some(now)
        }
    }

    /// Forgets the rows that are not kept.
    pub(super) fn retain(&mut self, is_kept: impl Fn(RowNumber) -> bool) {
        self.head.retain(|&row| is_kept(row));
        self.fresh.retain(|&row| is_kept(row));
        self.retries.retain(|&(_, row)| is_kept(row));
    }

    /// Returns how many fresh rows wait.
    pub(super) fn fresh_len(&self) -> usize {
        self.fresh.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Uptime {
        Uptime::from_nanos(seconds * 1_000_000_000)
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn input_order_holds_and_a_refused_row_keeps_its_place() {
        let mut queue = Queue::default();
        for number in 1..=3 {
            queue.push_fresh(RowNumber(number));
        }
        let first = queue.pop(at(0), PATIENCE).unwrap();
        let second = queue.pop(at(0), PATIENCE).unwrap();
        queue.push_head(second);
        queue.push_head(first);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(at(0), PATIENCE)).collect();
        assert_eq!(order, [1, 2, 3].map(RowNumber));
    }

    #[test]
    fn a_retry_goes_behind_fresh_rows_until_it_has_waited_long_enough() {
        let mut queue = Queue::default();
        queue.push_retry(at(10), RowNumber(1));
        for number in 2..=4 {
            queue.push_fresh(RowNumber(number));
        }
        assert_eq!(queue.pop(at(11), PATIENCE), Some(RowNumber(2)));
        assert_eq!(queue.pop(at(70), PATIENCE), Some(RowNumber(1)));
        assert_eq!(queue.pop(at(70), PATIENCE), Some(RowNumber(3)));
    }

    #[test]
    fn a_retry_that_is_not_due_waits_even_alone() {
        let mut queue = Queue::default();
        queue.push_retry(at(10), RowNumber(1));
        assert_eq!(queue.pop(at(9), PATIENCE), None);
        assert_eq!(queue.next_due(at(9)), Some(at(10)));
        assert_eq!(queue.pop(at(10), PATIENCE), Some(RowNumber(1)));
        assert_eq!(queue.next_due(at(10)), None);
    }
}
