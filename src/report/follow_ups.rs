//! Writes the machines that need manual work as CSV, one line per machine, with everything needed to do the work.

use std::convert::Infallible;
use std::fmt::Display;

use crate::model::{FollowUpRow, encode};

use super::csv::CsvWriter;
use super::output::{OutputError, ReportTarget, replace};

/// Append new columns at the end.
pub const FOLLOW_UP_COLUMNS: [&str; 9] = [
    "machine_id",
    "computer_dns_name",
    "follow_up",
    "what_to_do",
    "permission",
    "call",
    "since",
    "action_ids",
    "tenant",
];

/// Separates the values of a cell if a machine has several follow-ups.
const AND: &str = "; ";

/// Replaces the file atomically.
pub fn write_follow_ups(
    target: &ReportTarget,
    rows: &[FollowUpRow],
) -> Result<(), OutputError<Infallible>> {
    let path = target.path().ok_or(OutputError::Stdout)?;
    replace(path, |out| {
        let mut writer = CsvWriter::new(out);
        writer.record(FOLLOW_UP_COLUMNS)?;
        rows.iter().try_for_each(|row| writer.record(cells(row)))?;
        Ok(writer.flush()?)
    })
}

fn cells(row: &FollowUpRow) -> [String; FOLLOW_UP_COLUMNS.len()] {
    let machine = row.machine_id.as_deref().unwrap_or_default();
    let needs = || row.needs.iter();
    let cells = [
        machine.to_owned(),
        row.computer_dns_name.clone().unwrap_or_default(),
        joined(needs().map(|need| need.as_str())),
        joined(needs().map(|need| need.what_to_do())),
        joined(needs().filter_map(|need| need.permission())),
        joined(
            needs()
                .filter(|_| !machine.is_empty())
                .filter_map(|need| need.call(machine)),
        ),
        joined(row.since.iter()),
        joined(row.action_ids.iter()),
        row.tenant.clone().unwrap_or_default(),
    ];
    cells.map(|cell| encode(&cell).into_owned())
}

/// Joins the distinct parts, in order.
fn joined(parts: impl Iterator<Item = impl Display>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for part in parts {
        let part = part.to_string();
        if !seen.contains(&part) {
            seen.push(part);
        }
    }
    seen.join(AND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FollowUp, LaterActivity};

    #[test]
    fn a_machine_that_needs_two_hands_stands_once_and_says_both() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("todo.csv");
        let row = FollowUpRow {
            machine_id: Some("ab".repeat(20)),
            computer_dns_name: Some("=cmd()".to_owned()),
            needs: vec![FollowUp::Unisolate, FollowUp::ManualOnboard],
            since: vec![LaterActivity::Nothing, LaterActivity::Nothing],
            action_ids: vec!["one".to_owned(), "two".to_owned()],
            tenant: Some("contoso".to_owned()),
        };
        write_follow_ups(&ReportTarget::check_writable(&path).unwrap(), &[row]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let machine = "ab".repeat(20);
        let expected = format!(
            "{machine},'=cmd(),unisolate; manual: onboard the machine again,release the machine from isolation; run the \
             onboarding package on the machine again,Machine.Isolate,POST /api/machines/{machine}/unisolate,no later action,one; \
             two,contoso\n"
        );
        assert_eq!(text.split_once('\n').unwrap().1, expected);
        let error = write_follow_ups(&ReportTarget::Stdout, &[]).unwrap_err();
        assert!(matches!(error, OutputError::Stdout));
    }
}
