//! Freed slots, shared between a quick process and one that is always a little late.

use std::collections::BTreeMap;

use super::*;

/// Milliseconds between two calls of a process, as the pacer would keep them.
const PACE: i64 = 20;

/// Milliseconds that a call takes.
const LATENCY: i64 = 60;

/// Asks for slots whenever it may, plus a lateness in milliseconds.
struct Asker {
    store: Store,
    lateness: fn(i64) -> i64,
    next: i64,
    sent: Vec<i64>,
}

impl Asker {
    /// The process id decides which random numbers it draws.
    fn new(dir: &Path, id: u128, from: i64, lateness: fn(i64) -> i64) -> Self {
        let process = Process {
            id: Uuid::from_u128(id),
            ..process("boot")
        };
        Self {
            store: Store::open(dir, process, at(0)).unwrap(),
            lateness,
            next: from,
            sent: Vec::new(),
        }
    }

    fn ask(&mut self, key: ScopeKey, allowed: &Arc<Windows>) -> Option<CallId> {
        let now = self.next;
        let (next, call) = match take(&self.store, read_take(key, allowed, at(now))) {
            SlotAnswer::Go(call) => {
                self.sent.push(now);
                (now + PACE, Some(call))
            }
            SlotAnswer::InProgress(_) => panic!("only reads are made"),
            SlotAnswer::NotBefore(until) | SlotAnswer::CoolingDown(until) => {
                // Rounded up to whole milliseconds.
                (until.as_nanos().div_euclid(1_000_000) + 1, None)
            }
        };
        self.next = (next + (self.lateness)(now)).max(now + 1);
        call
    }
}

/// Lets the askers ask until `end`; replies are read when they are due.
fn play(askers: &mut [Asker], allowed: &Arc<Windows>, end: i64) {
    let key = scope(&askers[0].store);
    let mut replies: BTreeMap<(i64, usize), (usize, CallId)> = BTreeMap::new();
    let mut count = 0;
    loop {
        let (nth, now) = askers
            .iter()
            .map(|asker| asker.next)
            .enumerate()
            .min_by_key(|&(_, next)| next)
            .unwrap();
        if now >= end {
            return;
        }
        while let Some(reply) = replies.first_entry()
            && reply.key().0 <= now
        {
            let due = reply.key().0;
            let (owner, call) = reply.remove();
            block_on(askers[owner].store.write(vec![ended(call, at(due))])).unwrap();
        }
        if let Some(call) = askers[nth].ask(key, allowed) {
            count += 1;
            replies.insert((now + LATENCY, count), (nth, call));
        }
    }
}

fn eager(_: i64) -> i64 {
    0
}

fn late(now: i64) -> i64 {
    2 + (now * 7_919) % 9
}

fn after(asker: &Asker, from: i64) -> usize {
    asker.sent.iter().filter(|&&sent| sent > from).count()
}

#[test]
fn a_late_process_gets_its_share_of_freed_slots_and_few_are_wasted() {
    let allowed = windows(&["100/6s"]);
    // Six windows. The first goes to the eager asker before the other starts.
    let end = 6 * 6_100;
    let dir = folder_in_memory();
    let mut alone = [Asker::new(dir.path(), 1, 0, eager)];
    play(&mut alone, &allowed, end);
    let first = 6_000;
    let possible = after(&alone[0], first);
    let mut shares = [0, 0];
    for pair in 0..10 {
        let dir = folder_in_memory();
        let mut both = [
            Asker::new(dir.path(), 1 + 2 * pair, 0, eager),
            Asker::new(dir.path(), 2 + 2 * pair, 3_000, late),
        ];
        play(&mut both, &allowed, end);
        let freed = [after(&both[0], first), after(&both[1], first)];
        shares[0] += freed[0];
        shares[1] += freed[1];
    }
    let freed = shares[0] + shares[1];
    assert!(shares[1] * 4 >= freed, "{shares:?}");
    assert!(freed * 100 >= possible * 10 * 99, "{freed} of {possible}");
}

#[test]
fn a_process_that_waits_alone_is_not_delayed() {
    let allowed = windows(&["5/1s"]);
    let dir = folder_in_memory();
    let mut askers = [Asker::new(dir.path(), 1, 0, eager)];
    // Open, but without requests.
    let _idle = open(dir.path());
    play(&mut askers, &allowed, 6_000);
    let sent = &askers[0].sent;
    for (nth, now) in sent.iter().enumerate().skip(5) {
        let free = sent[nth - 5] + LATENCY + 1_001;
        // One millisecond for rounding up.
        assert!(*now <= free + 1, "call {nth} at {now}, free at {free}");
    }
    assert!(sent.len() >= 25);
}
