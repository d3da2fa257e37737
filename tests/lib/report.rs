//! The report: what stands in it, what a spreadsheet makes of it, and that it is written whole or not at all.

use std::path::Path;
use std::{fs, io};

use jiff::Timestamp;
use mde_cancel::input::{InputSettings, OpenInput};
use mde_cancel::model::{
    ActionId, ActionStatus, MachineAction, Outcome, ReportRow, decode, encode, is_hidden,
};
use mde_cancel::report::{
    ActionListWriter, Delivery, ListingFormat, OutputError, PlanWriter, ReportFormat,
    ReportSummary, ReportTarget, TargetError, write_csv, write_report,
};
use proptest::prelude::{any, prop_assert, prop_assert_eq};
use proptest::prop_oneof;
use proptest::strategy::Strategy;

use crate::support::{proptest_config, sound_rows};

const FORMULA: [char; 5] = ['=', '+', '-', '@', '＝'];

/// Every text names its own column, so that two swapped cells show.
fn full_row() -> ReportRow {
    let text = |name: &str| Some(format!("the {name}"));
    let at = |seconds: i64| Some(Timestamp::from_second(1_795_430_000 + seconds).unwrap());
    ReportRow {
        action_id: "the action_id".to_owned(),
        outcome: Outcome::TooLate,
        reason: "the reason".to_owned(),
        action_status: text("action_status"),
        action_type: text("action_type"),
        machine_id: text("machine_id"),
        computer_dns_name: text("computer_dns_name"),
        follow_up: text("follow_up"),
        attempts: 3,
        http_status: Some(200),
        error_code: text("error_code"),
        correlation_id: text("correlation_id"),
        comment: text("comment"),
        first_sent_at: at(1),
        settled_at: at(2),
        tenant: text("tenant"),
        source: "the source".to_owned(),
        run_id: "the run_id".to_owned(),
        status_before: text("status_before"),
        requestor: text("requestor"),
        requestor_comment: text("requestor_comment"),
        request_source: text("request_source"),
        action_scope: text("action_scope"),
        created_at: at(3),
        checked_at: at(4),
        comment_sent: text("comment_sent"),
        cancelled_by: text("cancelled_by"),
        plan: text("plan"),
    }
}

fn bare_row(action_id: &str) -> ReportRow {
    ReportRow {
        action_id: action_id.to_owned(),
        ..ReportRow::bare(Outcome::Invalid)
    }
}

fn good(rows: Vec<ReportRow>) -> impl Iterator<Item = io::Result<ReportRow>> {
    rows.into_iter().map(Ok)
}

/// A list of rows shows no summary, so none is ever asked for.
fn none<R>(_: &R) -> io::Result<ReportSummary> {
    unreachable!("CSV shows no summary")
}

fn as_csv(rows: Vec<ReportRow>) -> String {
    let mut out = Vec::new();
    write_csv(&mut out, good(rows)).unwrap();
    String::from_utf8(out).unwrap()
}

fn read_back(text: &str) -> Vec<Vec<String>> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text.as_bytes())
        .records()
        .map(|record| record.unwrap().iter().map(str::to_owned).collect())
        .collect()
}

/// Writes a report of one row with this comment, reads it as an input and returns the comment that is found.
fn comment_read_back(comment: &str) -> Option<String> {
    let mut row = bare_row("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2");
    row.outcome = Outcome::NotAttempted;
    row.comment = Some(comment.to_owned());
    let bytes = io::Cursor::new(as_csv(vec![row]).into_bytes());
    let input = OpenInput::from_reader("report.csv", Box::new(bytes), &InputSettings::default());
    let mut rows = sound_rows(input);
    assert_eq!(rows.len(), 1);
    let row = rows.remove(0);
    assert_eq!((row.id.is_ok(), row.skipped), (true, None));
    row.context.comment
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn each_value_stands_under_its_column() {
    let text = as_csv(vec![full_row()]);
    let records = read_back(&text);
    assert_eq!(records[0], ReportRow::COLUMNS);
    assert_eq!(records.len(), 2);
    assert!(text.ends_with('\n') && !text.contains('\r'));
    for (column, cell) in records[0].iter().zip(&records[1]) {
        let expected = match column.as_str() {
            "outcome" => "too_late".to_owned(),
            "attempts" => "3".to_owned(),
            "http_status" => "200".to_owned(),
            "first_sent_at" => "2026-11-23T10:33:21Z".to_owned(),
            "settled_at" => "2026-11-23T10:33:22Z".to_owned(),
            "created_at" => "2026-11-23T10:33:23Z".to_owned(),
            "checked_at" => "2026-11-23T10:33:24Z".to_owned(),
            other => format!("the {other}"),
        };
        assert_eq!(*cell, expected, "{column}");
    }
}

#[test]
fn a_comment_survives_its_own_report() {
    for comment in [
        "'=1",
        "''=1",
        "'''@x",
        "=1",
        "-5",
        "'tis",
        "''",
        "'",
        "it's = x",
        "'a=1",
        "two\nlines",
        "\\u{a}",
        "C:\\temp",
    ] {
        assert_eq!(comment_read_back(comment).as_deref(), Some(comment));
    }
}

#[test]
fn a_list_is_known_to_be_ours_and_restored() {
    for (requestor, machine) in [("-svc", "=x"), ("a\nb", "\\u{a}"), ("'=", "ws;=1")] {
        let action = MachineAction {
            requestor: Some(requestor.to_owned()),
            computer_dns_name: Some(machine.to_owned()),
            ..MachineAction::bare(ActionId::from_bytes([7; 16]).unwrap())
        };
        for format in [ListingFormat::Csv, ListingFormat::Jsonl] {
            let mut list = Vec::new();
            let mut listing = ActionListWriter::begin(&mut list, format).unwrap();
            listing.page(std::slice::from_ref(&action)).unwrap();
            let list = Box::new(io::Cursor::new(list));
            let input = OpenInput::from_reader("list", list, &InputSettings::default());
            let context = sound_rows(input).remove(0).context;
            assert_eq!(context.requestor.as_deref(), Some(requestor));
            assert_eq!(context.computer_dns_name.as_deref(), Some(machine));
        }
    }
}

/// Any text, and text of what our writers and our reader treat in a way of its own.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "['=+@; \t\r\n\"\\\\-]{0,5}[a-z'=]{0,3}",
        "(\\\\u\\{[0-9a-f]{0,7}\\}|\\\\|;|=|'|\u{a0}|\u{2028}|,|\"){0,8}",
    ]
}

proptest::proptest! {
    #![proptest_config(proptest_config(256))]

    #[test]
    fn what_our_writers_write_our_reader_restores(text in any_text()) {
        let shown = Some(text.trim()).filter(|comment| !comment.is_empty());
        let comment = comment_read_back(&text);
        prop_assert_eq!(comment.as_deref(), shown);
    }

    #[test]
    fn a_cell_is_one_line_and_no_formula_and_decodes_to_its_text(text in any_text()) {
        let cell = encode(&text);
        prop_assert_eq!(&decode(&cell), &text);
        prop_assert!(!cell.contains(is_hidden), "{:?}", cell);
        prop_assert!(!cell.trim_start().starts_with(FORMULA), "{:?}", cell);
        // A spreadsheet that splits lines at semicolons begins cells inside of ours.
        for piece in cell.split(';').skip(1) {
            let bare = piece.trim_start_matches([' ', '"']);
            prop_assert!(!bare.starts_with(FORMULA), "{:?}", cell);
        }
    }

    #[test]
    fn every_record_of_every_csv_is_one_line(text in any_text()) {
        let mut row = full_row();
        row.reason.clone_from(&text);
        row.comment_sent = Some(text.clone());
        let report = as_csv(vec![row.clone()]);
        let mut plan = Vec::new();
        let mut writer = PlanWriter::begin().unwrap();
        writer.row("send", &row).unwrap();
        writer.finish(&mut plan, Some("the plan")).unwrap();
        let action = MachineAction {
            requestor: Some(text.clone()),
            requestor_comment: Some(text.clone()),
            status: Some(ActionStatus::Other(text)),
            ..MachineAction::bare(ActionId::from_bytes([7; 16]).unwrap())
        };
        let mut list = Vec::new();
        let mut listing = ActionListWriter::begin(&mut list, ListingFormat::Csv).unwrap();
        listing.page(&[action]).unwrap();
        for file in [report.into_bytes(), plan, list] {
            let file = String::from_utf8(file).unwrap();
            prop_assert_eq!(file.lines().count(), 2, "{}", file);
            let records = read_back(&file);
            prop_assert_eq!(records.len(), 2);
            prop_assert_eq!(records[0].len(), records[1].len());
        }
    }
}

#[test]
fn a_report_replaces_the_earlier_one_and_nothing_else_stays_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.csv");
    let target = ReportTarget::check_writable(&path).unwrap();
    assert_eq!(target.path(), Some(path.as_path()));
    assert!(
        names_in(folder.path()).is_empty(),
        "the proof leaves no trace"
    );
    for round in ["first", "second"] {
        let written = write_report(
            ReportFormat::Csv,
            &target,
            good(vec![bare_row(round), bare_row("b")]),
            none,
        );
        assert_eq!(written.unwrap(), Delivery::Whole { rows: 2 });
        let records = read_back(&fs::read_to_string(&path).unwrap());
        assert_eq!(records[1][0], round);
        assert_eq!(names_in(folder.path()), ["report.csv"]);
    }
}

#[test]
fn rows_that_fail_in_mid_way_leave_the_earlier_report_and_no_litter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.csv");
    fs::write(&path, "the earlier report").unwrap();
    let target = ReportTarget::check_writable(&path).unwrap();
    let rows = (0..5000).map(|number| match number {
        4999 => Err(io::Error::other("the disk is gone")),
        _ => Ok(full_row()),
    });
    let error = write_report(ReportFormat::Csv, &target, rows, none).unwrap_err();
    assert!(error.to_string().contains("report.csv"), "{error}");
    assert!(matches!(error, OutputError::Rows { .. }));
    assert_eq!(fs::read_to_string(&path).unwrap(), "the earlier report");
    assert_eq!(names_in(folder.path()), ["report.csv"]);
}

#[test]
fn a_folder_that_vanished_after_the_proof_is_an_error_that_names_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let target = ReportTarget::check_writable(&inner.join("report.csv")).unwrap();
    fs::remove_dir(&inner).unwrap();
    let error = write_report(ReportFormat::Csv, &target, good(vec![full_row()]), none).unwrap_err();
    assert!(matches!(
        error,
        OutputError::Target(TargetError::Unwritable { .. })
    ));
    assert!(error.to_string().contains("report.csv"), "{error}");
}

#[test]
fn a_target_that_became_a_folder_keeps_it_and_leaves_no_litter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.csv");
    let target = ReportTarget::check_writable(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = write_report(ReportFormat::Csv, &target, good(vec![full_row()]), none).unwrap_err();
    assert!(matches!(
        error,
        OutputError::Target(TargetError::Replace { .. })
    ));
    assert_eq!(names_in(folder.path()), ["report.csv"]);
}

#[test]
fn what_cannot_hold_a_report_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = |path: &Path| ReportTarget::check_writable(path).unwrap_err();

    let inside = |name: &str| refused(&folder.path().join(name));
    for (error, expected) in [
        (refused(folder.path()), "Folder"),
        (inside("missing/report.csv"), "Unwritable"),
        (inside("file/report.csv"), "Unwritable"),
        (refused(Path::new("missing/")), "NoName"),
        (refused(Path::new("..")), "Folder"),
        (refused(Path::new("")), "NoName"),
    ] {
        let told = format!("{error:?}");
        assert!(told.starts_with(expected), "{told}");
    }

    let mut permissions = fs::metadata(&file).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&file, permissions).unwrap();
    assert!(matches!(refused(&file), TargetError::ReadOnly { .. }));
    assert_eq!(names_in(folder.path()), ["file"]);
}

#[cfg(target_os = "linux")]
#[test]
fn devices_and_folders_that_take_no_files_are_refused() {
    // Not even the superuser can make a file there.
    let error = ReportTarget::check_writable(Path::new("/proc/self/report.csv")).unwrap_err();
    assert!(
        error.to_string().contains("/proc/self/report.csv"),
        "{error}"
    );
    assert!(matches!(error, TargetError::Unwritable { .. }));
    assert!(matches!(
        ReportTarget::check_writable(Path::new("/dev/null")),
        Err(TargetError::NotRegular { .. })
    ));
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_the_earlier_reports_mode_is_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let real = elsewhere.path().join("real.csv");
    fs::write(&real, "the earlier report").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.path().join("report.csv");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let target = ReportTarget::check_writable(&link).unwrap();
    write_report(ReportFormat::Csv, &target, good(vec![full_row()]), none).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(read_back(&fs::read_to_string(&real).unwrap()).len(), 2);
    assert_eq!(
        fs::metadata(&real).unwrap().permissions().mode() & 0o777,
        0o640
    );

    let astray = folder.path().join("astray.csv");
    std::os::unix::fs::symlink(folder.path().join("nothing"), &astray).unwrap();
    assert!(matches!(
        ReportTarget::check_writable(&astray),
        Err(TargetError::Link { .. })
    ));
}

#[cfg(unix)]
#[test]
fn a_link_that_is_planted_after_the_proof_is_not_followed() {
    use std::os::unix::fs::{lchown, symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("out")).unwrap();
    fs::create_dir(at("private")).unwrap();
    let target = ReportTarget::check_writable(&at("out/report.csv")).unwrap();
    fs::rename(at("out"), at("moved")).unwrap();
    symlink(at("private"), at("out")).unwrap();
    // Only the superuser can give a link away.
    if lchown(at("out"), Some(65_534), None).is_err() {
        return;
    }
    let written = write_report(ReportFormat::Csv, &target, good(vec![full_row()]), none);
    let told = format!("{:?}", written.unwrap_err());
    assert!(told.contains("ForeignLink"), "{told}");
    assert!(names_in(&at("private")).is_empty());
}

#[test]
fn a_dash_is_standard_output_whatever_files_there_are() {
    assert_eq!(
        ReportTarget::check_writable(Path::new("-")).unwrap(),
        ReportTarget::Stdout
    );
}
