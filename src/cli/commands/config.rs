//! `config show`.

use crate::cli::failure::Failure;
use crate::cli::format_time::visible;
use crate::cli::settings::ShownSetting;
use crate::cli::table::Table;
use crate::cli::terminal::print;

/// Prints the settings in effect and the origin of each, one a line. Secrets are named, never shown.
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
    // Wrapped or truncated values can't be copied.
    print(&table.render(usize::MAX, "")).map_err(Failure::of_output)
}
