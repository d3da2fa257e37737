//! Checks that the parser can't make: contradictions between flags, and outputs that would overwrite other files.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::cli::args::{Command, PlanArgs, RunArgs, SelectionArgs};
use crate::cli::failure::Failure;
use crate::cli::flag_values::When;
use crate::input::Input;

use super::Context;
use super::outputs::{NamedFile, ensure_apart, input_files, secret_files, state_files};

fn refuse<T>(text: &'static str, hints: &[&str]) -> Result<T, Failure> {
    let failure = Failure::refused(anyhow!(text));
    Err(hints
        .iter()
        .fold(failure, |failure, &hint| failure.hint(hint)))
}

/// `is_tenant_named` means that the tenant comes from a flag, or from a profile named by a flag.
pub(super) fn check(command: &Command, is_tenant_named: bool) -> Result<(), Failure> {
    match command {
        Command::Run(run) => check_run(run, is_tenant_named),
        Command::Preview(preview) => {
            check_plan(&preview.plan)?;
            check_sandbox(&preview.plan, preview.sandbox)
        }
        Command::List(list) => check_span(&list.selection),
        Command::Release(release) => release.send.output.check_names(),
        Command::Resume(resume) => resume.outputs().check_names(),
        Command::Report(report) => report.outputs().check_names(),
        _ => Ok(()),
    }
}

fn check_run(run: &RunArgs, is_tenant_named: bool) -> Result<(), Failure> {
    check_plan(&run.plan)?;
    let selection = &run.plan.selection;
    let is_selection = run.plan.input.inputs.is_empty();
    if is_selection && *selection == SelectionArgs::default() {
        return refuse(
            "there is neither an INPUT nor a selection from the tenant",
            &[
                "name files, or `-` for standard input",
                "to select from the tenant, use --type or --filter",
            ],
        );
    }
    if is_selection && selection.filter.is_none() && selection.types.is_empty() {
        return refuse(
            "a selection from the tenant needs --type or --filter",
            &[
                "say what to cancel, such as --type Isolate; `mde-cancel list --summary` shows what there is",
                "to narrow an input, name files, or `-` for standard input",
            ],
        );
    }
    check_sandbox(&run.plan, run.sandbox)?;
    run.send.output.check_names()?;
    if is_selection && run.yes && run.max_actions.is_none() && run.approved.is_none() {
        return refuse(
            "with --yes, a selection from the tenant needs --max-actions or --plan",
            &[
                "set the most that may be cancelled with --max-actions, or name an approved plan with --plan",
            ],
        );
    }
    if is_selection && run.yes && !is_tenant_named {
        return refuse(
            "with --yes, a selection from the tenant needs a tenant",
            &["name the tenant with --tenant-id, or with a --profile"],
        );
    }
    Ok(())
}

fn check_sandbox(plan: &PlanArgs, is_sandbox: bool) -> Result<(), Failure> {
    if is_sandbox && plan.input.inputs.is_empty() {
        return refuse(
            "--sandbox needs an INPUT: the sandbox is made of its actions",
            &[],
        );
    }
    Ok(())
}

fn check_plan(plan: &PlanArgs) -> Result<(), Failure> {
    let (inputs, selection) = (&plan.input.inputs, &plan.selection);
    let stdin = inputs.iter().filter(|input| **input == Input::Stdin);
    if stdin.count() > 1 {
        return refuse("standard input (`-`) is named more than once", &[]);
    }
    check_span(selection)?;
    if selection.filter.is_some() && !inputs.is_empty() {
        return refuse(
            "--filter selects from the tenant and can't narrow an input",
            &[
                "narrow the input with --type, --status, --requestor, --machine-id, --since or --until",
                "to select from the tenant, leave out the INPUT",
            ],
        );
    }
    let needs_record = inputs.is_empty()
        || !selection.statuses.is_empty()
        || selection.since.is_some()
        || selection.until.is_some();
    if needs_record && plan.no_precheck {
        return refuse(
            "a selection by status or time needs the actions' records, which --no-precheck doesn't read",
            &["leave out --no-precheck, or the selection"],
        );
    }
    Ok(())
}

fn check_span(selection: &SelectionArgs) -> Result<(), Failure> {
    let is_empty = match (selection.since, selection.until) {
        (Some(When::At(since)), Some(When::At(until))) => since > until,
        (Some(When::Ago(since)), Some(When::Ago(until))) => since < until,
        _ => false,
    };
    if is_empty {
        return refuse("--since is later than --until, so no action can match", &[]);
    }
    Ok(())
}

/// Returns the files that a command reads or keeps. Fails if an output would overwrite one of them, or another output.
pub(super) fn protected_files(
    command: &Command,
    context: &Context,
    log_file: Option<&Path>,
) -> Result<Vec<NamedFile>, Failure> {
    let (inputs, excluded): (&[Input], &[PathBuf]) = match command {
        Command::Run(run) => (&run.plan.input.inputs, &run.plan.selection.exclude_from),
        Command::Preview(preview) => {
            let plan = &preview.plan;
            (&plan.input.inputs, &plan.selection.exclude_from)
        }
        Command::List(list) => (&[], &list.selection.exclude_from),
        Command::Release(release) => (&[], &release.exclude_from),
        _ => (&[], &[]),
    };
    let connections = context.connections.iter().flatten();
    let connections = connections.chain(context.profiles.values().flatten());
    let mut files = input_files(inputs);
    if let Command::Sandbox(sandbox) = command {
        let seed = sandbox.seed.iter().filter(|path| *path != "-");
        files.extend(seed.map(|path| NamedFile::new("the input", path)));
    }
    let excluded = excluded.iter();
    files.extend(excluded.map(|path| NamedFile::new("the exclusion list", path)));
    files.extend(connections.flat_map(secret_files));
    files.extend(context.state_dir.iter().flat_map(|dir| state_files(dir)));
    let config = context.config.iter();
    files.extend(config.map(|(path, _)| NamedFile::new("the config file", path)));
    if let Some(path) = log_file {
        let log = NamedFile::new("the log file", path);
        ensure_apart(&log, &files)?;
        files.push(log);
    }
    match command {
        Command::Run(run) => run.send.output.check(&files)?,
        Command::Release(release) => release.send.output.check(&files)?,
        // Checked again with the outputs in the journal.
        Command::Resume(resume) => resume.outputs().check(&files)?,
        Command::Report(report) => report.outputs().check(&files)?,
        Command::Sandbox(sandbox) => sandbox.log.iter().try_for_each(|path| {
            ensure_apart(&NamedFile::new("the list of calls", path), &files)
        })?,
        _ => {}
    }
    Ok(files)
}
