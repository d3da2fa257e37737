//! What every row and every call costs: reading, the quota rule on full windows, commits of the ledger and the journal,
//! and the core; also a preview's forecast.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that meets the unexpected should stop there"
)]

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use futures::executor::block_on;
use futures::future::try_join_all;
use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use mde_cancel::engine::core::{
    CommentRule, Core, CoreSettings, Effect, Event, GateSettings, LaneSettings,
};
use mde_cancel::input::{Input, InputFormat, InputSettings, open};
use mde_cancel::model::{
    ActionId, ActionStatus, BootId, Destination, LaneId, MachineAction, Moment, Operation, Reply,
    ReplyKind, Request, RowContext, RowNumber, RunId, Scope, Source, Uptime,
};
use mde_cancel::quota::{Calls, Decision, Windows, decide, forecast, milestones};
use mde_cancel::retry::RetrySettings;
use mde_cancel::store::{
    AttemptReply, CallId, InputProgress, LoadFrom, NewRow, NewRun, Process, QueuedRow, Record,
    RowPhase, RunKey, ScopeKey, SlotAnswer, SlotPurpose, SlotRequest, Store,
};

/// Calls that the documented hour allows.
const HOUR: i64 = 1500;

/// Rows read, or sent through the core, in one iteration.
const ROWS: u32 = 10_000;

fn main() {
    divan::main();
}

fn at(millis: i64) -> Uptime {
    Uptime::from_nanos(millis * 1_000_000)
}

/// A used-up hour: 1500 calls, one every two seconds.
fn full_hour() -> Calls {
    let mut calls = Calls::new();
    (0..HOUR).for_each(|call| calls.record_end(at(2000 * call)));
    calls
}

#[divan::bench]
fn decide_on_a_full_hour(bencher: Bencher<'_, '_>) {
    let calls = full_hour();
    let windows = Windows::documented();
    let now = at(2000 * HOUR);
    assert_ne!(decide(now, &windows, &calls), Decision::SlotRequest);
    bencher.bench_local(|| decide(black_box(now), &windows, &calls));
}

#[divan::bench]
fn send_and_end_on_a_full_hour(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(full_hour).bench_local_refs(|calls| {
        calls.send();
        calls.end(black_box(at(2000 * HOUR)));
    });
}

#[divan::bench]
fn end_amid_the_others(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(full_hour)
        .bench_local_refs(|calls| calls.record_end(black_box(at(1000 * HOUR))));
}

#[divan::bench]
fn prune_half_an_hour(bencher: Bencher<'_, '_>) {
    let hold = Windows::documented().longest_hold();
    let now = at(1000 * HOUR).after(hold);
    bencher
        .with_inputs(full_hour)
        .bench_local_refs(|calls| calls.prune(black_box(now), hold));
}

#[divan::bench(args = [10_000, 100_000])]
fn forecast_from_a_full_hour(bencher: Bencher<'_, '_>, remaining: u64) {
    let calls = full_hour();
    let windows = Windows::documented();
    let now = at(2000 * HOUR);
    let round_trip = Duration::from_millis(100);
    bencher.bench_local(|| {
        forecast(
            now,
            &windows,
            None,
            &calls,
            black_box(remaining),
            round_trip,
        )
    });
}

#[divan::bench(args = [10_000])]
fn milestones_from_empty(bencher: Bencher<'_, '_>, remaining: u64) {
    let calls = Calls::new();
    let windows = Windows::documented();
    let round_trip = Duration::from_millis(100);
    bencher.bench_local(|| {
        let found = milestones(
            at(0),
            &windows,
            None,
            &calls,
            black_box(remaining),
            round_trip,
        );
        found.last().unwrap().at
    });
}

fn moment(millis: i64) -> Moment {
    Moment {
        uptime: at(millis),
        wall: Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap(),
    }
}

fn id_of(row: u32) -> ActionId {
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&row.to_be_bytes());
    ActionId::from_bytes(bytes).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Written {
    Csv,
    Tsv,
    CsvUtf16,
    Jsonl,
    Json,
    Lines,
}

impl Written {
    const ALL: [Self; 6] = [
        Self::Csv,
        Self::Tsv,
        Self::CsvUtf16,
        Self::Jsonl,
        Self::Json,
        Self::Lines,
    ];

    fn format(self) -> InputFormat {
        match self {
            Self::Csv | Self::CsvUtf16 => InputFormat::Csv,
            Self::Tsv => InputFormat::Tsv,
            Self::Jsonl => InputFormat::Jsonl,
            Self::Json => InputFormat::Json,
            Self::Lines => InputFormat::Lines,
        }
    }

    fn row(self, row: u32) -> String {
        let id = id_of(row);
        match self {
            Self::Csv | Self::CsvUtf16 => format!("{id},Isolate,ws-{row:05}.corp.example\n"),
            Self::Tsv => format!("{id}\tIsolate\tws-{row:05}.corp.example\n"),
            Self::Jsonl | Self::Json => format!(
                r#"{{"id":"{id}","type":"Isolate","computerDnsName":"ws-{row:05}.corp.example"}}"#
            ),
            Self::Lines => format!("{id}\n"),
        }
    }

    fn text(self) -> String {
        let rows: Vec<_> = (1..=ROWS).map(|row| self.row(row)).collect();
        match self {
            Self::Csv | Self::CsvUtf16 => format!("id,type,computerDnsName\n{}", rows.concat()),
            Self::Tsv => format!("id\ttype\tcomputerDnsName\n{}", rows.concat()),
            Self::Jsonl => rows.join("\n"),
            Self::Json => format!("[{}]", rows.join(",")),
            Self::Lines => rows.concat(),
        }
    }

    fn bytes(self) -> Vec<u8> {
        let text = self.text();
        match self {
            Self::CsvUtf16 => std::iter::once(0xFEFF)
                .chain(text.encode_utf16())
                .flat_map(u16::to_le_bytes)
                .collect(),
            _ => text.into_bytes(),
        }
    }
}

#[divan::bench(args = Written::ALL)]
fn read_rows(bencher: Bencher<'_, '_>, written: Written) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("input");
    std::fs::write(&path, written.bytes()).unwrap();
    let settings = InputSettings {
        format: written.format(),
        checkpoints: true,
        ..InputSettings::default()
    };
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut inputs = open(&[Input::File(path.clone())], &settings).unwrap();
        let mut sound = 0;
        let read = inputs[0].read(&mut |chunk| {
            sound += chunk.rows.iter().filter(|row| row.id.is_ok()).count();
            ControlFlow::Continue(())
        });
        read.unwrap();
        assert_eq!(sound, ROWS as usize);
    });
}

/// A store with one run, and what its calls need.
struct Desk {
    store: Store,
    run: RunKey,
    scope: ScopeKey,
    windows: Arc<Windows>,
    comment: Arc<str>,
    sent: Cell<u32>,
    // Last, so that the store closes before its folder is removed.
    _folder: TempDir,
}

impl Desk {
    /// Each row is sent many times, in turn.
    const ROWS: u32 = 1_000;

    fn open() -> Self {
        let folder = TempDir::new().unwrap();
        let process = Process {
            id: Uuid::new_v4(),
            pid: 1,
            host: "bench".to_owned(),
            boot: BootId::new("bench"),
        };
        let store = Store::open(folder.path(), process, moment(0)).unwrap();
        let run = block_on(store.create_run(new_run())).unwrap();
        let rows = (1..=Self::ROWS).map(new_row).collect();
        block_on(store.append_rows(run, rows, InputProgress::default())).unwrap();
        let scope = Scope {
            cloud: "bench".to_owned(),
            tenant: "-".to_owned(),
            app: "-".to_owned(),
            destination: Destination::Cancel,
        };
        let scope = block_on(store.scope(&scope, moment(0))).unwrap().key;
        Self {
            store,
            run,
            scope,
            windows: Arc::new(Windows::none()),
            comment: Arc::from("cancelled by a benchmark"),
            sent: Cell::new(0),
            _folder: folder,
        }
    }

    /// Takes this many slots at once, then writes as many replies at once.
    fn attempts(&self, outstanding: u32) {
        let first = self.sent.get();
        self.sent.set(first + outstanding);
        let attempts: Vec<_> = (first..first + outstanding)
            .map(|call| (RowNumber(call % Self::ROWS + 1), call / Self::ROWS + 1))
            .collect();
        let now = moment(i64::from(first));
        let asked = attempts.iter().map(|&(row, number)| {
            self.store.take(SlotRequest {
                scope: self.scope,
                windows: Arc::clone(&self.windows),
                now,
                purpose: SlotPurpose::Send {
                    run: self.run,
                    row,
                    number,
                    comment: Arc::clone(&self.comment),
                },
            })
        });
        let asked: Vec<_> = asked.collect();
        let taken = block_on(try_join_all(asked)).unwrap();
        let replies = attempts.iter().zip(taken).map(|(&(row, number), taken)| {
            let SlotAnswer::Go(call) = taken else {
                panic!("no window holds anything up");
            };
            let reply = AttemptReply {
                run: self.run,
                row,
                number,
                class: "answer".to_owned(),
                http_status: Some(200),
                error_code: None,
                correlation_id: None,
                phase: RowPhase::Again,
            };
            self.store.write(vec![Record::Replied {
                call,
                at: now,
                ended: now.uptime,
                row: Some(reply),
            }])
        });
        let replies: Vec<_> = replies.collect();
        block_on(try_join_all(replies)).unwrap();
    }
}

fn new_run() -> NewRun {
    NewRun {
        id: RunId::new(Uuid::from_u128(1)),
        created: moment(0).wall,
        settings: "{}".to_owned(),
        inputs: "[]".to_owned(),
        tenant: "-".to_owned(),
        app: "-".to_owned(),
        cloud: "bench".to_owned(),
        host: "bench".to_owned(),
        user: "bench".to_owned(),
        version: "0".to_owned(),
    }
}

fn new_row(number: u32) -> NewRow {
    NewRow {
        number: RowNumber(number),
        lane: LaneId(0),
        source: Source {
            file: Arc::from("bench.csv"),
            line: number.into(),
        },
        id: Ok(id_of(number)),
        context: RowContext::default(),
        settlement: None,
    }
}

/// One attempt's two commits, with this many attempts at once. The state is in the temporary folder, so a disk that
/// syncs is measured, too.
#[divan::bench(args = [1, 16, 64])]
fn journal_attempts(bencher: Bencher<'_, '_>, outstanding: u32) {
    let desk = Desk::open();
    bencher
        .counter(ItemsCount::new(outstanding))
        .bench_local(|| desk.attempts(black_box(outstanding)));
}

/// Input rows into the journal, a whole group of the writer at once.
#[divan::bench]
fn journal_rows(bencher: Bencher<'_, '_>) {
    let desk = Desk::open();
    let first = Cell::new(Desk::ROWS + 1);
    bencher
        .counter(ItemsCount::new(Desk::ROWS))
        .with_inputs(|| {
            let from = first.replace(first.get() + Desk::ROWS);
            (from..from + Desk::ROWS).map(new_row).collect()
        })
        .bench_local_values(|rows: Vec<NewRow>| {
            block_on(
                desk.store
                    .append_rows(desk.run, rows, InputProgress::default()),
            )
            .unwrap();
        });
}

fn core() -> Core {
    let gate = |scope, concurrency| GateSettings {
        scope: ScopeKey(scope),
        windows: Arc::new(Windows::none()),
        pace: None,
        concurrency,
        cooldown: None,
        learned: None,
    };
    let settings = CoreSettings {
        run: RunKey(1),
        operation: Operation::Cancel,
        retry: RetrySettings::default(),
        comment: CommentRule {
            always: None,
            otherwise: Arc::from("cancelled by a benchmark"),
        },
        rules: Arc::default(),
        verify_for: None,
        reach_timeout: Duration::from_secs(60),
        give_up_after: Duration::from_secs(5400),
        max_failures: None,
        seed: 7,
    };
    let lane = LaneSettings {
        send: gate(1, 64),
        get: gate(2, 2),
        list: gate(3, 2),
    };
    Core::new(settings, vec![lane])
}

fn queued(number: u32) -> QueuedRow {
    QueuedRow::fresh(RowNumber(number), id_of(number), RowContext::default())
}

/// Answers effects as a store that never waits and a service that cancels everything.
fn answer(effect: &Effect) -> Option<Event> {
    match *effect {
        Effect::Load {
            lane,
            from: LoadFrom::After(after),
            limit,
        } => {
            let last = ROWS.min(after.0 + u32::try_from(limit).unwrap());
            let rows = (after.0 + 1..=last).map(queued).collect();
            Some(Event::Loaded { lane, rows })
        }
        Effect::SlotRequest {
            lane, call_token, ..
        } => Some(Event::SlotAnswer {
            lane,
            call_token,
            taken: SlotAnswer::Go(CallId(0)),
        }),
        Effect::Post {
            lane,
            call_token,
            request: Request::Cancel(id),
            ..
        } => {
            let record = MachineAction {
                status: Some(ActionStatus::Cancelled),
                ..MachineAction::bare(id)
            };
            let reply = Reply {
                kind: ReplyKind::Answer(Some(record)),
                http_status: Some(200),
                error: None,
            };
            Some(Event::Replied {
                lane,
                call_token,
                reply,
            })
        }
        Effect::Token { lane, .. } => Some(Event::TokenReady {
            lane,
            expires_at: None,
        }),
        Effect::Load { .. }
        | Effect::Post { .. }
        | Effect::Read { .. }
        | Effect::ReadPage { .. } => {
            panic!("nothing is in doubt here")
        }
        Effect::Write { .. } | Effect::Tell { .. } | Effect::Respond { .. } => None,
    }
}

#[divan::bench]
fn rows_through_the_core(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(ROWS))
        .with_inputs(core)
        .bench_local_values(|mut core| {
            let appended = Event::Appended {
                lane: LaneId(0),
                last: RowNumber(ROWS),
                count: ROWS.into(),
                settled: std::collections::BTreeMap::new(),
            };
            let mut events = VecDeque::from([appended, Event::InputEnded]);
            while let Some(event) = events.pop_front() {
                events.extend(
                    core.step(moment(0), event)
                        .into_iter()
                        .filter_map(|effect| answer(&effect)),
                );
            }
            assert!(core.is_done());
            core
        });
}
