//! Several lanes in one core: each stops alone, and all share one limit on calls in flight.

use std::time::Duration;

use mde_cancel::engine::core::StopReason;
use mde_cancel::model::{LaneId, Outcome, RowNumber};
use mde_cancel::quota::Windows;

use crate::support::{End, Fault, History, ProcessEnd, SignIn, Simulation, always, secs};

/// Rows per lane.
const EACH: u32 = 40;

fn lanes(count: u16) -> Simulation {
    let mut sim = Simulation::of(u32::from(count) * EACH);
    sim.lanes = count;
    sim.windows = Windows::none();
    sim.pace = None;
    sim.latency = always(Duration::from_millis(100));
    sim
}

/// Makes every sign-in to this lane fail.
fn refuse(sim: &mut Simulation, refused: u16) {
    sim.sign_in = Box::new(move |lane, _| match lane {
        LaneId(nth) if nth == refused => SignIn::Refused,
        _ => SignIn::Token(None),
    });
}

fn cancelled(history: &History, count: u16) -> Vec<usize> {
    let rows = |lane| {
        let of_lane = |row: &&RowNumber| (row.0 - 1) % u32::from(count) == u32::from(lane);
        history.outcomes.keys().filter(of_lane).count()
    };
    (0..count).map(rows).collect()
}

#[test]
fn a_lane_that_cannot_sign_in_and_one_whose_service_is_gone_stop_alone() {
    let mut sim = lanes(4);
    refuse(&mut sim, 1);
    sim.fault = Box::new(|lane, _, _| (lane == LaneId(2)).then_some(Fault::NoName));
    let history = sim.run();
    assert!(history.finished);
    assert_eq!(cancelled(&history, 4), [EACH as usize, 0, 0, EACH as usize]);
    assert!(
        matches!(
            history.stops[..],
            [
                (LaneId(1), StopReason::SignIn(_)),
                (LaneId(2), StopReason::Unreachable(_))
            ]
        ),
        "{:?}",
        history.stops
    );
    let tally = history.tally.of(Outcome::Cancelled);
    assert_eq!(tally, 2 * u64::from(EACH));
    // The others were through at once: the run waits for the one that may come back for a minute, and no longer.
    assert!(history.elapsed <= secs(61), "{:?}", history.elapsed);
}

#[test]
fn a_stop_stops_every_lane_and_the_gravest_reason_wins() {
    let mut sim = lanes(3);
    refuse(&mut sim, 1);
    sim.ends = vec![ProcessEnd {
        effects: 20,
        end: End::Stop,
        down: Duration::ZERO,
    }];
    let history = sim.run();
    assert!(history.finished);
    assert_eq!(history.stops.len(), 3, "{:?}", history.stops);
    assert!(
        matches!(history.stop, Some(StopReason::SignIn(_))),
        "{:?}",
        history.stop
    );
    assert!(history.outcomes.len() < 2 * EACH as usize);
}

#[test]
fn all_lanes_together_open_no_more_calls_than_their_bound_and_each_gets_its_turn() {
    let mut sim = lanes(10);
    sim.most_in_flight = 8;
    let history = sim.run();
    assert_eq!(history.most_open, 8);
    assert_eq!(cancelled(&history, 10), [EACH as usize; 10]);
    // No lane finishes before the others have settled half of their rows.
    let settled: Vec<Vec<Duration>> = (0..10)
        .map(|lane| {
            let mut rows: Vec<_> = (0..EACH)
                .map(|nth| history.settled_at[&RowNumber(1 + lane + 10 * nth)])
                .collect();
            rows.sort_unstable();
            rows
        })
        .collect();
    let first_through = settled.iter().filter_map(|rows| rows.last()).min().unwrap();
    for rows in &settled {
        assert!(rows[EACH as usize / 2] <= *first_through, "{settled:?}");
    }
}
