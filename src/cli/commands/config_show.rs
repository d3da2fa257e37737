//! `config show`: the resolved settings and where each comes from. Secrets are named, never shown.

use comfy_table::{ContentArrangement, Table, presets};

use crate::cli::failure::Failure;
use crate::cli::settings::ConfigShowSettings;
use crate::cli::terminal::print;
use crate::cli::text::visible;

/// Prints the settings, one a line.
///
/// # Errors
/// Returns that standard output cannot be written.
pub fn config_show(settings: &ConfigShowSettings) -> Result<(), Failure> {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        // A value that is broken over lines cannot be copied.
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["setting", "value", "from"]);
    for shown in &settings.settings {
        table.add_row([
            shown.key.to_owned(),
            visible(&shown.value).to_string(),
            visible(&shown.origin).to_string(),
        ]);
    }
    for name in &settings.secrets {
        table.add_row([*name, "[redacted]", "environment"]);
    }
    print(&format!("{}\n", table.trim_fmt())).map_err(Failure::of_output)
}
