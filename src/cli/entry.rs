//! The way in: the command line, the log, the command, the exit code.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use tokio::runtime::Builder;

use crate::platform::{StopSignals, survive_file_size_limit};

use super::args::Cli;
use super::commands;
use super::failure::{Failure, RunExit, print_typing_error};
use super::hint::ForwardedFlags;
use super::logging::{LogSettings, start_logging};
use super::progress::Progress;
use super::settings::{CommandSettings, Settings, SettingsError, Sources};
use super::terminal::{ColorMode, OutputStyle, stdout_width};

/// Runs the program with these arguments, the first of which is its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<_> = arguments.into_iter().collect();
    let sources = Sources::of_process();
    let typed = Cli::command().try_get_matches_from(&words);
    let flags = typed.as_ref().map(ForwardedFlags::of).unwrap_or_default();
    let exit = match Settings::resolve(words, &sources) {
        Err(SettingsError::Typing(error)) => print_typing_error(&error),
        Ok(settings) => {
            let style = output_style(settings.common.color, &sources);
            conclude(command(settings, style, &flags), style, &flags)
        }
        // Without settings, what is typed is all that is known about colours.
        Err(error) => {
            let typed = typed.ok();
            let color = typed.and_then(|typed| typed.get_one::<ColorMode>("color").copied());
            let style = output_style(color.unwrap_or_default(), &sources);
            conclude(Err(error.into()), style, &flags)
        }
    };
    ExitCode::from(exit.code())
}

fn output_style(color: ColorMode, sources: &Sources<'_>) -> OutputStyle {
    OutputStyle {
        width: stdout_width(),
        color: color.resolve(std::io::stdout().is_terminal(), sources.environment),
        error_color: color.resolve(std::io::stderr().is_terminal(), sources.environment),
    }
}

fn conclude(done: Result<RunExit, Failure>, style: OutputStyle, flags: &ForwardedFlags) -> RunExit {
    done.unwrap_or_else(|failure| {
        failure.print(style.error_color, flags);
        failure.exit
    })
}

fn command(
    settings: Settings,
    style: OutputStyle,
    flags: &ForwardedFlags,
) -> Result<RunExit, Failure> {
    let fault = |error| Failure::new(RunExit::Fault, error);
    let mut runtime = match settings.command {
        // One thread sends and receives: the quotas need no more, and without them, handing each call from thread to
        // thread costs a quarter of its processor time. Reading, the journal and signals have threads of their own.
        CommandSettings::Sandbox(_) => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let runtime = runtime
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(fault)?;
    let entered = runtime.enter();
    survive_file_size_limit().map_err(fault)?;
    drop(entered);
    // The log may be a file, so only now.
    let common = &settings.common;
    let progress = Progress::open(common.progress_mode(), style.error_color);
    let log = LogSettings {
        format: common.log_format,
        filter: common.log_directives(),
        color: style.error_color,
        file: common.log_file.clone(),
    };
    start_logging(&log, &progress).map_err(|error| Failure::new(RunExit::Refused, error))?;
    if let Some(fault) = &settings.left_out {
        tracing::warn!("{fault}; the file is ignored, with any state folder that it names");
    }
    if !settings.ignored.is_empty() {
        let names = settings.ignored.join(", ");
        tracing::warn!("not read, because a profile says who signs in and where: {names}");
    }
    let exit = runtime.block_on(async {
        match settings.command {
            CommandSettings::Run(run) => return commands::run(*run, &progress, style, flags).await,
            CommandSettings::Preview(preview) => {
                return commands::preview(*preview, &progress, style).await;
            }
            CommandSettings::List(list) => return commands::list(*list, style).await,
            CommandSettings::Release(release) => {
                return commands::release(*release, &progress, style, flags).await;
            }
            CommandSettings::Resume(resume) => {
                return commands::resume(*resume, &progress, style, flags).await;
            }
            CommandSettings::Doctor(doctor) => return commands::doctor(*doctor, style).await,
            CommandSettings::Runs(run, format, state_dir) => {
                commands::runs(run.as_deref(), format, &state_dir, flags)?;
            }
            CommandSettings::RemoveRuns(remove, state_dir) => {
                commands::remove_runs(&remove, &state_dir).await?;
            }
            CommandSettings::Report(run, outputs, state_dir) => {
                commands::report(run.as_deref(), &outputs, &state_dir)?;
            }
            CommandSettings::Quota(quota) => commands::quota(quota, style).await?,
            CommandSettings::ConfigShow(shown) => commands::config_show(&shown)?,
            CommandSettings::Sandbox(sandbox) => {
                let mut signals = StopSignals::listen().map_err(fault)?;
                commands::serve_sandbox(*sandbox, signals.next()).await?;
            }
            CommandSettings::Completions(typed) => commands::completions(&typed)?,
            CommandSettings::Man(typed) => commands::man(&typed)?,
        }
        Ok(RunExit::Done)
    });
    progress.finish();
    // A thread that is blocked on a silent pipe must not keep the process.
    runtime.shutdown_background();
    exit
}
