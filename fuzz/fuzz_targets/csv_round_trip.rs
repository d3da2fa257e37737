//! Any three texts: our CSV writers write one line a record, and reading restores the texts.
#![no_main]

use std::io::Cursor;
use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use mde_cancel::input::{InputSettings, OpenInput};
use mde_cancel::model::{ActionId, MachineAction, Outcome, ReportRow, RowContext, decode, encode, is_hidden};
use mde_cancel::report::{ActionListWriter, ListingFormat, PlanWriter};

/// Reads a file that we wrote, and returns the context of its one row.
fn read_back(file: &[u8]) -> RowContext {
    let file = Box::new(Cursor::new(file.to_vec()));
    let mut rows = Vec::new();
    OpenInput::from_reader("file", file, &InputSettings::default())
        .read(&mut |chunk| {
            rows.extend(chunk.rows);
            ControlFlow::Continue(())
        })
        .expect("a file of ours is read");
    assert_eq!(rows.len(), 1);
    assert!(rows[0].id.is_ok());
    rows.remove(0).context
}

/// Surrounding spaces don't count, and spaces alone are no text.
fn trimmed(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn row([reason, machine, comment]: &[String; 3]) -> ReportRow {
    ReportRow {
        action_id: "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2".to_owned(),
        reason: reason.clone(),
        computer_dns_name: Some(machine.clone()),
        comment: Some(comment.clone()),
        source: comment.clone(),
        run_id: reason.clone(),
        ..ReportRow::bare(Outcome::NotAttempted)
    }
}

fuzz_target!(|texts: [String; 3]| {
    for text in &texts {
        let cell = encode(text);
        assert_eq!(decode(&cell), *text);
        assert!(!cell.contains(is_hidden));
    }
    let [requestor, machine, comment] = &texts;
    let action = MachineAction {
        requestor: Some(requestor.clone()),
        computer_dns_name: Some(machine.clone()),
        requestor_comment: Some(comment.clone()),
        ..MachineAction::bare(ActionId::from_bytes([7; 16]).expect("an id"))
    };
    for format in [ListingFormat::Csv, ListingFormat::Jsonl] {
        let mut file = Vec::new();
        let mut listing = ActionListWriter::begin(&mut file, format).expect("memory takes it");
        listing.page(std::slice::from_ref(&action)).expect("memory takes it");
        let lines = if format == ListingFormat::Csv { 2 } else { 1 };
        assert_eq!(file.iter().filter(|byte| **byte == b'\n').count(), lines);
        let context = read_back(&file);
        assert_eq!(context.requestor.as_deref(), trimmed(requestor));
        assert_eq!(context.computer_dns_name.as_deref(), trimmed(machine));
    }

    let mut plan = Vec::new();
    let mut writer = PlanWriter::begin().expect("a temporary file");
    writer.row("send", &row(&texts)).expect("the file takes it");
    writer.finish(&mut plan, Some("961c-2524-c3ed-07b1-4e02")).expect("memory takes it");
    assert_eq!(plan.iter().filter(|byte| **byte == b'\n').count(), 2);
    let context = read_back(&plan);
    assert_eq!(context.comment.as_deref(), trimmed(comment));
    assert_eq!(context.computer_dns_name.as_deref(), trimmed(machine));
});
