//! `config show`: the resolved settings and where each comes from. Secrets are named, never shown.

use comfy_table::{ContentArrangement, Table, presets};

use crate::cli::failure::Failure;
use crate::cli::settings::ShownSetting;
use crate::cli::terminal::print;
use crate::cli::text::visible;

/// Prints the settings, one a line.
pub fn config_show(settings: &[ShownSetting]) -> Result<(), Failure> {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        // A value that is broken over lines cannot be copied.
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["setting", "value", "from"]);
    for shown in settings {
        table.add_row([
            shown.key.clone(),
            visible(&shown.value).to_string(),
            visible(&shown.origin).to_string(),
        ]);
    }
    print(&format!("{}\n", table.trim_fmt())).map_err(Failure::of_output)
}
