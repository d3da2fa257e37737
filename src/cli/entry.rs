//! The entry point: command line, log, command, exit code.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use tokio::runtime::Builder;

use crate::platform::{StopSignals, survive_file_size_limit};

use super::args::{Cli, Command};
use super::commands;
use super::failure::{Failure, RunExit};
use super::hint::ForwardedFlags;
use super::logging::{LogSettings, start_logging};
use super::progress::Progress;
use super::settings::{Settings, Sources};
use super::terminal::{ColorMode, OutputStyle, stdout_width};

/// The first argument is the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<_> = arguments.into_iter().collect();
    let sources = Sources::of_process();
    let typed = Cli::command().try_get_matches_from(&words);
    let flags = typed.as_ref().map(ForwardedFlags::of).unwrap_or_default();
    let settings = Settings::resolve(words, &sources);
    let color = if let Ok(settings) = &settings {
        settings.common.color
    } else {
        // Without settings, only the typed flag is known.
        let typed = typed.as_ref().ok();
        let color = typed.and_then(|typed| typed.get_one::<ColorMode>("color"));
        color.copied().unwrap_or_default()
    };
    let style = output_style(color, &sources);
    let done = settings.and_then(|settings| command(settings, style, &flags));
    let exit = done.unwrap_or_else(|failure| {
        failure.print(style.error_color, &flags);
        failure.exit
    });
    ExitCode::from(exit.code())
}

fn output_style(color: ColorMode, sources: &Sources<'_>) -> OutputStyle {
    OutputStyle {
        width: stdout_width(),
        color: color.resolve(std::io::stdout().is_terminal(), sources.environment),
        error_color: color.resolve(std::io::stderr().is_terminal(), sources.environment),
    }
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
        Command::Sandbox(_) => Builder::new_multi_thread(),
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
    // Not earlier, because the log may be a file.
    let common = &settings.common;
    let progress = Progress::open(common.progress_mode(), style.error_color);
    let log = LogSettings {
        format: common.log_format,
        filter: common.log_directives(),
        color: style.error_color,
        file: common.log_file.clone(),
    };
    start_logging(&log, &progress).map_err(|error| Failure::new(RunExit::Refused, error))?;
    if let Some(failure) = &settings.left_out {
        let fault = &failure.error;
        tracing::warn!("{fault}; the file is ignored, with any state folder that it names");
    }
    if !settings.ignored.is_empty() {
        let names = settings.ignored.join(", ");
        tracing::warn!("not read, because a profile says who signs in and where: {names}");
    }
    let context = settings.context;
    let exit = runtime.block_on(async {
        match settings.command {
            Command::Run(args) => {
                return commands::run(*args, context, &progress, style, flags).await;
            }
            Command::Preview(args) => {
                return commands::preview(*args, context, &progress, style).await;
            }
            Command::List(args) => return commands::list(*args, context, style).await,
            Command::Release(args) => {
                return commands::release(*args, context, &progress, style, flags).await;
            }
            Command::Resume(args) => {
                return commands::resume(*args, context, &progress, style, flags).await;
            }
            Command::Doctor(args) => return commands::doctor(&args, context, style).await,
            Command::Runs(args) => commands::runs(&args, &context.state_dir()?, flags).await?,
            Command::Report(args) => commands::report(&args, &context.state_dir()?)?,
            Command::Quota(args) => commands::quota(&args, &context.state_dir()?, style).await?,
            Command::Config(_) => commands::config_show(&settings.shown)?,
            Command::Sandbox(args) => {
                let mut signals = StopSignals::listen().map_err(fault)?;
                commands::serve_sandbox(*args, signals.next()).await?;
            }
            Command::Completions(args) => commands::completions(&args)?,
            Command::Man(args) => commands::man(&args)?,
        }
        Ok(RunExit::Done)
    });
    progress.finish();
    // A thread blocked on a silent pipe must not keep the process alive.
    runtime.shutdown_background();
    exit
}
