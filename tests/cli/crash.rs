//! The real binary, killed at random moments of a run against a service that fails in many ways, and resumed until it
//! is done. The service's own log and final state judge the report.
//!
//! `CRASH_KILLS=320 cargo test crash -- --nocapture` kills more often and prints the numbers.
#![expect(
    clippy::print_stdout,
    reason = "the figures are for people who want to see them"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mde_cancel::model::{ActionId, Outcome, RowContext};
use mde_cancel::quota::Windows;
use mde_cancel::sandbox::{CallEnd, CallKind, Faults, Generator, Latency, LoggedCall, Sandbox};
use mde_cancel::store::Reader;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{Place, Told, assert_agrees, most_in_any, nth_id};

const ACTIONS: usize = 300;

/// Actions of a second run on the same scope, which is never killed and finds the first run's dead processes.
const OTHERS: usize = 120;

/// Invalid rows before each good one, so that reading the input takes a while.
const BAD_ROWS: usize = 20;

/// Kills of one run at most, and of the whole suite where nobody asks for more.
const KILLS: usize = 20;

/// The longest life of a process in milliseconds, including its start and reading. `CRASH_LONGEST` replaces it, for slow
/// starts under wine.
const LONGEST: u64 = 900;

const CONCURRENCY: usize = 16;

/// Both the flags and the service's own quota.
const WINDOWS: [&str; 2] = ["40/1s", "150/5s"];

/// How late a call of a killed process may arrive; far more than a local socket takes.
const GRACE: &str = "2s";

/// Faults of about one cancel in five.
const FAULTS: &str = "503@on=cancel,p=0.04;applied-reset@on=cancel,p=0.04;reset@on=cancel,p=0.02;\
    applied-502@on=cancel,p=0.03;500@on=cancel,p=0.03;applied-html@on=cancel,p=0.02;\
    broken-json@on=cancel,p=0.02;applied-hang@on=cancel,p=0.01;429-storm:1s@on=cancel,after=150,count=3";

const NO_READING: &str = ";403@on=get;403@on=list";

struct World {
    place: Place,
    windows: Windows,
    /// Whether the token may read records; if not, the run has no precheck.
    reads: bool,
}

impl World {
    fn new(faults: &str) -> Self {
        let windows = Windows::new(WINDOWS.iter().map(|text| text.parse().unwrap()).collect());
        let place = Place::with(|settings| {
            settings.quota = windows.clone();
            settings.latency =
                Latency::between(Duration::from_millis(5), Duration::from_millis(60));
            settings.faults = Faults::parse(faults).unwrap();
            settings.seed = 1;
        });
        // The run would look for a missing action again after half a minute.
        let generator = Generator {
            missing: 0,
            ..Generator::realistic(3)
        };
        let ids = (1..=ACTIONS + OTHERS).map(|number| (nth_id(number), RowContext::default()));
        place.sandbox().seed_from(ids, &generator);
        let rows = (1..=ACTIONS).map(|number| {
            let bad = (1..=BAD_ROWS).map(|bad| format!("row {number}.{bad} holds no id\n"));
            format!("{}{}\n", bad.collect::<String>(), nth_id(number))
        });
        let text = format!("id\n{}", rows.collect::<String>());
        place.write("ids.csv", text);
        let others = (1..=OTHERS).map(|number| format!("{}\n", nth_id(ACTIONS + number)));
        place.write("others.csv", format!("id\n{}", others.collect::<String>()));
        Self {
            place,
            windows,
            reads: !faults.contains(NO_READING),
        }
    }

    /// Starts the run of an input, or resumes it if the journal has one.
    fn start(&self, input: &str) -> Child {
        let place = &self.place;
        let mut command = if let Some(id) = run_id(&place.at("state"), input) {
            place.command(&format!("resume {id}"))
        } else {
            let mut command = place.command(&format!("run {input}"));
            command.args((!self.reads).then_some("--no-precheck"));
            command.args(flags());
            command
        };
        let told = std::fs::File::create(place.at(&format!("told-{input}.txt")));
        command
            .env_remove("MDE_CANCEL_READ_QUOTA")
            .args(["--yes", "--progress", "never"])
            .args(["--report", &format!("report-{input}")])
            .stdout(Stdio::null())
            .stderr(told.unwrap());
        command.spawn().unwrap()
    }

    /// Returns the stderr of an input's last process.
    fn told(&self, input: &str) -> String {
        self.place.read(&format!("told-{input}.txt"))
    }
}

fn flags() -> Vec<String> {
    let mut flags: Vec<String> = WINDOWS
        .iter()
        .flat_map(|window| {
            [
                format!("--quota={window}"),
                format!("--read-quota={window}"),
            ]
        })
        .collect();
    flags.extend([
        format!("--timeout-grace={GRACE}"),
        format!("--concurrency={CONCURRENCY}"),
        "--rate=none".to_owned(),
        "--timeout=2s".to_owned(),
    ]);
    flags
}

fn run_id(state: &Path, input: &str) -> Option<String> {
    let runs = Reader::open(state).ok()?.runs().ok()?;
    let of_input = runs.iter().find(|run| run.begun.inputs.contains(input))?;
    Some(of_input.begun.id.to_string())
}

/// Kills a process after `span`, unless it ends earlier; then returns its status.
fn kill_after(mut child: Child, span: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + span;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        std::thread::park_timeout(left.min(Duration::from_millis(2)));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// The requested number of kills, the first seed, and the longest life of a process.
struct Asked {
    kills: usize,
    seed: u64,
    longest: u64,
}

impl Asked {
    fn new(seed: u64) -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let kills = number("CRASH_KILLS").map_or(KILLS, |kills| usize::try_from(kills).unwrap());
        Self {
            // Two tests share them.
            kills: kills.div_ceil(2),
            seed: number("CRASH_SEED").map_or(seed, |start| start + seed),
            longest: number("CRASH_LONGEST").unwrap_or(LONGEST),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Company {
    Alone,
    Another,
}

/// Kills as many processes as requested, in as many worlds as that takes, lets each run end, and judges it.
fn kill_and_resume(faults: &str, company: Company, seed: u64, judge: impl Fn(&Told)) {
    let asked = Asked::new(seed);
    let mut kills = 0;
    for seed in asked.seed.. {
        if kills >= asked.kills {
            break;
        }
        let world = World::new(faults);
        let most = (asked.kills - kills).min(KILLS);
        let other = (company == Company::Another).then(|| world.start("others.csv"));
        let repeats = crash_and_resume(&world, seed, most, asked.longest);
        kills += repeats.len() - 1;
        let mut told = report(&world, "ids.csv");
        assert_eq!(told.len(), ACTIONS);
        if let Some(mut other) = other {
            let status = other.wait().unwrap();
            assert!(
                matches!(status.code(), Some(0 | 3)),
                "{}",
                world.told("others.csv")
            );
            told.extend(report(&world, "others.csv"));
            assert_eq!(told.len(), ACTIONS + OTHERS);
        }
        assert_agrees(world.place.sandbox(), &told);
        assert_quotas_kept(world.place.sandbox(), &world.windows);
        // A killed process's call may arrive after the next one has started, and then counts as that one's.
        let mut so_far = 0;
        for (nth, count) in repeats.iter().enumerate() {
            so_far += count;
            assert!(
                so_far <= CONCURRENCY * (nth + 1),
                "more cancels were repeated than were under way: {repeats:?}"
            );
        }
        told.iter().for_each(&judge);
    }
    println!("{kills} kills");
}

/// Kills at most `most` processes, then lets one run to the end. Returns how many cancels of each process a later one
/// repeated.
fn crash_and_resume(world: &World, seed: u64, most: usize, longest: u64) -> Vec<usize> {
    let mut dice = SmallRng::seed_from_u64(seed);
    let began = Instant::now();
    let mut starts = Vec::new();
    let status = loop {
        starts.push(began.elapsed());
        let mut child = world.start("ids.csv");
        if starts.len() > most {
            break child.wait().unwrap();
        }
        let span = Duration::from_millis(dice.random_range(0..longest));
        if let Some(status) = kill_after(child, span) {
            break status;
        }
    };
    assert!(
        matches!(status.code(), Some(0 | 3)),
        "seed {seed}, process {}: {status:?} {}",
        starts.len(),
        world.told("ids.csv")
    );
    let repeats = repeated(&world.place.sandbox().log(), &starts);
    println!(
        "seed {seed}: {} kills in {:.1} s, {} calls, cancels repeated: {repeats:?}",
        starts.len() - 1,
        began.elapsed().as_secs_f64(),
        world.place.sandbox().log().len()
    );
    repeats
}

/// Reads a report. Asserts that each row of the input is in it once.
fn report(world: &World, input: &str) -> Vec<Told> {
    let path = world.place.at(&format!("report-{input}"));
    let mut reader = csv::Reader::from_path(path).unwrap();
    let mut told = Vec::new();
    let mut lines = BTreeSet::new();
    for row in reader.records().map(Result::unwrap) {
        assert!(
            lines.insert(row[16].to_owned()),
            "{} stands twice",
            &row[16]
        );
        let outcome = Outcome::parse(&row[1]).unwrap();
        if let Ok(id) = ActionId::parse(&row[0]) {
            told.push(Told {
                id,
                outcome,
                attempts: row[8].parse().unwrap(),
                reason: row[2].to_owned(),
            });
        } else {
            assert_eq!(outcome, Outcome::Invalid, "{row:?}");
        }
    }
    let given = world.place.read(input);
    assert_eq!(lines.len(), given.lines().count() - 1);
    let ids: BTreeSet<_> = told.iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), told.len(), "an id stands twice");
    assert!(ids.iter().all(|id| given.contains(&id.to_string())));
    told
}

#[test]
fn a_run_killed_at_random_moments_loses_no_row_and_keeps_the_quota() {
    kill_and_resume(FAULTS, Company::Another, 11, |row| {
        let is_open = matches!(row.outcome, Outcome::NotAttempted | Outcome::Unknown);
        assert!(!is_open, "{row:?}");
    });
}

#[test]
fn the_same_where_no_record_may_be_read() {
    let faults = format!("{FAULTS}{NO_READING}");
    kill_and_resume(&faults, Company::Alone, 5_012, |row| {
        assert_ne!(row.outcome, Outcome::NotAttempted, "{row:?}");
    });
}

/// Asserts that no kind of call exceeded a window, by the service's timestamps.
fn assert_quotas_kept(sandbox: &Sandbox, windows: &Windows) {
    let log = sandbox.log();
    for kind in [CallKind::Cancel, CallKind::Get, CallKind::List] {
        let of_kind = log.iter().filter(|call| call.kind == kind);
        let mut arrivals: Vec<_> = of_kind.map(|call| call.since_start).collect();
        arrivals.sort_unstable();
        for window in windows.as_slice() {
            let most = most_in_any(window.period, &arrivals);
            let allowed = window.limit.get() as usize;
            assert!(
                most <= allowed,
                "{most} calls of {kind:?} within {:?}",
                window.period
            );
        }
    }
    assert_eq!(sandbox.violations(), 0);
}

/// Returns, for each process that started at `starts`, how many of its successful cancels a later one repeated.
fn repeated(log: &[LoggedCall], starts: &[Duration]) -> Vec<usize> {
    let mut counts = vec![0; starts.len()];
    let mut last: BTreeMap<ActionId, &LoggedCall> = BTreeMap::new();
    for call in log.iter().filter(|call| call.kind == CallKind::Cancel) {
        for &id in &call.ids {
            let Some(before) = last.insert(id, call) else {
                continue;
            };
            let was_good = before.fault.is_none()
                && matches!(before.end, CallEnd::Answered | CallEnd::Abandoned);
            if was_good {
                let began = starts.partition_point(|start| *start <= before.since_start);
                counts[began.saturating_sub(1)] += 1;
            }
        }
    }
    counts
}
