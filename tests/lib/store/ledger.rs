//! Slots: taken, released, shared between processes, and inherited from dead ones.

use std::sync::mpsc;
use std::thread;

use mde_cancel::quota::{Calls, SavedRate};

use super::*;

fn used(store: &Store, key: ScopeKey, allowed: &Arc<Windows>, now: Moment) -> u32 {
    let used = block_on(store.usage(key, Arc::clone(allowed), now)).unwrap();
    used.windows[0].taken
}

#[test]
fn slots_are_taken_until_the_window_is_full_and_come_back_one_hold_after_the_reply() {
    let (_dir, store, key) = opened_with_scope();
    let allowed = windows(&["3/1s"]);
    let calls: Vec<_> = (0..3)
        .map(|step| call(take(&store, read_take(key, &allowed, at(step)))))
        .collect();
    let full = take(&store, read_take(key, &allowed, at(10)));
    assert_eq!(full, SlotAnswer::NotBefore(at(1011).uptime));
    let ends = calls
        .iter()
        .zip([100, 200, 300])
        .map(|(&call, end)| ended(call, at(end)));
    block_on(store.write(ends.collect())).unwrap();
    let full = take(&store, read_take(key, &allowed, at(400)));
    assert_eq!(full, SlotAnswer::NotBefore(at(1101).uptime));
    call(take(&store, read_take(key, &allowed, at(1101))));
    let full = take(&store, read_take(key, &allowed, at(1101)));
    assert_eq!(full, SlotAnswer::NotBefore(at(1201).uptime));
}

#[test]
fn a_withdrawn_call_frees_its_slot_and_is_no_attempt() {
    let (_dir, store, key) = opened_with_scope();
    let run = run_of(&store, 1);
    let one = windows(&["1/1h"]);
    let wish = |number| SlotRequest {
        windows: Arc::clone(&one),
        ..cancel_take(key, (run, 1, number), at(5))
    };
    let load =
        || block_on(store.load_rows(run, LaneId(0), LoadFrom::After(RowNumber(0)), 10)).unwrap();
    let first = call(take(&store, wish(1)));
    let sent = load();
    assert_eq!((sent[0].attempts, sent[0].phase), (1, RowPhase::Sent));
    assert_eq!(sent[0].comment_sent.as_deref(), Some("stop"));
    assert!(matches!(take(&store, wish(2)), SlotAnswer::NotBefore(_)));
    block_on(store.write(vec![Record::Withdrawn { call: first }])).unwrap();
    let struck = load();
    assert_eq!((struck[0].attempts, struck[0].phase), (0, RowPhase::Fresh));
    assert_eq!(
        (struck[0].first_sent_at, struck[0].comment_sent.as_ref()),
        (None, None)
    );
    let second = call(take(&store, wish(1)));
    assert_ne!(second, first);
    assert_eq!(load()[0].first_sent_at, Some(at(5).wall));
}

#[test]
fn an_attempt_withdrawn_later_leaves_the_earlier_ones() {
    let (_dir, store, key) = opened_with_scope();
    let run = run_of(&store, 1);
    let first = call(take(&store, cancel_take(key, (run, 1, 1), at(5))));
    block_on(store.write(vec![replied(first, (run, 1, 1), RowPhase::Unknown)])).unwrap();
    let second = call(take(&store, cancel_take(key, (run, 1, 2), at(50))));
    block_on(store.write(vec![Record::Withdrawn { call: second }])).unwrap();
    let row = block_on(store.load_rows(run, LaneId(0), LoadFrom::After(RowNumber(0)), 10))
        .unwrap()
        .remove(0);
    assert_eq!((row.attempts, row.phase), (1, RowPhase::Unknown));
    assert_eq!(row.first_sent_at, Some(at(5).wall));
}

#[test]
fn a_refused_take_writes_nothing() {
    let (_dir, store, key) = opened_with_scope();
    let run = run_of(&store, 2);
    let one = windows(&["1/1h"]);
    let wish = |row| SlotRequest {
        windows: Arc::clone(&one),
        ..cancel_take(key, (run, row, 1), at(5))
    };
    call(take(&store, wish(1)));
    assert!(matches!(take(&store, wish(2)), SlotAnswer::NotBefore(_)));
    let rows =
        block_on(store.load_rows(run, LaneId(0), LoadFrom::After(RowNumber(1)), 10)).unwrap();
    assert_eq!((rows[0].attempts, rows[0].phase), (0, RowPhase::Fresh));
    assert_eq!(used(&store, key, &one, at(6)), 1);
}

#[test]
fn two_processes_on_one_folder_never_take_more_than_the_window_holds() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    let key = scope(&stores[0]);
    assert_eq!(scope(&stores[1]), key);
    let allowed = windows(&["60/1h"]);
    // Each caches the ledger, and must not trust a stale copy.
    for store in &stores {
        call(take(store, read_take(key, &allowed, at(0))));
    }
    let won: usize = thread::scope(|threads| {
        let hands: Vec<_> = stores
            .iter()
            .chain(&stores)
            .map(|store| {
                let allowed = &allowed;
                threads.spawn(move || {
                    (0..40)
                        .map(|step| take(store, read_take(key, allowed, at(step))))
                        .filter(|taken| matches!(taken, SlotAnswer::Go(_)))
                        .count()
                })
            })
            .collect();
        hands.into_iter().map(|hand| hand.join().unwrap()).sum()
    });
    assert_eq!(won, 58);
    assert_eq!(used(&stores[0], key, &allowed, at(50)), 60);
}

#[test]
fn the_calls_of_a_dead_process_end_now_and_a_grace_when_somebody_opens_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let one = windows(&["1/1s"]);
    let dying = open_failing_at(dir.path(), 3);
    let key = scope(&dying);
    call(take(&dying, read_take(key, &one, at(0))));
    scope_at(&dying, at(0)).unwrap_err();
    drop(dying);
    let store = Store::open(dir.path(), process("boot"), at(5_000)).unwrap();
    let free = at(5_000)
        .uptime
        .after(seconds(120))
        .after(Duration::from_millis(1001));
    let full = take(&store, read_take(key, &one, at(5_000)));
    assert_eq!(full, SlotAnswer::NotBefore(free));
    let again = take(&store, read_take(key, &one, at(60_000)));
    assert_eq!(again, SlotAnswer::NotBefore(free));
}

/// If another process was active a moment ago, the next request may be a little later.
fn assert_about(taken: SlotAnswer, free: Uptime) {
    let SlotAnswer::NotBefore(until) = taken else {
        panic!("{taken:?}");
    };
    assert!(until >= free && until.since(free) <= Duration::from_millis(20));
}

#[test]
fn a_waiting_process_ends_the_calls_of_one_that_dies_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let one = windows(&["1/1h"]);
    let dying = open_failing_at(dir.path(), 3);
    let store = open(dir.path());
    let key = scope(&dying);
    call(take(&dying, read_take(key, &one, at(0))));
    let wish = |millis| take(&store, read_take(key, &one, at(millis)));
    let hold = Duration::from_millis(3_603_600);
    assert_about(wish(2_000), at(2_000).uptime.after(hold));
    scope_at(&dying, at(0)).unwrap_err();
    drop(dying);
    // It checked for dead processes a moment ago.
    assert_about(wish(2_500), at(2_500).uptime.after(hold));
    let free = at(3_000).uptime.after(seconds(120)).after(hold);
    assert_about(wish(3_000), free);
    assert_eq!(wish(9_000), SlotAnswer::NotBefore(free));
}

#[test]
fn a_live_process_keeps_its_calls_in_flight_however_long_it_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let one = windows(&["1/1s"]);
    let silent = open(dir.path());
    let key = scope(&silent);
    let held = call(take(&silent, read_take(key, &one, at(0))));
    let store = open(dir.path());
    let late = at(3_600_000);
    let full = take(&store, read_take(key, &one, late));
    assert_eq!(
        full,
        SlotAnswer::NotBefore(late.uptime.after(Duration::from_millis(1001)))
    );
    block_on(silent.write(vec![ended(held, late)])).unwrap();
    call(take(&store, read_take(key, &one, at(3_601_001))));
}

#[test]
fn calls_of_another_boot_count_by_wall_clock() {
    let dir = tempfile::tempdir().unwrap();
    let one = windows(&["1/1h"]);
    let before = open(dir.path());
    let key = scope(&before);
    let spent = call(take(&before, read_take(key, &one, at(0))));
    block_on(before.write(vec![ended(spent, at(1_000))])).unwrap();
    drop(before);
    // The machine rebooted: little uptime, and 20 minutes later by the wall clock.
    let now = Moment {
        uptime: Uptime::from_nanos(9_000_000_000),
        wall: at(1_201_000).wall,
    };
    let store = Store::open(dir.path(), process("next boot"), now).unwrap();
    let free = now
        .uptime
        .after(Duration::from_millis(3_603_600))
        .before(seconds(1_200));
    let full = take(&store, read_take(key, &one, now));
    assert_eq!(full, SlotAnswer::NotBefore(free));
}

#[test]
fn a_stamp_from_the_future_is_rewritten_to_now_once() {
    let dir = tempfile::tempdir().unwrap();
    let one = windows(&["1/1m"]);
    let before = open(dir.path());
    let key = scope(&before);
    let spent = call(take(&before, read_take(key, &one, at(0))));
    block_on(before.write(vec![ended(spent, at(86_400_000))])).unwrap();
    drop(before);
    // The clock was a day ahead and was set back.
    let hold = Duration::from_millis(60_060);
    let ask = |millis: i64| {
        let now = at(millis);
        let store = Store::open(dir.path(), process("next boot"), now).unwrap();
        take(&store, read_take(key, &one, now))
    };
    assert_eq!(
        ask(1_000),
        SlotAnswer::NotBefore(at(1_000).uptime.after(hold))
    );
    assert_eq!(
        ask(30_000),
        SlotAnswer::NotBefore(at(1_000).uptime.after(hold))
    );
    call(ask(61_060));
}

#[test]
fn a_cooldown_only_moves_later_and_outlives_the_process_and_the_boot() {
    let dir = tempfile::tempdir().unwrap();
    let free = windows(&["100/1m"]);
    let store = open(dir.path());
    let key = scope(&store);
    let cool = |millis| Record::Cooldown {
        scope: key,
        until: at(millis).uptime,
        wall: at(millis).wall,
        cause: "429".to_owned(),
    };
    block_on(store.write(vec![cool(50_000)])).unwrap();
    block_on(store.write(vec![cool(20_000)])).unwrap();
    let refused = SlotAnswer::CoolingDown(at(50_000).uptime);
    assert_eq!(take(&store, read_take(key, &free, at(100))), refused);
    let other = open(dir.path());
    assert_eq!(take(&other, read_take(key, &free, at(100))), refused);
    drop(store);
    drop(other);
    let now = Moment {
        uptime: Uptime::from_nanos(1_000_000_000),
        wall: at(40_000).wall,
    };
    let rebooted = Store::open(dir.path(), process("next boot"), now).unwrap();
    let name = block_on(rebooted.scopes()).unwrap().remove(0).1;
    let known = block_on(rebooted.scope(&name, now)).unwrap();
    let cooldown = known.cooldown.unwrap();
    assert_eq!(cooldown.until, now.uptime.after(seconds(10)));
    assert_eq!(cooldown.cause, "429");
    let later = now.after(seconds(10));
    call(take(&rebooted, read_take(key, &free, later)));
    assert_eq!(
        block_on(rebooted.scope(&name, later)).unwrap().cooldown,
        None
    );
}

/// A limit that the service named.
fn named(scope: ScopeKey, window: &str, millis: i64) -> Record {
    Record::Limit {
        scope,
        window: window.parse().unwrap(),
        at: at(millis).wall,
    }
}

#[test]
fn allowances_that_the_service_named_are_kept_and_a_later_word_replaces_an_earlier_one() {
    let (dir, store, key) = opened_with_scope();
    let said = ["40/1m", "7/333ms", "45/1m"].map(|window| named(key, window, 0));
    block_on(store.write(said.to_vec())).unwrap();
    drop(store);
    let store = open(dir.path());
    let used = block_on(store.usage(key, Arc::new(Windows::documented()), at(0))).unwrap();
    assert_eq!(used.scope.adopted, *windows(&["7/333ms", "45/1m"]));
    assert_eq!((used.windows[0].taken, used.calls), (0, Calls::new()));
    let nobody = block_on(store.write(vec![named(ScopeKey(99), "1/1m", 0)])).unwrap_err();
    assert!(matches!(nobody, StoreError::Unknown { what: "scope", .. }));
}

#[test]
fn an_allowance_that_the_service_named_counts_for_a_day_from_its_last_confirmation() {
    const HOUR: i64 = 3_600_000;
    let (_dir, store, key) = opened_with_scope();
    block_on(store.write(vec![named(key, "45/1m", 0), named(key, "400/1h", 0)])).unwrap();
    block_on(store.write(vec![named(key, "45/1m", 20 * HOUR)])).unwrap();
    let name = block_on(store.scopes()).unwrap().remove(0).1;
    let kept = |millis| block_on(store.scope(&name, at(millis))).unwrap().adopted;
    assert_eq!(kept(24 * HOUR - 1), *windows(&["45/1m", "400/1h"]));
    assert_eq!(kept(24 * HOUR), *windows(&["45/1m"]));
    assert_eq!(kept(44 * HOUR - 1), *windows(&["45/1m"]));
    assert_eq!(kept(44 * HOUR), Windows::none());
    // An expired limit doesn't come back when the clock is set back.
    assert_eq!(kept(21 * HOUR), Windows::none());
}

#[test]
fn a_confirmation_from_the_future_counts_as_one_of_now() {
    const HOUR: i64 = 3_600_000;
    let (_dir, store, key) = opened_with_scope();
    block_on(store.write(vec![named(key, "45/1m", 1_000 * HOUR)])).unwrap();
    let name = block_on(store.scopes()).unwrap().remove(0).1;
    let kept = |millis| block_on(store.scope(&name, at(millis))).unwrap().adopted;
    assert_eq!(kept(0), *windows(&["45/1m"]));
    assert_eq!(kept(24 * HOUR), Windows::none());
}

#[test]
fn a_learned_pace_is_kept_for_a_day_until_it_is_lifted() {
    const HOUR: i64 = 3_600_000;
    let (dir, store, key) = opened_with_scope();
    let name = block_on(store.scopes()).unwrap().remove(0).1;
    let pace = SavedRate {
        window: "100/1m".parse().unwrap(),
        share: 712,
        patience: 8,
    };
    let record = |pace| Record::Pace {
        scope: key,
        pace,
        at: at(0).wall,
    };
    block_on(store.write(vec![record(Some(pace))])).unwrap();
    drop(store);
    let store = open(dir.path());
    let kept = |millis| block_on(store.scope(&name, at(millis))).unwrap().pace;
    assert_eq!(kept(24 * HOUR - 1), Some(pace));
    assert_eq!(kept(24 * HOUR), None);
    // A clock that was set back doesn't keep it forever.
    assert_eq!(kept(-24 * HOUR), None);
    assert_eq!(kept(-HOUR), Some(pace));
    block_on(store.write(vec![record(None)])).unwrap();
    assert_eq!(kept(0), None);
    let text = "UPDATE scopes SET pace = '5 1 - x'";
    let file = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    file.execute_batch(text).unwrap();
    assert_eq!(kept(0), None);
}

#[test]
fn calls_are_forgotten_after_25_hours_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let day = windows(&["5/24h"]);
    let store = open(dir.path());
    let key = scope(&store);
    let spent = call(take(&store, read_take(key, &day, at(0))));
    block_on(store.write(vec![ended(spent, at(0))])).unwrap();
    let count = || -> i64 {
        rusqlite::Connection::open(dir.path().join("state.db"))
            .unwrap()
            .query_row("SELECT count(*) FROM calls", [], |row| row.get(0))
            .unwrap()
    };
    let hour = 3_600_000;
    call(take(&store, read_take(key, &day, at(24 * hour))));
    assert_eq!(count(), 2);
    call(take(&store, read_take(key, &day, at(25 * hour + 1_000))));
    assert_eq!(count(), 2);
    assert_eq!(used(&store, key, &day, at(25 * hour + 2_000)), 2);
}

#[test]
fn a_busy_file_delays_an_attempt_and_does_not_fail_it() {
    let (dir, store, key) = opened_with_scope();
    let free = windows(&["100/1m"]);
    let other = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let (answer, answered) = mpsc::channel();
    let pending = store.take(read_take(key, &free, at(0)));
    thread::scope(|threads| {
        threads.spawn(|| answer.send(block_on(pending)).unwrap());
        // Longer than SQLite's busy timeout, so that the writer had to retry. It must not have answered.
        let early = answered.recv_timeout(Duration::from_millis(700));
        assert!(early.is_err(), "{early:?}");
        other.execute_batch("COMMIT").unwrap();
        call(answered.recv().unwrap().unwrap());
    });
}

#[test]
fn figures_are_read_while_another_process_writes() {
    let (dir, store, key) = opened_with_scope();
    let minute = windows(&["3/1m"]);
    call(take(&store, read_take(key, &minute, at(0))));
    let other = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (answer, answered) = mpsc::channel();
    let pending = store.usage(key, minute, at(1));
    thread::scope(|threads| {
        threads.spawn(|| answer.send(block_on(pending)).unwrap());
        let used = answered.recv_timeout(seconds(30));
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(used.unwrap().unwrap().windows[0].taken, 1);
    });
}

#[test]
fn a_slot_whose_caller_is_gone_is_released_and_its_attempt_undone() {
    let (_dir, store, key) = opened_with_scope();
    let run = run_of(&store, 2);
    let minute = windows(&["3/1m"]);
    let wish = |row| SlotRequest {
        windows: Arc::clone(&minute),
        ..cancel_take(key, (run, row, 1), at(10))
    };
    // One caller goes away before the writer reaches its request, the other once the answer is there.
    drop(store.take(wish(1)));
    let answered = store.take(wish(2));
    block_on(store.write(Vec::new())).unwrap();
    drop(answered);
    for _ in 0..2 {
        block_on(store.write(Vec::new())).unwrap();
    }
    let used = block_on(store.usage(key, Arc::clone(&minute), at(20))).unwrap();
    assert_eq!(used.windows[0].taken, 0);
    let rows = store.load_rows(run, LaneId(0), LoadFrom::After(RowNumber(0)), 10);
    let rows = block_on(rows).unwrap();
    assert!(rows.iter().all(|row| row.attempts == 0), "{rows:?}");
}
