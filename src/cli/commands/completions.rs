//! `completions` and `man`.

use std::path::Path;
use std::{fs, io};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::cli::args::{Cli, CompletionsArgs, ManArgs};
use crate::cli::failure::Failure;
use crate::cli::terminal::print;
use crate::platform::refuse_foreign_link;

pub fn completions(typed: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(typed.shell, &mut command, "mde-cancel", &mut script);
    print(&String::from_utf8_lossy(&script)).map_err(Failure::of_output)
}

/// Prints the manual page, or writes one per command into a folder.
pub fn man(typed: &ManArgs) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = &typed.dir else {
        let page = page(&command).map_err(Failure::of_output)?;
        return print(&String::from_utf8_lossy(&page)).map_err(Failure::of_output);
    };
    write_pages(&command, dir).map_err(Failure::refused)
}

fn write_pages(command: &clap::Command, dir: &Path) -> anyhow::Result<()> {
    let path = dir.join(Man::new(command.clone()).get_filename());
    page(command)
        .and_then(|page| {
            refuse_foreign_link(&path)?;
            fs::write(&path, page)
        })
        .with_context(|| format!("manual page {} cannot be written", path.display()))?;
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        .try_for_each(|command| write_pages(command, dir))
}

fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}
