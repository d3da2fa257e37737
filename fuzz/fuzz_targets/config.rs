//! Any config file: it is read or refused, and nothing in it gives consent, lets protected types go or skips the reading
//! of states.
#![no_main]

use std::fs;

use clap::Parser as _;
use libfuzzer_sys::fuzz_target;
use mde_cancel::cli::args::Cli;
use mde_cancel::cli::failure::Failure;
use mde_cancel::cli::hint::ForwardedFlags;
use mde_cancel::cli::settings::{CommandSettings, Consent, Settings, Surroundings};
use mde_cancel::cli::Paint;
use mde_cancel::engine::Precheck;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("mde-cancel.toml");
    fs::write(&config, bytes).expect("the folder takes it");
    for more in [&[] as &[&str], &["--profile", "contoso"], &["--profile", "all"]] {
        let words = ["mde-cancel", "run", "ids.csv"].iter().chain(more);
        let typed = Cli::try_parse_from(words).expect("a command line");
        let around = Surroundings {
            environment: &|_| None,
            default_state_dir: Some(dir.path().join("state")),
            default_config: Some(config.clone()),
            config: None,
        };
        match Settings::resolve(typed, &around) {
            Ok(settings) => {
                let CommandSettings::Run(run) = settings.command else {
                    panic!("a run became another command");
                };
                assert_eq!(run.consent, Consent::Ask);
                assert_eq!(run.max_actions, None);
                assert!(run.include_types.is_empty());
                assert!(run.triage != Precheck::Skip);
                assert!(run.intake.id_column.is_none());
            }
            Err(error) => drop(Failure::from(error).render(Paint::Plain, &ForwardedFlags::default())),
        }
    }
});
