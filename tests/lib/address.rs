//! What a wrong or silent address says, and what a page says that is not all there is.

use std::time::Duration;

use mde_cancel::engine::core::StopReason;
use mde_cancel::engine::{Precheck, SkipRules};
use mde_cancel::model::Outcome::{Cancelled, NotFound};
use mde_cancel::model::{ActionStatus, ActionType, MachineAction, ReadPage, ReplyKind};

use crate::support::{History, Simulation, always, reply};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A world whose calls take a while; states are read first.
fn world(rows: u32) -> Simulation {
    let mut world = Simulation::of(rows);
    world.latency = always(Duration::from_millis(100));
    world.read_latency = always(Duration::from_millis(100));
    world.rules = SkipRules {
        precheck: Precheck::ReadFirst,
        ..SkipRules::default()
    };
    world
}

/// The same without states.
fn blind(rows: u32) -> Simulation {
    let mut world = world(rows);
    world.rules = SkipRules::default();
    world
}

fn calls(history: &History) -> usize {
    history.posts.len() + history.reads.len()
}

#[test]
fn a_host_that_does_not_exist_stops_the_run_at_once_and_is_named() {
    let host = || "api.contoso.example".to_owned();
    let mut sending = blind(100);
    sending.cancel_answer = Box::new(move |_, _| Some(reply(ReplyKind::NoSuchHost(host()), None)));
    let mut reading = world(100);
    reading.read_answer = Box::new(move |_, _| Some(reply(ReplyKind::NoSuchHost(host()), None)));
    for history in [sending.run(), reading.run()] {
        let stop = StopReason::Unreachable(format!("the host name {} does not exist", host()));
        assert_eq!(history.stop, Some(stop));
        assert!(history.elapsed < secs(1), "{:?}", history.elapsed);
        assert!(history.outcomes.is_empty());
    }
}

#[test]
fn a_host_that_vanishes_in_mid_run_is_waited_for() {
    let mut world = blind(50);
    world.cancel_answer = Box::new(|_, now| {
        let host = "api.contoso.example".to_owned();
        (secs(1) < now && now < secs(600)).then(|| reply(ReplyKind::NoSuchHost(host), None))
    });
    world.pace = mde_cancel::quota::Pace::parse("10/s").unwrap();
    let history = world.run();
    assert_eq!(history.stop, None);
    assert_eq!(history.counts()[&Cancelled], 50);
}

#[test]
fn a_service_that_never_answers_is_given_up_a_minute_after_the_first_call() {
    let kinds: [ReplyKind<ReadPage>; 4] = [
        ReplyKind::TimedOut,
        ReplyKind::Broken("reset".to_owned()),
        ReplyKind::NeverLeft("refused".to_owned()),
        ReplyKind::Redirected,
    ];
    for kind in kinds {
        let mut world = world(100);
        // A call that hangs lasts 30 s, and one that is refused no time.
        world.read_latency = always(secs(if kind == ReplyKind::TimedOut { 30 } else { 0 }));
        let answer = kind.clone();
        world.read_answer = Box::new(move |_, _| Some(reply(answer.clone(), None)));
        let history = world.run();
        let stop = &history.stop;
        assert!(matches!(stop, Some(StopReason::Unreachable(_))), "{stop:?}");
        let lasted = history.elapsed.as_secs();
        assert!((60..=63).contains(&lasted), "{kind:?}: {lasted} s");
    }
}

#[test]
fn an_outage_of_half_a_minute_at_the_start_is_waited_out() {
    let mut world = blind(20);
    world.cancel_answer = Box::new(|_, now| {
        (now < secs(35)).then(|| reply(ReplyKind::NeverLeft("refused".to_owned()), None))
    });
    let history = world.run();
    assert_eq!(
        (history.stop.clone(), history.counts()[&Cancelled]),
        (None, 20)
    );
}

#[test]
fn five_404s_that_are_not_the_services_own_stop_the_run_and_name_the_address() {
    let address = "https://api.contoso.example/wrong/api/machineactions";
    let mut sending = blind(100);
    sending.cancel_answer = Box::new(move |_, _| {
        Some(reply(
            ReplyKind::NoSuchAddress(address.to_owned()),
            Some(404),
        ))
    });
    let mut reading = world(100);
    reading.read_answer = Box::new(move |_, _| {
        Some(reply(
            ReplyKind::NoSuchAddress(address.to_owned()),
            Some(404),
        ))
    });
    for history in [sending.run(), reading.run()] {
        assert_eq!(
            history.stop,
            Some(StopReason::NoSuchAddress(address.to_owned()))
        );
        assert!(history.outcomes.is_empty(), "{:?}", history.outcomes);
        assert!(calls(&history) <= 5 + 15, "{}", calls(&history));
    }
}

#[test]
fn such_404s_among_proper_answers_are_a_fault_of_the_way_and_cost_no_row() {
    let mut world = world(200);
    world.cancel_answer = Box::new(|_, now| {
        let address = "https://api.contoso.example/api/machineactions".to_owned();
        (secs(1) < now && now < secs(300))
            .then(|| reply(ReplyKind::NoSuchAddress(address), Some(404)))
    });
    let history = world.run();
    assert_eq!(
        (history.stop.clone(), history.counts()[&Cancelled]),
        (None, 200)
    );
}

/// Answers a read of ids with at most `bound` records; those of every 40th row do not exist.
fn pages(bound: usize, is_told: bool) -> Simulation {
    let mut world = world(400);
    world.state_of = Box::new(|row, _| (row.0 % 40 != 0).then_some(ActionStatus::Pending));
    world.read_answer = Box::new(move |ids, now| {
        // What was cancelled meanwhile is read nowhere here.
        let exists = |id: &&_| !crate::support::row_of(**id).0.is_multiple_of(40);
        let found = ids.iter().filter(exists).count();
        let records = ids
            .iter()
            .filter(exists)
            .take(bound)
            .map(|&id| MachineAction {
                status: Some(ActionStatus::Pending),
                action_type: Some(ActionType::Isolate),
                ..MachineAction::bare(id)
            });
        let mut page: ReadPage = records.collect();
        page.is_whole = !is_told || found <= bound;
        assert!(now < secs(24 * 3600), "it never ends");
        Some(reply(ReplyKind::Answer(page), Some(200)))
    });
    world
}

#[test]
fn a_page_that_ends_early_calls_no_action_unknown_whether_it_says_so_or_not() {
    for is_told in [true, false] {
        for bound in [1, 30, 99] {
            let history = pages(bound, is_told).run();
            assert_eq!(history.stop, None, "{bound} {is_told}");
            let counts = history.counts();
            assert_eq!(
                (counts[&Cancelled], counts[&NotFound]),
                (390, 10),
                "{bound} {is_told}"
            );
        }
    }
}

#[test]
fn an_answer_that_has_nothing_to_do_with_the_ids_is_followed_by_single_reads() {
    let mut world = world(20);
    world.read_answer = Box::new(|ids, _| {
        // As of a service that does not heed the filter.
        (ids.len() > 1).then(|| {
            let page = ReadPage {
                listed: ids.len(),
                ..ReadPage::from_iter([])
            };
            reply(ReplyKind::Answer(page), Some(200))
        })
    });
    let history = world.run();
    assert_eq!(history.counts()[&Cancelled], 20);
}

#[test]
fn two_words_that_an_action_is_unknown_are_half_a_minute_apart() {
    let mut world = world(1);
    world.state_of = Box::new(|_, _| None);
    let history = world.run();
    assert_eq!(history.counts()[&NotFound], 1);
    let [first, second] = history.reads[..] else {
        unreachable!("{:?}", history.reads)
    };
    assert!(second >= first + secs(30), "{:?}", history.reads);
}
