//! `quota`: what is used and left in each window, as this state folder saw it, and when a plan's cancels will have
//! left.
//!
//! Shows the limits of a scope's newest run, unless a flag sets others. It sends nothing, and creates no state folder.
//! It can't know what others used with the same app.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::args::{
    QuotaArgs, QuotaCommand, ScopeFilterArgs, TableFormat, all_windows, word_of,
};
use crate::cli::failure::Failure;
use crate::cli::format_time::{Count, Number, clock_time, local_zone, visible, window_name};
use crate::cli::journaled_config::RunConfig;
use crate::cli::settings::time_scale;
use crate::cli::table::Table;
use crate::cli::terminal::{OutputStyle, print};
use crate::clock::{Clock as _, SystemClock};
use crate::model::{Moment, SEVERAL, Scope, UNNAMED};
use crate::quota::{Calls, Pace, Usage, Window, Windows, milestones};
use crate::retry::RetrySettings;
use crate::store::{Record, RunRecord, Store, StoreError, state_file};

use super::prepared_run::open_store;
use super::sandbox::SANDBOX_CLOUD;

/// Prints the windows of each scope.
pub async fn quota(args: &QuotaArgs, state_dir: &Path, style: OutputStyle) -> Result<(), Failure> {
    let (scopes, now) = gather(args, state_dir).await?;
    let text = if args.command.is_some() {
        match scopes.iter().filter(|state| state.was_taught()).count() {
            0 => "nothing to forget: no limit, rate or pause of the service is kept\n".to_owned(),
            taught => format!(
                "forgotten: what the service's 429s taught of {}\n",
                Count::new(taught as u64, "scope")
            ),
        }
    } else {
        match args.format {
            TableFormat::Json => json(&scopes, now),
            TableFormat::Table => table(&scopes, now, &local_zone(), style.width),
        }
    };
    print(&text).map_err(Failure::of_output)
}

/// Reads the ledger of the state folder and, below it, that of its sandbox runs.
async fn gather(args: &QuotaArgs, state_dir: &Path) -> Result<(Vec<ScopeState>, Moment), Failure> {
    let clock = SystemClock::new();
    let grace = RetrySettings::default().timeout_grace;
    let folders = [state_dir.to_owned(), state_dir.join("sandbox")];
    let stores = folders
        .iter()
        .filter(|folder| state_file(folder).exists())
        .map(|folder| open_store(folder, grace, &clock))
        .collect::<Result<Vec<_>, _>>()?;
    // Read after opening, which may stamp calls of dead processes.
    let now = clock.now();
    let mut scopes = Vec::new();
    for store in &stores {
        scopes.extend(read(store, args, now).await?);
    }
    Ok((scopes, now))
}

/// A scope's state in the ledger.
struct ScopeState {
    scope: Scope,
    windows: Vec<Usage>,
    /// The end of a pause that the service asked for.
    pause_until: Option<Timestamp>,
    /// The even rate that 429s taught.
    learned: Option<Window>,
    /// Limits that the service named.
    named: Windows,
}

impl ScopeState {
    /// Returns whether an embedded sandbox did the counting, not the service.
    fn is_sandbox(&self) -> bool {
        self.scope.cloud == SANDBOX_CLOUD
    }

    /// Returns whether anything is stored that 429s taught.
    fn was_taught(&self) -> bool {
        self.pause_until.is_some() || self.learned.is_some() || !self.named.is_empty()
    }

    fn is_at_rest(&self) -> bool {
        self.pause_until.is_none() && self.windows.iter().all(|usage| usage.taken == 0)
    }
}

async fn read(store: &Store, args: &QuotaArgs, now: Moment) -> Result<Vec<ScopeState>, StoreError> {
    let shown = match &args.command {
        Some(QuotaCommand::Reset(scope)) => scope,
        None => &args.scope,
    };
    let mut states = Vec::new();
    let runs = store.reader()?.runs()?;
    let mut known = store.scopes().await?;
    known.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (key, scope) in known {
        if !is_shown(&scope, shown) {
            continue;
        }
        let record = store.scope(&scope, now).await?;
        let typed = if scope.destination.is_read() {
            &args.read_quota
        } else {
            &args.quota
        };
        let allowed = if typed.is_empty() {
            allowed_to_runs(&runs, &scope)
        } else {
            all_windows(typed)
        };
        let allowed = allowed.scaled_down(time_scale(scope.cloud == SANDBOX_CLOUD));
        let windows = lowered(&allowed, &record.adopted);
        let used = store.usage(key, Arc::new(windows), now).await?;
        let state = ScopeState {
            scope,
            windows: used.windows,
            pause_until: record.cooldown.map(|cooldown| cooldown.wall),
            learned: record.pace.map(|pace| pace.as_rate()),
            named: record.adopted,
        };
        if args.command.is_some() && state.was_taught() {
            store.write(vec![Record::ScopeReset { scope: key }]).await?;
        }
        // Each sandbox run has its own scopes, which don't matter once they are idle.
        if !state.is_sandbox() || !state.is_at_rest() {
            states.push(state);
        }
    }
    Ok(states)
}

/// Returns the limits of the newest run that used this scope, or the documented ones.
fn allowed_to_runs(runs: &[RunRecord], scope: &Scope) -> Windows {
    let is_send = !scope.destination.is_read();
    let may_be = |named: &str, is: &str| is == UNNAMED || named == SEVERAL || named == is;
    let of_scope = runs.iter().filter(|run| {
        let begun = &run.begun;
        may_be(&begun.cloud, &scope.cloud)
            && may_be(&begun.tenant, &scope.tenant)
            && may_be(&begun.app, &scope.app)
    });
    let newest = of_scope.max_by_key(|run| run.last_seen());
    let config = newest.and_then(|run| RunConfig::from_json(&run.begun.settings).ok());
    match config {
        Some(config) if is_send => config.quota,
        Some(config) => config.read_quota,
        None if is_send => Windows::documented(),
        None => Windows::half_of_documented(),
    }
}

/// Returns whether a scope matches everything typed. Scopes of opaque tokens may belong to any tenant and app.
fn is_shown(scope: &Scope, typed: &ScopeFilterArgs) -> bool {
    let agrees = |typed: Option<&str>, is: &str| {
        is == UNNAMED || typed.is_none_or(|typed| typed.eq_ignore_ascii_case(is))
    };
    agrees(typed.cloud.map(word_of).as_deref(), &scope.cloud)
        && agrees(typed.tenant_id.as_deref(), &scope.tenant)
        && agrees(typed.client_id.as_deref(), &scope.app)
}

/// Returns a run's limits, lowered to those that the service named.
pub(super) fn lowered(allowed: &Windows, named: &Windows) -> Windows {
    let mut windows = allowed.clone();
    for window in named.as_slice() {
        windows.adopt(window.limit, window.period);
    }
    windows
}

fn left(usage: &Usage) -> u32 {
    usage.window.limit.get().saturating_sub(usage.taken)
}

/// Returns when the last slot in use comes free, or `None` if all are free.
fn all_free_at(usage: &Usage, now: Moment) -> Option<Timestamp> {
    let last = now.uptime.after(usage.all_free_in);
    (usage.all_free_in > Duration::ZERO).then(|| now.wall_at(last))
}

fn json(scopes: &[ScopeState], now: Moment) -> String {
    let stamp = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let scopes: Vec<_> = scopes
        .iter()
        .map(|state| {
            let windows: Vec<_> = state
                .windows
                .iter()
                .map(|usage| {
                    serde_json::json!({
                        "window": usage.window.to_string(),
                        "limit": usage.window.limit,
                        "used": usage.taken,
                        "left": left(usage),
                        "next_free_at": stamp(usage.free_at.map(|at| now.wall_at(at))),
                        "all_free_at": stamp(all_free_at(usage, now)),
                    })
                })
                .collect();
            serde_json::json!({
                "sandbox": state.is_sandbox(),
                "cloud": state.scope.cloud,
                "tenant": state.scope.tenant,
                "app": state.scope.app,
                "destination": state.scope.destination.as_str(),
                "pause_until": stamp(state.pause_until),
                "named_limits": state.named.as_slice().iter().map(Window::to_string).collect::<Vec<_>>(),
                "learned_pace": state.learned.map(|pace| pace.to_string()),
                "windows": windows,
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::from(scopes))
}

fn table(scopes: &[ScopeState], now: Moment, zone: &TimeZone, width: u16) -> String {
    if scopes.is_empty() {
        return "nothing was spent: this state folder knows no call of such a scope\n".to_owned();
    }
    // One heading for all endpoints of a cloud, tenant and app, because two GUIDs would fill every row.
    let mut groups: BTreeMap<_, Vec<&ScopeState>> = BTreeMap::new();
    for state in scopes {
        let scope = &state.scope;
        let group = (&scope.cloud, &scope.tenant, &scope.app);
        groups.entry(group).or_default().push(state);
    }
    let parts = groups.into_iter().map(|((cloud, tenant, app), states)| {
        // Each sandbox run has its own sandbox.
        let (cloud, app_word) = if cloud == SANDBOX_CLOUD {
            ("SANDBOX".into(), "run   ")
        } else {
            (visible(cloud), "app   ")
        };
        let mut text = format!(
            "{cloud}\n  tenant {}\n  {app_word} {}\n",
            visible(tenant),
            visible(app)
        );
        text.push_str(&rows(&states, now, zone, width));
        for state in states {
            let named = (!state.named.is_empty())
                .then(|| format!("the service named a limit of {}", state.named));
            let learned = state.learned;
            let learned = learned.map(|pace| format!("{pace}, spread evenly: bursts were refused"));
            let pause = state.pause_until.map(|until| {
                format!(
                    "paused by the service until {}",
                    clock_time(until, now.wall, zone)
                )
            });
            for line in [named, learned, pause].into_iter().flatten() {
                // Writing to a string can't fail.
                writeln!(text, "  {}: {line}", state.scope.destination).unwrap_or_default();
            }
        }
        text
    });
    parts.collect::<Vec<_>>().join("\n")
}

fn rows(states: &[&ScopeState], now: Moment, zone: &TimeZone, width: u16) -> String {
    let time = |at: Option<Timestamp>| {
        at.map_or_else(|| "now".to_owned(), |at| clock_time(at, now.wall, zone))
    };
    let mut table = Table::new();
    table.right = &[2, 3];
    table.row(["calls", "window", "used", "left", "next free", "all free"]);
    for state in states {
        let calls = state.scope.destination.to_string();
        if state.windows.is_empty() {
            table.row([calls.as_str(), "no limit", "", "", "", ""]);
        }
        for usage in &state.windows {
            table.row([
                calls.clone(),
                window_name(usage.window.period),
                format!(
                    "{}/{}",
                    Number(usage.taken.into()),
                    Number(usage.window.limit.get().into())
                ),
                Number(left(usage).into()).to_string(),
                time(usage.free_at.map(|at| now.wall_at(at))),
                time(all_free_at(usage, now)),
            ]);
        }
    }
    table.render(width.into(), "  ")
}

/// A call's duration in forecasts. Only the last round trip of each window shows.
const ROUND_TRIP: Duration = Duration::from_millis(150);

/// The used part of a quota, as far as it delays the next calls.
pub(super) struct QuotaUsage {
    windows: Windows,
    calls: Calls,
    /// The end of a pause that the service asked for.
    pause_until: Option<Timestamp>,
    /// The rate that 429s taught.
    pace: Option<Pace>,
}

impl QuotaUsage {
    pub(super) fn nothing(windows: &Windows) -> Self {
        Self {
            windows: windows.clone(),
            calls: Calls::new(),
            pause_until: None,
            pace: None,
        }
    }

    /// Reads a scope from the ledger without adding an unknown one.
    pub(super) async fn read(
        store: &Store,
        scope: &Scope,
        windows: &Windows,
        now: Moment,
    ) -> Result<Self, StoreError> {
        let known = store.scopes().await?;
        let Some((key, _)) = known.into_iter().find(|(_, known)| known == scope) else {
            return Ok(Self::nothing(windows));
        };
        let record = store.scope(scope, now).await?;
        let windows = lowered(windows, &record.adopted);
        let used = store.usage(key, Arc::new(windows.clone()), now).await?;
        let learned = record.pace.filter(|pace| pace.is_of(&windows));
        Ok(Self {
            windows,
            calls: used.calls,
            pause_until: record.cooldown.map(|cooldown| cooldown.wall),
            pace: learned.map(|kept| kept.pace()),
        })
    }

    /// Returns when how many of `count` calls will have left.
    pub(super) fn milestones(&self, count: u64, now: Moment) -> Vec<(u64, Timestamp)> {
        let start = match self.pause_until {
            Some(until) => now.uptime_at(until).max(now.uptime),
            None => now.uptime,
        };
        milestones(
            start,
            &self.windows,
            self.pace,
            &self.calls,
            count,
            ROUND_TRIP,
        )
        .into_iter()
        .map(|milestone| (milestone.calls, now.wall_at(milestone.at)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::model::{Destination, Uptime};
    use crate::quota::SavedRate;
    use crate::store::{SlotPurpose, SlotRequest};

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";

    fn typed(words: &[&str]) -> QuotaArgs {
        let words = ["mde-cancel", "quota"].iter().chain(words);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Quota(quota) => quota,
            other => panic!("no quota: {other:?}"),
        }
    }

    fn now() -> Moment {
        Moment {
            uptime: Uptime::from_nanos(0),
            wall: "2026-11-23T14:00:00Z".parse().unwrap(),
        }
    }

    fn scope(cloud: &str, destination: Destination) -> Scope {
        Scope {
            cloud: cloud.to_owned(),
            tenant: TENANT.to_owned(),
            app: "-".to_owned(),
            destination,
        }
    }

    fn usage(window: &str, taken: u32, free_in: Option<u64>, all_free_in: u64) -> Usage {
        Usage {
            window: window.parse().unwrap(),
            taken,
            free_at: free_in.map(|wait| now().uptime.after(Duration::from_secs(wait))),
            all_free_in: Duration::from_secs(all_free_in),
        }
    }

    fn state(scope: Scope, windows: Vec<Usage>) -> ScopeState {
        ScopeState {
            scope,
            windows,
            pause_until: None,
            learned: None,
            named: Windows::none(),
        }
    }

    fn states() -> Vec<ScopeState> {
        let taught = state(
            scope("commercial", Destination::Cancel),
            vec![
                usage("100/1m", 100, Some(12), 55),
                usage("1500/1h", 1204, None, 3500),
            ],
        );
        let of_run = Scope {
            app: "019a2b3c".to_owned(),
            ..scope(SANDBOX_CLOUD, Destination::Get)
        };
        vec![
            ScopeState {
                pause_until: Some("2026-11-24T03:14:00Z".parse().unwrap()),
                learned: Some("95/1m".parse().unwrap()),
                named: Windows::new(vec!["45/1m".parse().unwrap()]),
                ..taught
            },
            state(scope("commercial", Destination::List), Vec::new()),
            state(of_run, vec![usage("50/6s", 2, None, 3)]),
            state(
                scope("evil\u{1b}[2J:443", Destination::Get),
                vec![usage("50/1m", 0, None, 0)],
            ),
        ]
    }

    /// Counts a call by a scope.
    async fn call(store: &Store, scope: &Scope, now: Moment) {
        let take = SlotRequest {
            scope: store.scope(scope, now).await.unwrap().key,
            windows: Arc::new(Windows::documented()),
            now,
            purpose: SlotPurpose::Read,
        };
        store.take(take).await.unwrap();
    }

    #[test]
    fn the_table_shows_each_window_of_each_scope() {
        insta::assert_snapshot!(table(&states(), now(), &TimeZone::UTC, 80), @r"
        commercial
          tenant 11111111-2222-3333-4444-555555555555
          app    -
          calls   window           used  left  next free     all free
          cancel  minute        100/100     0  14:00:12 UTC  14:00:55 UTC
          cancel  hour      1,204/1,500   296  now           14:58:20 UTC
          list    no limit
          cancel: the service named a limit of 45/1m
          cancel: 95/1m, spread evenly: bursts were refused
          cancel: paused by the service until 2026-11-24 03:14 UTC

        evil\u{1b}[2J:443
          tenant 11111111-2222-3333-4444-555555555555
          app    -
          calls  window  used  left  next free  all free
          get    minute  0/50    50  now        now

        SANDBOX
          tenant 11111111-2222-3333-4444-555555555555
          run    019a2b3c
          calls  window  used  left  next free  all free
          get    6 s     2/50    48  now        14:00:03 UTC
        ");
    }

    #[test]
    fn json_holds_the_same_for_programs() {
        let all: serde_json::Value = serde_json::from_str(&json(&states(), now())).unwrap();
        let first = &all[0];
        assert_eq!(first["tenant"], TENANT);
        assert_eq!(first["pause_until"], "2026-11-24T03:14:00Z");
        assert_eq!(
            first["windows"][0],
            serde_json::json!({
                "window": "100/1m",
                "limit": 100,
                "used": 100,
                "left": 0,
                "next_free_at": "2026-11-23T14:00:12Z",
                "all_free_at": "2026-11-23T14:00:55Z",
            })
        );
        assert_eq!(
            [&all[0], &all[2]].map(|state| &state["sandbox"]),
            [false, true]
        );
        let idle = &all[3]["windows"][0];
        assert!(idle["next_free_at"].is_null() && idle["all_free_at"].is_null());
        assert_eq!(json(&[], now()), "[]\n");
    }

    #[tokio::test]
    async fn what_the_ledger_holds_is_counted_by_the_windows_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::new();
        let store = open_store(folder.path(), Duration::ZERO, &clock).unwrap();
        let now = clock.now();
        for (cloud, calls) in [("commercial", 3), ("gcc", 1), (SANDBOX_CLOUD, 2)] {
            for _ in 0..calls {
                call(&store, &scope(cloud, Destination::Cancel), now).await;
            }
        }
        let commercial = scope("commercial", Destination::Cancel);
        let limit = Record::Limit {
            scope: store.scope(&commercial, now).await.unwrap().key,
            window: "45/1m".parse().unwrap(),
            at: now.wall,
        };
        store.write(vec![limit]).await.unwrap();
        let seen = |states: &[ScopeState]| -> Vec<String> {
            let windows = states.iter().flat_map(|state| &state.windows);
            windows
                .map(|usage| format!("{} of {}", usage.taken, usage.window))
                .collect()
        };
        let all = read(&store, &typed(&[]), now).await.unwrap();
        assert_eq!(
            seen(&all),
            [
                "3 of 45/1m",
                "3 of 1500/1h",
                "1 of 100/1m",
                "1 of 1500/1h",
                "2 of 100/6s",
                "2 of 1500/6m"
            ]
        );
        let gcc = typed(&["--cloud", "gcc"]);
        let one = read(&store, &gcc, now).await.unwrap();
        assert_eq!(seen(&one), ["1 of 100/1m", "1 of 1500/1h"]);
    }

    #[tokio::test]
    async fn what_sandbox_runs_spent_is_shown_and_marked_until_it_is_at_rest() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::new();
        let of_run = |run: &str| Scope {
            app: run.to_owned(),
            ..scope(SANDBOX_CLOUD, Destination::Cancel)
        };
        let real = scope("commercial", Destination::Cancel);
        let below = folder.path().join("sandbox");
        for (dir, scope) in [(folder.path(), real), (&below, of_run("run-1"))] {
            let store = open_store(dir, Duration::ZERO, &clock).unwrap();
            call(&store, &scope, clock.now()).await;
            store.scope(&of_run("run-2"), clock.now()).await.unwrap();
        }
        let (found, now) = gather(&typed(&[]), folder.path()).await.unwrap();
        assert_eq!(found.len(), 2);
        let text = table(&found, now, &TimeZone::UTC, 80);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.contains(&"SANDBOX"), "{text}");
        assert!(lines.contains(&"  run    run-1"), "{text}");
    }

    #[tokio::test]
    async fn a_learned_pace_tells_when_all_will_have_left_unless_its_window_is_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::new();
        let store = open_store(folder.path(), Duration::ZERO, &clock).unwrap();
        let now = clock.now();
        let scope = scope("commercial", Destination::Cancel);
        let learned = SavedRate {
            window: "100/1m".parse().unwrap(),
            share: 500,
            patience: 4,
        };
        let record = Record::Pace {
            scope: store.scope(&scope, now).await.unwrap().key,
            pace: Some(learned),
            at: now.wall,
        };
        store.write(vec![record]).await.unwrap();
        for (window, seconds) in [("100/1m", 108), ("100/30s", 0)] {
            let windows = Windows::new(vec![window.parse().unwrap()]);
            let usage = QuotaUsage::read(&store, &scope, &windows, now)
                .await
                .unwrap();
            let found = usage.milestones(91, now);
            let waits = |(calls, at): &(u64, Timestamp)| (*calls, at.duration_since(now.wall));
            let found: Vec<_> = found.iter().map(waits).collect();
            assert_eq!(found, [(91, jiff::SignedDuration::from_secs(seconds))]);
        }
    }

    #[test]
    fn the_scopes_that_are_shown_agree_with_all_that_is_typed() {
        let scope = Scope {
            tenant: "Contoso.example".to_owned(),
            ..scope("gcc", Destination::Cancel)
        };
        for (words, shown) in [
            (&[][..], true),
            (&["--cloud", "gcc"], true),
            (&["--cloud", "commercial"], false),
            (&["--tenant-id", "contoso.example"], true),
            (&["--tenant-id", "other.example"], false),
            (
                // Calls with an opaque token may belong to any app.
                &["--client-id", "11111111-2222-3333-4444-555555555555"],
                true,
            ),
        ] {
            assert_eq!(is_shown(&scope, &typed(words).scope), shown, "{words:?}");
        }
    }
}
