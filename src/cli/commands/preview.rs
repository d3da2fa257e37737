//! `preview`: the plan, printed and not carried out.
//!
//! It shares planner and rules with a run. It has no journal, makes no state folder, and nothing that it holds could
//! send a cancel.

use std::io;
use std::io::BufWriter;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use crate::auth::Claims;
use crate::cli::args::PlanFormat;
use crate::cli::failure::Failure;
use crate::cli::failure::RunExit;
use crate::cli::plan_text::PlanText;
use crate::cli::plan_text::needs_a_look;
use crate::cli::settings::PreviewSettings;
use crate::cli::terminal::print;
use crate::cli::text::local_zone;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::domain::Destination;
use crate::engine::Permissions;
use crate::engine::PlanSummary;
use crate::engine::PlannedRow;
use crate::engine::Planner;
use crate::engine::Rules;
use crate::intake::IntakeError;
use crate::intake::OpenInput;
use crate::intake::open;
use crate::report::PlanWriter;
use crate::retry::RetrySettings;
use crate::store::state_file;

use super::carry::open_store;
use super::carry::state;
use super::carry::usage;
use super::ending::Look;
use super::forecast::Spent;
use super::service::Identity;
use super::service::sign_in;

/// Prints what a run would do.
///
/// # Errors
/// Returns why the plan cannot be made, or not be printed.
pub async fn preview(settings: PreviewSettings, look: Look) -> Result<RunExit, Failure> {
    let clock = SystemClock::new();
    let inputs = open(&settings.inputs, &settings.intake).map_err(usage)?;
    let identity = match &settings.connection {
        Some(connection) => Some(sign_in(connection).await?.1),
        None => None,
    };
    let planner = Planner::new(Arc::new(Rules {
        include_types: settings.include_types.clone(),
        ..Rules::default()
    }));
    let mut frozen = match settings.format {
        PlanFormat::Csv => {
            let out = PlanWriter::begin(BufWriter::new(io::stdout().lock()));
            Some(out.map_err(Failure::of_output)?)
        }
        PlanFormat::Table | PlanFormat::Json => None,
    };
    let (summary, broken) = plan(inputs, planner, clock.now().wall, frozen.as_mut())?;
    if let Some(out) = frozen {
        out.finish().map_err(Failure::of_output)?;
    }
    let permissions = identity
        .as_ref()
        .and_then(|identity| identity.claims.as_ref())
        .and_then(|claims: &Claims| Permissions::forecast(claims, &summary.types_sent()));
    let milestones = milestones(&settings, identity.as_ref(), &clock, summary.send).await;
    let place = identity.as_ref().map(Identity::place);
    let text = PlanText {
        summary: &summary,
        milestones: &milestones,
        permissions: permissions.as_ref(),
        place: place.as_ref().map_or(&[], |place| place),
        now: clock.now().wall,
        zone: &local_zone(),
    };
    match settings.format {
        PlanFormat::Table => print(&text.render(look.width, look.paint)),
        PlanFormat::Json => print(&text.json()),
        // Standard output is the plan's; the name by which it is compared must be seen all the same.
        PlanFormat::Csv => writeln!(io::stderr().lock(), "{}", text.headline()),
    }
    .map_err(Failure::of_output)?;
    match broken {
        Some(error) => Err(usage(error).hint("the plan holds the rows before it and no more")),
        None if needs_a_look(&summary, permissions.as_ref()) => Ok(RunExit::LeftOver),
        None => Ok(RunExit::Done),
    }
}

/// A frozen plan on its way to standard output.
type FrozenPlan = PlanWriter<BufWriter<io::StdoutLock<'static>>>;

/// Plans every row; returns the sums, and why the input could not be read to its end.
fn plan(
    inputs: Vec<OpenInput>,
    mut planner: Planner,
    now: Timestamp,
    mut frozen: Option<&mut FrozenPlan>,
) -> Result<(PlanSummary, Option<IntakeError>), Failure> {
    let mut summary = PlanSummary::default();
    for row in inputs.into_iter().flatten() {
        let row = match row {
            Ok(row) => planner.plan(row, now),
            Err(error) => return Ok((summary, Some(error))),
        };
        let row = PlannedRow::unread(row);
        summary.add(&row.line());
        if let Some(out) = &mut frozen {
            out.row(row.verdict().as_str(), &row.report_row())
                .map_err(Failure::of_output)?;
        }
    }
    Ok((summary, None))
}

/// Returns by when how many will have left. What cannot be looked up counts as not spent: a preview must not fail over
/// a forecast.
async fn milestones(
    settings: &PreviewSettings,
    identity: Option<&Identity>,
    clock: &SystemClock,
    count: u64,
) -> Vec<(u64, Timestamp)> {
    let windows = &settings.allowance.cancel;
    let known = match (identity, &settings.state_dir) {
        (Some(identity), Some(dir)) if state_file(dir).exists() => {
            Some((identity.scope(Destination::Cancel), dir))
        }
        _ => None,
    };
    let spent = match known {
        Some((scope, dir)) => {
            let read = read_ledger(dir, &scope, windows, clock).await;
            read.unwrap_or_else(|failure| {
                tracing::warn!(error = %failure.error, "what was spent cannot be looked up, and counts as nothing");
                Spent::nothing(windows)
            })
        }
        None => Spent::nothing(windows),
    };
    spent.milestones(count, clock.now())
}

async fn read_ledger(
    dir: &Path,
    scope: &crate::domain::Scope,
    windows: &crate::quota::Windows,
    clock: &SystemClock,
) -> Result<Spent, Failure> {
    let store = open_store(dir, RetrySettings::default().fate_grace, clock)?;
    Spent::read(&store, scope, windows, clock.now())
        .await
        .map_err(state)
}
