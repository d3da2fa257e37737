//! What lists and selections share: exclusions, descriptions, and the failure when no row is selected.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use jiff::Timestamp;

use crate::cli::args::PlanArgs;
use crate::cli::failure::Failure;
use crate::cli::format_time::{local_zone, zoned_day_time};
use crate::engine::{Precheck, Skips};
use crate::input::{Input, read_exclusion_file};
use crate::model::{Count, Criterion, ExclusionList, Number, Selection};

/// Of how many values that aren't selected an error tells.
const VALUES_NAMED: usize = 5;

/// How the journal's name of a selection starts. File names there are absolute.
const SELECTION: &str = "tenant: ";

/// Returns the journal's name of a selection from the tenant.
pub(super) fn input_name(filter: Option<&str>) -> String {
    format!("{SELECTION}{}", filter.unwrap_or("everything"))
}

/// Returns where a plan's rows come from, as label and value.
pub(super) fn origin(
    typed: &PlanArgs,
    selection: &Selection,
    now: Timestamp,
) -> (&'static str, String) {
    let name = |input: &Input| match input {
        Input::Stdin => "standard input".to_owned(),
        Input::File(path) => path.display().to_string(),
    };
    let names: Vec<_> = typed.input.inputs.iter().map(name).collect();
    let text = match (names.as_slice(), &typed.selection.filter) {
        ([], Some(filter)) => format!("the tenant, by the filter {filter}"),
        ([], None) => described(selection, now),
        (names, _) => names.join(", "),
    };
    ("ids from", text)
}

pub(super) fn described(selection: &Selection, now: Timestamp) -> String {
    let zone = local_zone();
    let time = |at| zoned_day_time(at, now, &zone);
    let mut parts = Vec::new();
    let texts = |texts: &mut dyn Iterator<Item = String>| texts.collect::<Vec<_>>().join(" or ");
    if !selection.types.is_empty() {
        parts.push(texts(&mut selection.types.iter().map(ToString::to_string)));
    }
    if !selection.statuses.is_empty() {
        let mut statuses = texts(&mut selection.statuses.iter().map(ToString::to_string));
        if selection.with_succeeded {
            statuses.push_str(", or Succeeded of types that leave a machine changed");
        }
        parts.push(statuses);
    }
    if !selection.requestors.is_empty() {
        let names = texts(&mut selection.requestors.iter().cloned());
        parts.push(format!("requested by {names}"));
    }
    if !selection.machine_ids.is_empty() {
        let count = Count::new(selection.machine_ids.len() as u64, "machine");
        parts.push(format!("on {count}"));
    }
    parts.extend(
        selection
            .since
            .map(|since| format!("created since {}", time(since))),
    );
    parts.extend(
        selection
            .until
            .map(|until| format!("created until {}", time(until))),
    );
    if parts.is_empty() {
        parts.push("all actions".to_owned());
    }
    format!("the tenant: {}", parts.join(", "))
}

/// The failure of a command that read rows, none of which is selected.
pub(super) fn nothing_selected(skips: &Skips, precheck: Precheck) -> Failure {
    let source = match precheck {
        Precheck::ReadFirst => "the service's records",
        Precheck::Skip => "the input",
    };
    let mut failed: Vec<String> = Vec::new();
    let mut hints = Vec::new();
    for (criterion, values) in &skips.not_selected {
        let top = values.top();
        let named = top.iter().take(VALUES_NAMED);
        let named = named.map(|(value, rows)| format!("{value} ({})", Number(*rows)));
        let mut named: Vec<_> = named.collect();
        let more = top.len().saturating_sub(VALUES_NAMED);
        if more > 0 {
            named.push(format!("{more} other values"));
        }
        let source = match criterion {
            Criterion::Tenant => "the input",
            _ => source,
        };
        failed.push(format!(
            "{} of {source} is {}, which {} doesn't select",
            criterion.column(),
            named.join(", "),
            criterion.flag()
        ));
        hints.push(match criterion {
            Criterion::Requestor => {
                "`mde-cancel list --summary` shows requestors as the records have them"
            }
            Criterion::Tenant => {
                "name the tenant of the rows with --tenant-id or --profile, or remove the column"
            }
            _ => "change the selection, or leave it out",
        });
    }
    hints.dedup();
    let error = anyhow!(
        "nothing was sent: no row is selected: {}",
        failed.join("; ")
    );
    let failure = Failure::refused(error);
    hints.into_iter().fold(failure, Failure::hint)
}

/// Returns whether a run's rows come from the tenant, by its input names.
pub(super) fn is_selection(inputs: &[Input]) -> bool {
    let begins = |path: &Path| path.to_string_lossy().starts_with(SELECTION);
    matches!(inputs, [Input::File(path)] if begins(path))
}

pub(super) fn read_exclusions(files: &[PathBuf]) -> Result<ExclusionList, Failure> {
    let name = |file: &PathBuf| Some(file.file_name()?.to_string_lossy().into_owned());
    let only = match files {
        [file] => name(file),
        _ => None,
    };
    let mut list = ExclusionList::default().named(only);
    for file in files {
        for line in read_exclusion_file(file).map_err(Failure::refused)? {
            list.add(&line);
        }
    }
    Ok(list)
}
