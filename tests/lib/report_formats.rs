//! The formats besides CSV: what they say, that they agree, and that no text of others acts in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use base64::Engine as _;
use jiff::Timestamp;
use mde_cancel::input::{InputSettings, OpenInput};
use mde_cancel::model::{FollowUp, Outcome, ReportRow, RunId, Sending, Standing};
use mde_cancel::quota::Windows;
use mde_cancel::report::{
    AcceptedPolicy, CommandHint, ReportFormat, ReportSummary, ReportTarget, Timeline,
    TimelineBuilder, write_report,
};
use ring::digest::{SHA256, digest};
use serde_json::Value;

const RUN: &str = "0199f3c2-10aa-7b1e-8a77-9a3d0c5be0a1";

/// What an attacker would put into a machine's name or a comment.
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
        renewed_every: None,
        is_sandbox: false,
        user: text.to_owned(),
        host: text.to_owned(),
        tenant: text.to_owned(),
        app: "-".to_owned(),
        cloud: "commercial".to_owned(),
        version: "0.1.0".to_owned(),
        standing: Standing::Stopped,
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

/// Writes one report and returns its text.
fn written(format: ReportFormat, rows: &[ReportRow], summary: &ReportSummary) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("r.{}", format.ending()));
    let target = ReportTarget::check_writable(&path).unwrap();
    let rows = rows.iter().cloned().map(Ok::<_, io::Error>);
    write_report(format, &target, rows, |_| Ok(summary.clone())).unwrap();
    fs::read_to_string(&path).unwrap()
}

/// One row of every outcome, with the texts of an attacker in turn.
fn hostile_rows() -> Vec<ReportRow> {
    let texts = HOSTILE.iter().cycle();
    let outcomes = Outcome::ALL.into_iter().zip(texts).enumerate();
    outcomes
        .map(|(number, (outcome, text))| row(number, outcome, text))
        .collect()
}

#[test]
fn json_keeps_every_text_as_it_was_and_prints_nothing_that_acts() {
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

/// Returns the names under `at` and asserts that all of them are required and no other is allowed.
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

/// Takes a page apart: what stands between `open` and `close`, and the rest.
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
fn a_ticket_begins_with_what_is_left_and_holds_every_row_of_a_short_run() {
    let rows = hostile_rows();
    let text = written(ReportFormat::Markdown, &rows, &summary(&rows, "x"));
    assert!(text.starts_with("# 2 machines are isolated now and need release\n"));
    let (_, all) = text.split_once("\n## Rows\n").unwrap();
    for row in &rows {
        assert_eq!(all.matches(&row.action_id).count(), 1);
    }
    // Whatever stands outside code spans is ours.
    for line in text.lines().filter(|line| line.starts_with("| `7f3c")) {
        assert!(!line.replace("\\|", "").contains("`|`"), "{line}");
        assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line}");
    }
}

#[test]
fn a_ticket_of_a_long_run_holds_what_needs_a_look_and_says_what_it_leaves_out() {
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

/// Returns where the words begin in a text, in this order.
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
    let command = told.commands[0].line.clone();
    let page = written(ReportFormat::Html, &rows, &told);
    let (_, body) = page.split_once("<body>").unwrap();
    let order = [
        "<h1>2 machines are isolated now and need release</h1>",
        "excluded: 1 machine is still isolated",
        "What still needs work",
        &command,
        "host-007",
        "Excluded: left alone",
        "dc-01",
        ">Outcomes<",
        "<dt>comment</dt><dd>CHG-4711</dd>",
        "<dt>exclusions</dt><dd>keep.txt</dd>",
        ">Action types<",
        ">Quota over time<",
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
    summary.standing = Standing::Running;
    summary.ended_at = None;
    summary.follow_ups.clear();
    let page = written(ReportFormat::Html, &rows, &summary);
    assert!(
        page.contains("<h1>1 row still waits for its turn</h1>"),
        "{page}"
    );
    assert!(page.contains("The run is still going on"));
    // Before the first row was read nothing is left, but nothing is done either.
    let nothing = ReportSummary {
        excluded_rows: Vec::new(),
        outcomes: BTreeMap::new(),
        renewed_every: Some(Duration::from_secs(30)),
        ..summary
    };
    let page = written(ReportFormat::Html, &[], &nothing);
    for part in [
        "<h1>Still running</h1>",
        "<div class=\"left some\">",
        "renews itself every 30 s",
        "<noscript><meta http-equiv=\"refresh\" content=\"30\"></noscript>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}
