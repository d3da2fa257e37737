//! Any config file is read or refused, and nothing in it confirms a run, allows protected types or skips the precheck.
#![no_main]

use std::ffi::OsString;
use std::fs;

use libfuzzer_sys::fuzz_target;
use mde_cancel::cli::failure::Failure;
use mde_cancel::cli::hint::ForwardedFlags;
use mde_cancel::cli::settings::{CommandSettings, Settings, Sources};
use mde_cancel::cli::Color;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("mde-cancel.toml");
    fs::write(&config, bytes).expect("the folder takes it");
    for more in [&[] as &[&str], &["--profile", "contoso"], &["--profile", "all"]] {
        let words = ["mde-cancel", "run", "ids.csv"].iter().chain(more);
        let sources = Sources {
            environment: &|_| None,
            default_state_dir: Some(dir.path().join("state")),
            default_config: Some(config.clone()),
        };
        match Settings::resolve(words.map(OsString::from), &sources) {
            Ok(settings) => {
                let CommandSettings::Run(run) = settings.command else {
                    panic!("a run became another command");
                };
                assert!(run.asks());
                assert_eq!(run.args.max_actions, None);
                assert!(run.args.plan.allow_protected.is_empty());
                assert!(!run.args.plan.no_precheck);
                assert!(run.args.plan.input.id_column.is_none());
            }
            Err(error) => drop(Failure::from(error).render(Color::Plain, &ForwardedFlags::default())),
        }
    }
});
