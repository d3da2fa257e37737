//! `runs rm`: removes past runs. What they spent stays in the ledger, for the service has counted it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::anyhow;
use jiff::Timestamp;

use crate::cli::args::RemoveArgs;
use crate::cli::failure::{Failure, FailureKind};
use crate::cli::terminal::{ask, print};
use crate::cli::text::{Count, local_zone};
use crate::clock::{Clock as _, SystemClock};
use crate::retry::RetrySettings;
use crate::store::{RunState, StoreError};

use super::execute::{open_store, state};
use super::past::{self, PastRun};
use super::service::imitation_file;

/// Removes the runs that are meant, each whole or not at all.
pub async fn remove_runs(typed: &RemoveArgs, state_dir: &Path) -> Result<(), Failure> {
    let clock = SystemClock::new();
    let runs = find(typed, state_dir, clock.now().wall)?;
    if runs.is_empty() {
        return print("there is no such run\n").map_err(Failure::of_output);
    }
    if !typed.yes {
        agree(&runs)?;
    }
    let mut stores = BTreeMap::new();
    for run in runs {
        let store = match stores.entry(run.state_dir.clone()) {
            Entry::Occupied(store) => store.into_mut(),
            Entry::Vacant(place) => {
                let grace = RetrySettings::default().timeout_grace;
                place.insert(open_store(&run.state_dir, grace, &clock)?)
            }
        };
        store.remove_run(run.record.key).await.map_err(state)?;
        if run.is_sandbox {
            // There is none where the run was finished.
            std::fs::remove_file(imitation_file(&run.state_dir, run.record.begun.id)).ok();
        }
        print(&format!("deleted {}\n", describe(&run))).map_err(Failure::of_output)?;
    }
    Ok(())
}

fn find(typed: &RemoveArgs, state_dir: &Path, now: Timestamp) -> Result<Vec<PastRun>, Failure> {
    if let Some(age) = typed.older_than {
        let before = now.checked_sub(age).unwrap_or(Timestamp::MIN);
        let mut runs = past::list(state_dir).map_err(state)?;
        runs.retain(|run| !run.record.is_live() && run.record.last_seen() < before);
        return Ok(runs);
    }
    let mut runs: Vec<PastRun> = Vec::new();
    for name in &typed.runs {
        let run = past::named(state_dir, name)?;
        let id = run.record.begun.id;
        if let Some(holder) = run.record.holder {
            return Err(state(StoreError::RunHeld { run: id, holder })
                .hint("stop it first, with Ctrl-C or SIGTERM"));
        }
        if runs.iter().all(|known| known.record.begun.id != id) {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// Shows what would be removed, and has somebody agree.
fn agree(runs: &[PastRun]) -> Result<(), Failure> {
    let mut question = String::new();
    for run in runs {
        // Writing to a string cannot fail.
        writeln!(question, "  {}", describe(run)).unwrap_or_default();
    }
    let these = Count::new(u64::try_from(runs.len()).unwrap_or(u64::MAX), "run");
    write!(question, "delete {these}?").unwrap_or_default();
    let refused = |why: &str| {
        Failure::new(
            FailureKind::Refused,
            anyhow!("nothing was deleted: {why} ({these})"),
        )
    };
    match ask(&question) {
        Ok(Some(true)) => Ok(()),
        Ok(Some(false)) => Err(refused("you answered no")),
        Ok(None) => {
            let mut failure = refused("there is no terminal to ask on");
            for run in runs {
                failure = failure.hint(format!("this would delete {}", describe(run)));
            }
            Err(failure.hint("add --yes to delete without asking"))
        }
        Err(error) => Err(Failure::new(FailureKind::Fault, error)),
    }
}

fn describe(run: &PastRun) -> String {
    let record = &run.record;
    let mark = if run.is_sandbox { "SANDBOX " } else { "" };
    let end = if record.state == RunState::Finished {
        ""
    } else {
        ", can be resumed"
    };
    format!(
        "{mark}run {}, started {}, {}, {}{end}",
        record.begun.id,
        past::local_time(record.begun.created, &local_zone()),
        record.standing(),
        Count::new(record.intake.rows_read, "row"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::cli::commands::past::tests::{begin, store};
    use crate::model::{Destination, RunId, Scope};
    use crate::quota::Windows;
    use crate::store::{Purpose, Take};

    fn days_left(dir: &Path) -> Vec<u128> {
        let runs = past::list(dir).unwrap();
        let ids = runs.iter().map(|run| run.record.begun.id);
        ids.map(|id| id.to_string().replace('-', ""))
            .map(|id| u128::from_str_radix(&id, 16).unwrap() >> 64)
            .collect()
    }

    #[tokio::test]
    async fn old_runs_go_with_their_imitations_and_live_ones_and_the_calls_stay() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let sandbox = dir.join("sandbox");
        let [gone, tried] = [store(dir), store(&sandbox)];
        for days in [1, 40, 50] {
            begin(&gone, days).await;
        }
        begin(&tried, 60).await;
        let scope = Scope {
            cloud: "commercial".to_owned(),
            tenant: "-".to_owned(),
            app: "-".to_owned(),
            destination: Destination::Cancel,
        };
        let windows = std::sync::Arc::new(Windows::documented());
        let now = SystemClock::new().now();
        let key = gone.scope(&scope, now).await.unwrap().key;
        let take = Take {
            scope: key,
            windows: std::sync::Arc::clone(&windows),
            now,
            purpose: Purpose::Read,
        };
        gone.take(take).await.unwrap();
        drop((gone, tried));
        let imitation = imitation_file(&sandbox, RunId::new(Uuid::from_u128(60 << 64)));
        std::fs::write(&imitation, "{}").unwrap();
        let live = store(dir);
        begin(&live, 70).await;

        let wish = RemoveArgs {
            runs: Vec::new(),
            older_than: Some(Duration::from_secs(30 * 24 * 3600)),
            yes: true,
        };
        remove_runs(&wish, dir).await.unwrap();
        assert_eq!(days_left(dir), [1, 70]);
        assert!(!imitation.exists());
        let used = live.usage(key, windows, now).await.unwrap();
        assert_eq!(used.windows[0].taken, 1);
        remove_runs(&wish, dir).await.unwrap();
    }

    #[tokio::test]
    async fn a_run_that_goes_on_is_refused_and_nothing_else_removed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let stopped = store(dir);
        begin(&stopped, 1).await;
        drop(stopped);
        let going = store(dir);
        begin(&going, 2).await;
        let both = past::list(dir).unwrap();
        let names = both.iter().map(|run| run.record.begun.id.to_string());
        let wish = RemoveArgs {
            runs: names.collect(),
            older_than: None,
            yes: true,
        };
        let refused = remove_runs(&wish, dir).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::State);
        assert!(refused.error.to_string().contains("is held by"));
        assert_eq!(days_left(dir), [1, 2]);
    }
}
