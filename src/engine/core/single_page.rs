//! Pages of the tenant's actions, requested from outside or by a large plan before it reads states.
//!
//! They pass the same gate and use the same token as reads of rows, and follow the same retry rules.

use std::collections::HashMap;

use crate::api::{ListQuery, MAX_TOP};
use crate::model::{
    ActionId, Destination, MachineAction, Moment, ReadPage, ReadReply, ReplyKind, RetryAfter,
    Uptime,
};
use crate::retry::{backoff, wait_of};

use super::event::{CallTicket, Effect, StopReason};
use super::lane::{InFlight, Lane};
use super::reasons;
use super::scope_gate::{GateWait, WaitCause};
use super::transition::RowEvent;

/// A plan of this many rows first reads one page of the tenant's open actions.
const MANY_ROWS: u64 = 1_000;

const OPEN: &str = "status eq 'Pending' or status eq 'InProgress'";

#[derive(Debug)]
pub(super) struct PageRequest {
    query: ListQuery,
    faults: u32,
    due: Uptime,
    call: Option<CallTicket>,
}

/// What a lane that sends nothing reads besides the records of rows.
#[derive(Debug, Default)]
pub(super) struct PageReads {
    /// At most one at a time.
    pub(super) request: Option<PageRequest>,
    /// The page for the requester, or the service's refusal.
    pub(super) response: Option<Result<ReadPage, String>>,
    /// The tenant's open actions, once a large plan has read them.
    open: Option<HashMap<ActionId, MachineAction>>,
}

impl PageReads {
    pub(super) fn is_read_by(&self, call: CallTicket) -> bool {
        let request = self.request.as_ref();
        request.is_some_and(|request| request.call == Some(call))
    }

    /// Lets the page wait for another call.
    pub(super) fn drop_call(&mut self, call: CallTicket) {
        if let Some(request) = &mut self.request {
            request.call.take_if(|under_way| *under_way == call);
        }
    }

    pub(super) fn query(&self) -> Option<ListQuery> {
        let request = self.request.as_ref();
        request.map(|request| request.query.clone())
    }
}

impl Lane {
    pub(super) fn request_page(&mut self, query: ListQuery) {
        self.pages.request = Some(PageRequest {
            query,
            faults: 0,
            due: Uptime::MIN,
            call: None,
        });
    }

    pub(super) fn dispatch_page(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let left = self.tally.rows - self.tally.settled();
        let is_wanted = left >= MANY_ROWS && self.settings.operation.plans_by_open_actions();
        if is_wanted && self.pages.open.is_none() && self.pages.request.is_none() {
            self.request_page(ListQuery {
                filter: Some(OPEN.to_owned()),
                top: MAX_TOP,
                skip: 0,
            });
        }
        let Some(request) = &self.pages.request else {
            return;
        };
        if request.call.is_some() {
            return;
        }
        if request.due > now.uptime {
            let until = Some(request.due);
            let cause = WaitCause::Retry;
            return self.note_wait(GateWait { until, cause });
        }
        if !self.has_permit() {
            return;
        }
        let generation = match self.gates.list.ask(now.uptime) {
            Ok(generation) => generation,
            Err(wait) => return self.note_read_wait(wait),
        };
        let call = self.new_call();
        if let Some(request) = &mut self.pages.request {
            request.call = Some(call);
        }
        self.ask_ledger(now, call, Destination::List, Vec::new(), generation, out);
    }

    pub(super) fn page_read(
        &mut self,
        now: Moment,
        flight: &InFlight,
        reply: ReadReply,
        is_current: bool,
    ) {
        if let Some(request) = &mut self.pages.request {
            request.call = None;
        }
        let what = reasons::of_reply(&reply);
        match reply.kind {
            ReplyKind::Answer(page) => {
                self.may_read = true;
                self.end_page(now, Ok(page));
            }
            ReplyKind::NotFound | ReplyKind::Refused => self.end_page(now, Err(what)),
            ReplyKind::Forbidden => self.stop(StopReason::ReadingForbidden(what)),
            ReplyKind::Throttled(throttle) => {
                self.throttled(now, flight.destination, throttle, is_current);
            }
            ReplyKind::Unauthorized => self.refused_token(flight, &what),
            ReplyKind::NotApplied(wait) | ReplyKind::ServerFault(wait) => {
                self.page_failed(now, wait);
            }
            ReplyKind::InvalidBody
            | ReplyKind::NoSuchAddress(_)
            | ReplyKind::Redirected
            | ReplyKind::TimedOut
            | ReplyKind::Broken(_)
            | ReplyKind::NotSent(_)
            | ReplyKind::NoSuchHost(_) => self.page_failed(now, None),
        }
    }

    fn end_page(&mut self, now: Moment, page: Result<ReadPage, String>) {
        self.pages.request = None;
        self.stop_rules.moved();
        if self.tally.rows == 0 {
            self.pages.response = Some(page);
            return;
        }
        // The service refuses this filter: read by ids alone.
        let open = page.map(|page| page.records).unwrap_or_default();
        let open = open.into_iter().map(|record| (record.id, record));
        self.pages.open = Some(open.collect());
        self.see_open(now);
    }

    /// Schedules a retry early enough for several more before the lane gives up.
    fn page_failed(&mut self, now: Moment, hint: Option<RetryAfter>) {
        let Some(request) = &mut self.pages.request else {
            return;
        };
        let retry = &self.settings.retry;
        request.faults = request.faults.saturating_add(1);
        let own = backoff(retry, request.faults, &mut self.rng);
        let asked = hint
            .map(|hint| wait_of(now, hint))
            .filter(|&wait| wait <= retry.hint_bound)
            .unwrap_or_default();
        let wait = own.min(self.settings.give_up_after / 12).max(asked);
        request.due = now.uptime.after(wait);
    }

    /// Settles prechecks with the tenant's open actions.
    pub(super) fn see_open(&mut self, now: Moment) {
        let Some(open) = &mut self.pages.open else {
            return;
        };
        let mut seen = Vec::new();
        for &number in &self.indexes.prechecks {
            let id = self.rows.get(&number).map(|row| row.id);
            seen.extend(id.and_then(|id| Some((number, open.remove(&id)?))));
        }
        for (number, record) in seen {
            self.found(now, number, RowEvent::Found(Box::new(record)));
        }
    }
}
