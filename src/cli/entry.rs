//! The way in: what was typed, what it means, the log and the eyes, the command, the exit code.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use tokio::runtime::Builder;

use crate::platform::{StopSignals, survive_file_size_limit};

use super::args::Cli;
use super::commands;
use super::commands::Look;
use super::failure::{Failure, FailureKind, RunExit, print_typing_error};
use super::hint::ForwardedFlags;
use super::logging::start_logging;
use super::progress::Progress;
use super::settings::{CommandSettings, CommonSettings, Settings, Surroundings};
use super::terminal::{ColorMode, stdout_width};

/// Runs the program with these arguments, the first of which is its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let exit = match parse(arguments) {
        Ok((typed, words)) => perform(typed, &ForwardedFlags::of(&words)),
        Err(error) => print_typing_error(&error),
    };
    ExitCode::from(exit.code())
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(Cli, ArgMatches), clap::Error> {
    let words = Cli::command().try_get_matches_from(arguments)?;
    let typed = Cli::from_arg_matches(&words).map_err(|error| error.format(&mut Cli::command()))?;
    Ok((typed, words))
}

fn perform(typed: Cli, flags: &ForwardedFlags) -> RunExit {
    let around = Surroundings::of_process();
    let typed_color = typed.common.color.unwrap_or_default();
    match Settings::resolve(typed, &around) {
        Ok(settings) => {
            let look = look(settings.common.color, &around);
            conclude(command(settings, look, flags), look, flags)
        }
        // Where the settings cannot be had, what was typed is all that is known about colours.
        Err(error) => conclude(Err(error.into()), look(typed_color, &around), flags),
    }
}

fn look(color: ColorMode, around: &Surroundings<'_>) -> Look {
    Look {
        width: stdout_width(),
        paint: color.resolve(std::io::stdout().is_terminal(), around.environment),
        error_paint: color.resolve(std::io::stderr().is_terminal(), around.environment),
    }
}

fn conclude(done: Result<RunExit, Failure>, look: Look, flags: &ForwardedFlags) -> RunExit {
    done.unwrap_or_else(|failure| {
        failure.print(look.error_paint, flags);
        failure.exit()
    })
}

fn command(settings: Settings, look: Look, flags: &ForwardedFlags) -> Result<RunExit, Failure> {
    let mut runtime = match settings.command {
        // One thread sends and receives: the quotas need no more, and where none holds a run, handing each call from
        // thread to thread costs a quarter of its processor time. Reading, the journal and signals have threads of
        // their own.
        CommandSettings::Sandbox(_) => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let runtime = runtime
        .worker_threads(2)
        .enable_all()
        .build()
        .and_then(|runtime| {
            let entered = runtime.enter();
            survive_file_size_limit()?;
            drop(entered);
            Ok(runtime)
        })
        .map_err(|error| Failure::new(FailureKind::Fault, error))?;
    // The log may be a file, so only now.
    let progress = watch(&settings.common, look)?;
    if let Some(fault) = &settings.left_out {
        tracing::warn!("{fault}; it is left out, with whatever it says of a state folder");
    }
    if !settings.ignored.is_empty() {
        let names = settings.ignored.join(", ");
        tracing::warn!(
            "not read, because the profile says who signs in and where: {names}; flags and the profile's own keys count"
        );
    }
    let exit = runtime.block_on(async {
        match settings.command {
            CommandSettings::Run(run) => commands::run(*run, &progress, look, flags).await,
            CommandSettings::Preview(preview) => commands::preview(*preview, look).await,
            CommandSettings::List(list) => commands::list(*list, look).await,
            CommandSettings::Resume(resume) => {
                commands::resume(*resume, &progress, look, flags).await
            }
            CommandSettings::Runs(runs) => {
                commands::runs(&runs, look, flags)?;
                Ok(RunExit::Done)
            }
            CommandSettings::RemoveRuns(remove) => {
                commands::remove_runs(&remove).await?;
                Ok(RunExit::Done)
            }
            CommandSettings::Report(report) => {
                commands::report(&report)?;
                Ok(RunExit::Done)
            }
            CommandSettings::Quota(quota) => {
                commands::quota(quota, look).await?;
                Ok(RunExit::Done)
            }
            CommandSettings::Doctor(doctor) => commands::doctor(*doctor, look).await,
            CommandSettings::ConfigShow(shown) => {
                commands::config_show(&shown)?;
                Ok(RunExit::Done)
            }
            CommandSettings::Sandbox(sandbox) => {
                let mut signals = StopSignals::listen()
                    .map_err(|error| Failure::new(FailureKind::Fault, error))?;
                commands::serve_sandbox(*sandbox, signals.next()).await?;
                Ok(RunExit::Done)
            }
            CommandSettings::Completions(typed) => {
                commands::completions(&typed)?;
                Ok(RunExit::Done)
            }
            CommandSettings::Man(typed) => {
                commands::man(&typed)?;
                Ok(RunExit::Done)
            }
        }
    });
    progress.finish();
    // A thread that is blocked on a silent pipe must not keep the process.
    runtime.shutdown_background();
    exit
}

fn watch(common: &CommonSettings, look: Look) -> Result<Progress, Failure> {
    let progress = Progress::open(common.progress, look.error_paint);
    start_logging(&common.log(look.error_paint), &progress)
        .map_err(|error| Failure::new(FailureKind::Usage, error))?;
    Ok(progress)
}
