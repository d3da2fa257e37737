//! Test cases written as a table.

/// Returns the rows of a table, one a line, with cells separated by ` | `. Blank lines are skipped.
pub(crate) fn table<const COLUMNS: usize>(text: &str) -> Vec<[&str; COLUMNS]> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let cells = lines.map(|line| {
        let cells: Vec<_> = line.split(" | ").map(str::trim).collect();
        let found = cells.len();
        let row = cells.try_into().ok();
        row.unwrap_or_else(|| panic!("{found} cells and not {COLUMNS}: {line}"))
    });
    cells.collect()
}
