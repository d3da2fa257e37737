//! Reports: the content of each format, what a spreadsheet or a browser makes of it, and that a report is written whole
//! or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use base64::Engine as _;
use jiff::Timestamp;
use mde_cancel::input::{InputSettings, OpenInput};
use mde_cancel::model::{
    ActionId, ActionStatus, FollowUp, MachineAction, Operation, Outcome, ReportRow, RunId,
    RunStatus, Sending, decode, encode, is_hidden,
};
use mde_cancel::quota::Windows;
use mde_cancel::report::{
    AcceptedPolicy, ActionListWriter, CommandHint, ListingFormat, OutputError, PlanWriter,
    ReportFormat, ReportSummary, ReportTarget, TargetError, Timeline, TimelineBuilder, WriteResult,
    write_csv, write_report,
};
use proptest::prelude::{any, prop_assert, prop_assert_eq};
use proptest::prop_oneof;
use proptest::strategy::Strategy;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::support::{proptest_config, sound_rows};

const FORMULA: [char; 5] = ['=', '+', '-', '@', '＝'];

/// Every text names its own column, so that swapped cells show.
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

/// Writes a report of one row with this comment, reads it as an input and returns the comment.
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

/// Any text, and text that our writers and our reader treat specially.
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
        // A spreadsheet that splits at semicolons starts cells inside ours.
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
        assert_eq!(written.unwrap(), WriteResult::Whole { rows: 2 });
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
    // Not even root can create a file there.
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
    // Only root can give a link away.
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

const RUN: &str = "0199f3c2-10aa-7b1e-8a77-9a3d0c5be0a1";

/// What an attacker could put into a machine's name or a comment.
const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>",
    "txt.\u{202e}exe",
    "\u{1b}[2Jred\u{9b}31m",
    "`|` **@all** [x](https://evil.example)",
    "'-alert(3)-'\u{0}\r\n</style>",
];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_430_000 + second).unwrap()
}

fn row(number: usize, outcome: Outcome, text: &str) -> ReportRow {
    let some = || Some(text.to_owned());
    ReportRow {
        action_id: format!("7f3c2a10-5b1e-4a77-9a3d-{number:012x}"),
        reason: text.to_owned(),
        action_status: Some("Succeeded".to_owned()),
        action_type: some(),
        machine_id: some(),
        computer_dns_name: some(),
        attempts: 1,
        http_status: Some(200),
        error_code: some(),
        correlation_id: some(),
        comment: some(),
        first_sent_at: Some(at(1)),
        settled_at: Some(at(2)),
        source: format!("ids.csv:{number}"),
        run_id: RUN.to_owned(),
        status_before: some(),
        requestor: some(),
        requestor_comment: some(),
        request_source: some(),
        action_scope: some(),
        created_at: Some(at(-60)),
        checked_at: Some(at(0)),
        comment_sent: some(),
        cancelled_by: some(),
        plan: some(),
        ..ReportRow::bare(outcome)
    }
}

fn timeline() -> Timeline {
    let mut builder = TimelineBuilder::new(&Windows::documented(), Duration::ZERO, at(0), at(90));
    for second in [0, 1, 70] {
        builder.push(Sending {
            sent_at: at(second),
            replied_at: Some(at(second)),
            http_status: Some(if second == 1 { 429 } else { 200 }),
            is_own: true,
            is_given_up: false,
        });
    }
    builder.finish()
}

fn summary(rows: &[ReportRow], text: &str) -> ReportSummary {
    let mut outcomes = BTreeMap::new();
    for row in rows {
        *outcomes.entry(row.outcome).or_default() += 1;
    }
    let settings = serde_json::json!({ "comment": text, "timeout_ms": 30_000, "rate": null });
    ReportSummary {
        run: RunId::parse(RUN).unwrap(),
        written_at: at(100),
        refresh_interval: None,
        operation: Operation::Cancel,
        is_sandbox: false,
        user: text.to_owned(),
        host: text.to_owned(),
        tenant: text.to_owned(),
        app: "-".to_owned(),
        cloud: "commercial".to_owned(),
        version: "0.1.0".to_owned(),
        standing: RunStatus::Stopped,
        stop_reason: Some(text.to_owned()),
        exit_code: Some(4),
        begun_at: at(0),
        ended_at: Some(at(90)),
        rows_read: rows.len() as u64,
        input_complete: true,
        inputs: vec![text.to_owned()],
        settings: settings.as_object().unwrap().clone(),
        accepted: AcceptedPolicy::IsLeft,
        final_statuses: BTreeMap::from([(text.to_owned(), 1)]),
        action_types: BTreeMap::from([
            (text.to_owned(), outcomes.clone()),
            (String::new(), BTreeMap::new()),
        ]),
        outcomes,
        follow_ups: vec![(FollowUp::Unisolate, 2)],
        follow_up_rows: rows.iter().take(1).cloned().collect(),
        excluded_rows: rows.iter().take(1).cloned().collect(),
        commands: vec![CommandHint {
            why: "List them".to_owned(),
            line: format!("mde-cancel report {RUN} --follow-up machines.csv"),
        }],
        answers: BTreeMap::from([
            ((Some(429), text.to_owned()), 1),
            ((None, String::new()), 2),
        ]),
        timeline: Some(timeline()),
    }
}

fn written(format: ReportFormat, rows: &[ReportRow], summary: &ReportSummary) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("r.{}", format.ending()));
    let target = ReportTarget::check_writable(&path).unwrap();
    let rows = rows.iter().cloned().map(Ok::<_, io::Error>);
    write_report(format, &target, rows, |_| Ok(summary.clone())).unwrap();
    fs::read_to_string(&path).unwrap()
}

/// One row for every outcome, with the hostile texts in turn.
fn hostile_rows() -> Vec<ReportRow> {
    let texts = HOSTILE.iter().cycle();
    let outcomes = Outcome::ALL.into_iter().zip(texts).enumerate();
    outcomes
        .map(|(number, (outcome, text))| row(number, outcome, text))
        .collect()
}

#[test]
fn json_keeps_every_text_and_contains_no_control_characters() {
    let rows = hostile_rows();
    let text = written(ReportFormat::Json, &rows, &summary(&rows, HOSTILE[2]));
    let acts = |letter: char| {
        (letter.is_control() && letter != '\n') || ('\u{202a}'..='\u{202e}').contains(&letter)
    };
    assert!(!text.contains(acts));
    let document: Value = serde_json::from_str(&text).unwrap();
    let read = document["rows"].as_array().unwrap();
    assert_eq!(read.len(), rows.len());
    for (read, row) in read.iter().zip(&rows) {
        assert_eq!(read["action_id"], row.action_id.as_str());
        assert_eq!(read["outcome"], row.outcome.as_str());
        assert_eq!(read["reason"], row.reason.as_str());
        assert_eq!(read["comment"].as_str(), row.comment.as_deref());
        assert_eq!(read["tenant"], Value::Null);
        assert_eq!(read["first_sent_at"], "2026-11-23T10:33:21Z");
    }
    let summary = &document["summary"];
    assert_eq!(summary["user"], HOSTILE[2]);
    assert_eq!(summary["rows"], rows.len());
    assert_eq!(summary["app"], Value::Null);
    assert_eq!(
        summary["left"][0],
        "2 machines are isolated now and need release"
    );
    assert_eq!(summary["outcomes"]["cancelled"], 1);
    assert_eq!(summary["throttled"], 1);
    assert_eq!(summary["quota"][0]["limit"], 100);
}

#[test]
fn json_lines_are_the_rows_of_the_document_one_a_line() {
    let rows = hostile_rows();
    let summary = summary(&rows, "x");
    let document: Value =
        serde_json::from_str(&written(ReportFormat::Json, &rows, &summary)).unwrap();
    let lines: Vec<Value> = written(ReportFormat::JsonLines, &rows, &summary)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(Value::Array(lines), document["rows"]);
}

#[test]
fn an_empty_run_has_a_report_in_every_format() {
    let summary = summary(&[], "x");
    for format in ReportFormat::ALL {
        let text = written(format, &[], &summary);
        match format {
            ReportFormat::JsonLines => assert_eq!(text, ""),
            ReportFormat::Json => {
                let document: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(document["rows"], Value::Array(Vec::new()));
            }
            _ => assert!(!text.is_empty()),
        }
    }
}

/// Returns the property names at `at`. Asserts that all are required and no others allowed.
fn names(schema: &Value, at: &str) -> BTreeSet<String> {
    let part = schema.pointer(at).unwrap();
    assert_eq!(part["additionalProperties"], false, "{at}");
    let names = part["properties"].as_object().unwrap().keys().cloned();
    let names: BTreeSet<_> = names.collect();
    let required = part["required"].as_array().unwrap().iter();
    let required: BTreeSet<_> = required
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, required, "{at}");
    names
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_schema_names_what_is_written_and_no_more() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/report.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let rows = hostile_rows();
    let text = written(ReportFormat::Json, &rows, &summary(&rows, "x"));
    let document: Value = serde_json::from_str(&text).unwrap();
    let own = |at: &str| keys(document.pointer(at).unwrap());
    assert_eq!(names(&schema, ""), own(""));
    assert_eq!(names(&schema, "/$defs/row"), own("/rows/0"));
    assert_eq!(names(&schema, "/$defs/summary"), own("/summary"));
    for list in ["action_types", "answers", "quota"] {
        let described = names(&schema, &format!("/$defs/summary/properties/{list}/items"));
        assert_eq!(described, own(&format!("/summary/{list}/0")), "{list}");
    }
    let columns: BTreeSet<_> = ReportRow::COLUMNS.iter().map(ToString::to_string).collect();
    assert_eq!(own("/rows/0"), columns);
    let outcomes = schema["$defs"]["outcome"]["enum"].as_array().unwrap();
    let words: Vec<_> = outcomes.iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words, Outcome::ALL.map(Outcome::as_str));
    let follow_ups = schema.pointer("/$defs/row/properties/follow_up/enum");
    for follow_up in FollowUp::ALL {
        let known = follow_ups.unwrap().as_array().unwrap();
        assert!(known.contains(&Value::from(follow_up.as_str())));
    }
}

#[test]
fn a_report_of_json_lines_is_an_input_of_which_only_open_rows_go_again() {
    let rows: Vec<_> = Outcome::ALL
        .into_iter()
        .enumerate()
        .map(|(number, outcome)| row(number, outcome, "=1+1"))
        .collect();
    let text = written(ReportFormat::JsonLines, &rows, &summary(&rows, "x"));
    let bytes = io::Cursor::new(text.into_bytes());
    let input = OpenInput::from_reader("r.jsonl", Box::new(bytes), &InputSettings::default());
    let read = crate::support::sound_rows(input);
    assert_eq!(read.len(), rows.len());
    for (read, row) in read.iter().zip(&rows) {
        let goes = matches!(
            row.outcome,
            Outcome::Failed
                | Outcome::Unknown
                | Outcome::Accepted
                | Outcome::NotAttempted
                | Outcome::Forbidden
        );
        assert_eq!(read.skipped.is_none(), goes, "{}", row.outcome);
        assert_eq!(read.context.comment.as_deref(), Some("=1+1"));
    }
}

/// Cuts a page into the text between `open` and `close`, and the rest.
fn cut<'page>(page: &'page str, open: &str, close: &str) -> (&'page str, String) {
    let (before, rest) = page.split_once(open).unwrap();
    let (inside, after) = rest.split_once(close).unwrap();
    (inside, format!("{before}{after}"))
}

#[test]
fn the_page_is_one_file_whose_policy_knows_its_own_script_and_style() {
    let rows = [
        row(1, Outcome::Failed, "x"),
        row(2, Outcome::Cancelled, "y"),
    ];
    let page = written(ReportFormat::Html, &rows, &summary(&rows, "x"));
    let (policy, _) = cut(
        &page,
        "http-equiv=\"Content-Security-Policy\" content=\"",
        "\"",
    );
    let policy = policy.replace("&#39;", "'");
    let (script, rest) = cut(&page, "<script>", "</script>");
    let (style, rest) = cut(&rest, "<style>", "</style>");
    for (text, name) in [(script, "script-src"), (style, "style-src")] {
        let hash =
            base64::engine::general_purpose::STANDARD.encode(digest(&SHA256, text.as_bytes()));
        assert!(
            policy.contains(&format!("{name} 'sha256-{hash}'")),
            "{policy}"
        );
    }
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for word in [
        "<script",
        "<style",
        "style=",
        " src=",
        "href=\"http",
        "@import",
        "url(",
    ] {
        assert!(!rest.contains(word), "{word}");
    }
    assert!(!style.contains("url(") && !style.contains("@import"));
}

#[test]
fn hostile_texts_stand_on_the_page_as_text() {
    let rows = hostile_rows();
    for text in HOSTILE {
        let page = written(ReportFormat::Html, &rows, &summary(&rows, text));
        let (_, rest) = cut(&page, "<script>", "</script>");
        let (_, rest) = cut(&rest, "<style>", "</style>");
        for word in [
            "<script", "<img", "</style", "\u{202e}", "\u{1b}", "\u{9b}", "\0",
        ] {
            assert!(!rest.contains(word), "{word:?}");
        }
        for shown in ["&#60;script&#62;alert(1)", "\\u{202e}exe", "\\u{1b}[2Jred"] {
            assert!(rest.contains(shown), "{shown}");
        }
    }
}

#[test]
fn every_row_stands_on_the_page_once_with_its_outcome() {
    let rows = hostile_rows();
    let page = written(ReportFormat::Html, &rows, &summary(&rows, "x"));
    assert_eq!(page.matches("<tr data-o=").count(), rows.len());
    let (_, table) = page.split_once("<table id=\"rows\"").unwrap();
    for row in &rows {
        assert_eq!(table.matches(&row.action_id).count(), 1);
        assert!(table.contains(&format!("<tr data-o=\"{}\"", row.outcome)));
    }
}

#[test]
fn the_markdown_report_starts_with_what_is_left_and_has_every_row_of_a_short_run() {
    let rows = hostile_rows();
    let text = written(ReportFormat::Markdown, &rows, &summary(&rows, "x"));
    assert!(text.starts_with("# 2 machines are isolated now and need release\n"));
    let (_, all) = text.split_once("\n## Rows\n").unwrap();
    for row in &rows {
        assert_eq!(all.matches(&row.action_id).count(), 1);
    }
    // All text outside code spans is ours.
    for line in text.lines().filter(|line| line.starts_with("| `7f3c")) {
        assert!(!line.replace("\\|", "").contains("`|`"), "{line}");
        assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line}");
    }
}

#[test]
fn the_markdown_report_of_a_long_run_has_rows_that_need_work_and_counts_the_rest() {
    let many = |outcome, count: usize| (0..count).map(move |number| row(number, outcome, "x"));
    let mut rows: Vec<_> = many(Outcome::Cancelled, 600).collect();
    rows.extend(many(Outcome::Failed, 2));
    let text = written(ReportFormat::Markdown, &rows, &summary(&rows, "x"));
    assert_eq!(text.matches("| failed | `x`").count(), 2);
    assert!(text.contains("\n600 rows not shown here; the CSV report has every row.\n"));
    rows.extend(many(Outcome::Failed, 700));
    let text = written(ReportFormat::Markdown, &rows, &summary(&rows, "x"));
    assert!(text.contains("\n802 rows not shown here, 202 of which need work;"));
}

/// Returns the offset of each word in the text.
fn places(text: &str, words: &[&str]) -> Vec<usize> {
    words
        .iter()
        .map(|word| {
            text.find(word)
                .unwrap_or_else(|| panic!("no {word} in {text}"))
        })
        .collect()
}

#[test]
fn a_page_and_a_ticket_say_first_what_to_do_then_what_happened_and_last_every_row() {
    let mut rows: Vec<_> = (0..2)
        .map(|number| row(number, Outcome::AlreadyFinal, "x"))
        .collect();
    rows[0].computer_dns_name = Some("host-007".to_owned());
    rows[0].follow_up = Some("unisolate".to_owned());
    let mut excluded = row(2, Outcome::Skipped, "excluded by keep.txt: dc-01");
    excluded.action_type = Some("Isolate".to_owned());
    excluded.computer_dns_name = Some("dc-01".to_owned());
    rows.push(excluded.clone());
    let mut told = summary(&rows, "CHG-4711");
    told.settings
        .insert("exclude_file".to_owned(), "keep.txt".into());
    told.excluded_rows = vec![excluded];
    told.action_types.extend((1..=13).map(|count| {
        let outcomes = BTreeMap::from([(Outcome::Cancelled, count)]);
        (format!("Type{count}"), outcomes)
    }));
    let command = told.commands[0].line.clone();
    let page = written(ReportFormat::Html, &rows, &told);
    let (_, body) = page.split_once("<body>").unwrap();
    let order = [
        "<h1>2 machines are isolated now and need release</h1>",
        "excluded: 1 machine is still isolated",
        "What still needs work",
        &command,
        "host-007",
        "<h3>Excluded</h3>",
        "dc-01",
        ">Outcomes<",
        "<dt>comment</dt><dd>CHG-4711</dd>",
        "<dt>exclusions</dt><dd>keep.txt</dd>",
        ">Action types<",
        "others, 3 types</span><span class=\"count\">3</span>",
        ">Quota over time<",
        "3, at most 1 in 0.8 s",
        "paused after a 429, about 1 min 09 s",
        ">Settings<",
        ">All rows<",
    ];
    assert!(places(body, &order).is_sorted(), "{body}");
    let ticket = written(ReportFormat::Markdown, &rows, &told);
    let order = [
        "# 2 machines are isolated now and need release",
        "- excluded: 1 machine is still isolated",
        &command,
        "| `host-007` | `unisolate` |",
        "| `dc-01` | still isolated | `excluded by keep.txt: dc-01` |",
        "| outcome | rows |",
        "- Comment `CHG-4711`",
        "- Exclusions `keep.txt`",
        "## Rows",
    ];
    assert!(places(&ticket, &order).is_sorted(), "{ticket}");
}

#[test]
fn a_run_that_goes_on_says_so() {
    let rows = [row(1, Outcome::NotAttempted, "")];
    let mut summary = summary(&rows, "x");
    summary.standing = RunStatus::Running;
    summary.ended_at = None;
    summary.follow_ups.clear();
    let page = written(ReportFormat::Html, &rows, &summary);
    assert!(
        page.contains("<h1>1 row still waits for its turn</h1>"),
        "{page}"
    );
    assert!(page.contains("The run is still running"));
    assert!(
        page.contains("<td>its turn has not come yet</td>"),
        "{page}"
    );
    // Before the first row is read, nothing is left to do, but nothing is done either.
    let nothing = ReportSummary {
        excluded_rows: Vec::new(),
        outcomes: BTreeMap::new(),
        refresh_interval: Some(Duration::from_secs(30)),
        ..summary
    };
    let page = written(ReportFormat::Html, &[], &nothing);
    for part in [
        "<h1>Still running</h1>",
        "<div class=\"left some\">",
        "reloads every 30 s",
        "<noscript><meta http-equiv=\"refresh\" content=\"30\"></noscript>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}
