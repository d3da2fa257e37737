//! `config show`, `completions` and `man`: what the program says of itself.

use std::path::Path;
use std::{fs, io};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::cli::args::{Cli, CompletionsArgs, ManArgs};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::settings::ShownSetting;
use crate::cli::table::Table;
use crate::cli::terminal::print;
use crate::cli::text::visible;
use crate::platform::refuse_foreign_link;

/// Prints the settings in effect and where each comes from, one a line. Secrets are named, never shown.
pub fn config_show(settings: &[ShownSetting]) -> Result<(), Failure> {
    let mut table = Table::new();
    table.row(["setting", "value", "from"]);
    for shown in settings {
        table.row([
            shown.key.clone(),
            visible(&shown.value).to_string(),
            visible(&shown.origin).to_string(),
        ]);
    }
    // A value that is broken over lines or cut cannot be copied.
    print(&table.render(usize::MAX, "")).map_err(Failure::of_output)
}

pub fn completions(typed: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(typed.shell, &mut command, "mde-cancel", &mut script);
    print(&String::from_utf8_lossy(&script)).map_err(Failure::of_output)
}

/// Prints the manual page, or writes one for each command into a folder.
pub fn man(typed: &ManArgs) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = &typed.dir else {
        let page = page(&command).map_err(Failure::of_output)?;
        return print(&String::from_utf8_lossy(&page)).map_err(Failure::of_output);
    };
    write_pages(&command, dir).map_err(|error| Failure::new(RunExit::Refused, error))
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
