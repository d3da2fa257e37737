//! What people have lying about, read: every format, our own files, slow pipes, and reading taken up again.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mde_cancel::input::{Input, InputError, InputFormat, InputSettings, OpenInput, open};
use mde_cancel::model::{ActionId, ActionType, InputRow, ReportRow};

use crate::support::{read_all, sound_rows};

const A: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
const B: &str = "0a1b2c3d-0000-4000-8000-00000000000b";

fn stream(bytes: &[u8], settings: &InputSettings) -> OpenInput {
    OpenInput::from_reader("stdin", Box::new(io::Cursor::new(bytes.to_vec())), settings)
}

fn rows(bytes: &[u8]) -> Vec<InputRow> {
    rows_as(bytes, InputFormat::Auto)
}

fn rows_as(bytes: &[u8], format: InputFormat) -> Vec<InputRow> {
    let settings = InputSettings {
        format,
        ..InputSettings::default()
    };
    sound_rows(stream(bytes, &settings))
}

/// Writes each row as `line id` or `line ! reason`.
fn told(rows: &[InputRow]) -> Vec<String> {
    rows.iter()
        .map(|row| match &row.id {
            Ok(id) => format!("{} {id}", row.source.line),
            Err(reason) => format!("{} ! {reason}", row.source.line),
        })
        .collect()
}

fn fault(bytes: &[u8]) -> String {
    let mut rows = read_all(&mut stream(bytes, &InputSettings::default()));
    let error = rows.remove(0).unwrap_err();
    assert!(rows.is_empty(), "nothing comes after an error");
    error.to_string()
}

fn utf16(text: &str) -> Vec<u8> {
    [0xFF, 0xFE]
        .into_iter()
        .chain(text.encode_utf16().flat_map(u16::to_le_bytes))
        .collect()
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("samples")
        .join(name)
}

fn open_one(path: &Path, settings: &InputSettings) -> Result<OpenInput, InputError> {
    let mut inputs = open(&[Input::parse(path.as_os_str())], settings)?;
    Ok(inputs.remove(0))
}

/// Reads each text as it is, with a mark, and as UTF-16, and expects `A` and `B` on the two lines.
fn assert_two_rows(cases: &[(&str, String, [u64; 2])]) {
    for (case, text, [first, second]) in cases {
        let expected = [format!("{first} {A}"), format!("{second} {B}")];
        let marked = format!("\u{FEFF}{text}");
        for bytes in [text.as_bytes(), marked.as_bytes(), &utf16(text)] {
            assert_eq!(told(&rows(bytes)), expected, "{case}");
        }
    }
}

#[test]
fn every_way_to_delimit_cells_gives_the_same_two_rows() {
    assert_two_rows(&[
        (
            "header",
            format!("id,type\n{A},Isolate\n{B},Isolate\n"),
            [2, 3],
        ),
        (
            "no last line end",
            format!("id,type\n{A},Isolate\n{B},Isolate"),
            [2, 3],
        ),
        (
            "crlf and blanks",
            format!("\r\n\r\nid,type\r\n\r\n{A},x\r\n \r\n{B},x\r\n"),
            [5, 7],
        ),
        (
            "semicolons",
            format!("Id;Type\n{A};Isolate\n{B};a,b,c\n"),
            [2, 3],
        ),
        ("tabs", format!("type\tid\nx\t{A}\nx\t{B}\n"), [2, 3]),
        ("a tab first", format!("\tid\nx\t{A}\nx\t{B}\n"), [2, 3]),
        ("bars", format!("type|id|a,b\nx|{A}|\nx|{B}|\n"), [2, 3]),
        (
            "sep line",
            format!("sep=;\r\nid;type\r\n{A};x\r\n{B};x\r\n"),
            [3, 4],
        ),
        (
            "quoted sep line",
            format!("\"sep=|\"\nid|type\n{A}|x\n{B}|x\n"),
            [3, 4],
        ),
        ("odd sep", format!("sep=^\nid^type\n{A}^x\n{B}^x\n"), [3, 4]),
        (
            "#TYPE line",
            format!("#TYPE Selected.Object\n\"Id\",\"Type\"\n\"{A}\",\"x\"\n\"{B}\",\"x\"\n"),
            [3, 4],
        ),
        ("a column named #", format!("#,id\n1,{A}\n2,{B}\n"), [2, 3]),
        ("one column", format!("ActionId\n{A}\n{B}\n"), [2, 3]),
        ("quoted", format!("\"id\"\n\"{A}\"\n\"{{{B}}}\"\n"), [2, 3]),
        ("no header", format!("ws-1,{A},x\nws-2,{B},x\n"), [1, 2]),
        ("no header, quoted", format!("\"{A}\"\n\"{B}\"\n"), [1, 2]),
        (
            "no header, comments",
            format!("# c\n{A};1\n# id;c\n{B};2\n"),
            [2, 4],
        ),
        (
            "quoted line ends",
            format!("id,comment\n{A},\"a\nb\r\n\"\"c\"\"\"\n{B},\n"),
            [2, 5],
        ),
        (
            "extra blank cells",
            format!("id,type\n{A},x,,\n,,,\n{B},x, \n"),
            [2, 4],
        ),
        (
            "short row",
            format!("type,id,comment\nx,{A}\nx,{B}\n"),
            [2, 3],
        ),
    ]);
}

#[test]
fn every_way_to_write_lines_and_json_gives_the_same_two_rows() {
    assert_two_rows(&[
        (
            "lines",
            format!("# head\n\n{A}\n  {{{B}}}  # tail, with a comma\n"),
            [3, 4],
        ),
        ("lines with old line ends", format!("{A}\r{B}\r"), [1, 1]),
        ("json strings", format!("[\"{A}\",\n\"{B}\"]"), [1, 2]),
        (
            "json objects",
            format!("[\n {{\"id\":\"{A}\"}},\n {{\"id\":\"{B}\",\"a\":[{{}}]}}\n]\n"),
            [2, 3],
        ),
        (
            "envelope",
            format!(
                "{{\"@odata.context\":\"x\",\"value\":[{{\"id\":\"{A}\"}},\n{{\"id\":\"{B}\"}}],\"@odata.nextLink\":\"]}}\"}}"
            ),
            [1, 2],
        ),
        (
            "printed envelope",
            format!(
                "{{\n \"value\": [\n  {{\n   \"id\": \"{A}\"\n  }},\n  {{ \"id\": \"{B}\" }}\n ]\n}}\n"
            ),
            [3, 6],
        ),
        (
            "two envelopes",
            format!("{{\"value\":[{{\"id\":\"{A}\"}}]}}\n{{\"value\":[{{\"id\":\"{B}\"}}]}}\n"),
            [1, 2],
        ),
        (
            "printed objects",
            format!("{{\n \"id\": \"{A}\"\n}}\n{{\n \"id\": \"{B}\"\n}}\n"),
            [1, 4],
        ),
        (
            "json lines",
            format!("{{\"id\":\"{A}\"}}\n\n{{\"id\":\"{B}\"}}\n"),
            [1, 3],
        ),
        (
            "our json report",
            format!(
                "{{\"summary\":{{\"rows\":[1]}},\"rows\":[{{\"action_id\":\"{A}\"}},{{\"action_id\":\"{B}\"}}]}}"
            ),
            [1, 1],
        ),
        (
            "a brace that is no json",
            format!("{{{A}}}\n{{{B}}}\n"),
            [1, 2],
        ),
    ]);
}

#[test]
fn a_format_that_is_asked_for_is_not_guessed() {
    let strings = format!("\"{A}\"\n{{\"id\":\"{B}\"}}\n");
    let expected = [format!("1 {A}"), format!("2 {B}")];
    for format in [InputFormat::Jsonl, InputFormat::Json] {
        assert_eq!(told(&rows_as(strings.as_bytes(), format)), expected);
    }
    let text = format!("id\tnote\n{A}\ta;b|c,d\n");
    assert_eq!(
        told(&rows_as(text.as_bytes(), InputFormat::Tsv)),
        [format!("2 {A}")]
    );
    assert_eq!(
        told(&rows_as(
            format!("id,x\n{A}\n").as_bytes(),
            InputFormat::Lines
        )),
        ["1 ! the id is not a GUID".to_owned(), format!("2 {A}")]
    );
    assert_eq!(
        told(&rows_as(format!("{A}\n").as_bytes(), InputFormat::Csv)),
        [format!("1 {A}")]
    );
}

#[test]
fn context_is_read_in_every_format() {
    let csv = format!(
        "id,type,status,machineId,computerDnsName,requestor,requestorComment,comment,tenant\n{A},isolate,Pending,m,ws-1,soc,x,\"a, \"\"b\"\"\",t\n"
    );
    let json = format!(
        r#"{{"id":"{A}","type":"isolate","status":"Pending","machineId":"m","computerDnsName":"ws-1","requestor":"soc","requestorComment":"x","comment":"a, \"b\"","tenant":"t"}}"#
    );
    let expected = rows(csv.as_bytes()).remove(0).context;
    assert_eq!(expected.action_type, Some(ActionType::Isolate));
    assert_eq!(expected.comment.as_deref(), Some("a, \"b\""));
    for text in [
        json.clone(),
        format!("[{json}]"),
        format!("{{\"value\":[{json}]}}"),
    ] {
        assert_eq!(rows(text.as_bytes()).remove(0).context, expected, "{text}");
    }
}

#[test]
fn nothing_to_do_is_no_error_on_a_stream() {
    for text in [
        "",
        "\n\n",
        "\u{FEFF}",
        "id,type\n",
        "\"id\"",
        "# only a word",
        "[]",
        "{\"value\":[]}",
    ] {
        assert!(rows(text.as_bytes()).is_empty(), "{text:?}");
    }
}

#[test]
fn an_input_without_a_column_of_ids_says_what_was_seen() {
    for (text, expected) in [
        (
            "machineId,Approval ID\n1,2\n".to_owned(),
            "stdin has machine ids and no action ids; select the actions of these machines with --machine-id; seen: \
             `machineId`, `Approval ID`"
                .to_owned(),
        ),
        ("hello\n".to_owned(), "stdin has no column of action ids; seen: `hello`".to_owned()),
        (
            format!("Approval ID\n{A}\n"),
            "stdin has no column of action ids; seen: `Approval ID`".to_owned(),
        ),
        (
            format!("{A},{B}\n"),
            format!("stdin has no header and more than one column of GUIDs; seen: `{A}`, `{B}`"),
        ),
        (
            format!("[{{\"host\":\"{A}\",\"x\":1}}]"),
            "stdin has no column of action ids; seen: `host`, `x`".to_owned(),
        ),
        (
            format!("{{\"result\":{{\"machine\":{{\"id\":\"{A}\"}}}}}}"),
            "stdin has machine ids and no action ids; select the actions of these machines with --machine-id; seen: \
             `result`, `result.machine`, `result.machine.id`"
                .to_owned(),
        ),
        (
            "0123456789abcdef0123456789abcdef01234567\n".to_owned(),
            "stdin has machine ids and no action ids; select the actions of these machines with --machine-id; seen: \
             `0123456789abcdef…`"
                .to_owned(),
        ),
    ] {
        assert_eq!(fault(text.as_bytes()), expected);
    }
}

#[test]
fn a_column_the_user_names_is_the_only_one_that_counts() {
    let settings = InputSettings {
        id_column: Some("approval id".to_owned()),
        ..InputSettings::default()
    };
    for text in [
        format!("id;Approval ID\n{A};{B}\n"),
        format!("[{{\"id\":\"{A}\",\"ApprovalId\":\"{B}\"}}]"),
    ] {
        let row = sound_rows(stream(text.as_bytes(), &settings)).remove(0);
        assert_eq!(row.id.unwrap().to_string(), B);
    }
    for (text, seen) in [
        (format!("id;x\n{A};{B}\n"), "`id`, `x`".to_owned()),
        (format!("{A}\n"), format!("`{A}`")),
        (format!("{{\"id\":\"{A}\"}}\n"), "`id`".to_owned()),
    ] {
        let mut rows = read_all(&mut stream(text.as_bytes(), &settings));
        let error = rows.remove(0).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("stdin has no column \"approval id\"; seen: {seen}")
        );
    }
}

#[test]
fn our_own_report_and_plan_are_read_back() {
    let header = ReportRow::COLUMNS.join(",");
    let line = |outcome: &str, comment: &str| {
        let mut cells = [""; ReportRow::COLUMNS.len()];
        (cells[0], cells[1], cells[4]) = (A, outcome, "Isolate");
        (cells[12], cells[17]) = (comment, "0198");
        cells.join(",")
    };
    let report = format!(
        "{header}\n{}\n{}\n",
        line("cancelled", ""),
        line("not_attempted", "'=x")
    );
    let read = rows(report.as_bytes());
    assert_eq!(
        read[0].skipped.as_deref(),
        Some("was cancelled in run 0198")
    );
    assert_eq!(read[1].skipped, None);
    assert_eq!(read[1].context.comment.as_deref(), Some("=x"));
    assert_eq!(read[1].context.action_type, Some(ActionType::Isolate));
    let plan = format!(
        "verdict,{header}\nsend,{}\nskipped,{}\n",
        line("", ""),
        line("skipped", "")
    );
    let read = rows(plan.as_bytes());
    assert_eq!(read[0].skipped, None);
    assert_eq!(read[1].skipped.as_deref(), Some("the plan says `skipped`"));
}

#[test]
fn only_what_draws_a_table_is_passed_over_as_a_line_of_it() {
    let text = format!("|id|type|\n|:--:|---|\n|{A}|x|\n|---|---|\n-\n|{B}|x|\n");
    let expected = [
        format!("3 {A}"),
        "5 ! the id is empty".to_owned(),
        format!("6 {B}"),
    ];
    assert_eq!(told(&rows(text.as_bytes())), expected);
}

#[test]
fn a_comment_line_is_no_row_whatever_it_holds() {
    for comment in [
        &b"# a\0list"[..],
        b"# a \xFFlist",
        b"  # a list",
        b"\x0B# a list",
        b"\xA0# a list",
        b"\xC2\xA0",
    ] {
        let lines = [A.as_bytes(), comment, B.as_bytes()].join(&b'\n');
        let expected = [format!("1 {A}"), format!("3 {B}")];
        assert_eq!(told(&rows_as(&lines, InputFormat::Lines)), expected);
    }
}

#[test]
fn blanks_behind_a_first_document_are_read_once() {
    let blanks = " ".repeat(16 * 1024 * 1024);
    let text = format!("{{\"id\":\"{A}\"}}{blanks}{{\"id\":\"{B}\"}}");
    let expected = [format!("1 {A}"), format!("1 {B}")];
    assert_eq!(told(&rows(text.as_bytes())), expected);
}

#[test]
fn an_object_with_an_id_is_a_row_and_nothing_inside_it_is() {
    let other = "66666666-0000-4000-8000-00000000000d";
    let inside = format!("[{{\"id\":\"{other}\"}}]");
    for (text, expected) in [
        (format!("{{\"id\":\"{A}\",\"x\":{inside}}}"), vec![A]),
        (format!("{{\"x\":{inside},\"id\":\"{A}\"}}"), vec![A]),
        (
            format!("[{{\"x\":{inside},\"id\":\"{A}\"}},\n{{\"x\":{inside},\"id\":\"{B}\"}}]"),
            vec![A, B],
        ),
        (
            format!("{{\"x\":{{\"y\":{inside}}},\"id\":\"{A}\"}}"),
            vec![A],
        ),
        // The id of a request is that of an envelope, if there is a list.
        (
            format!("{{\"requestId\":\"{A}\",\"x\":{inside}}}"),
            vec![other],
        ),
        (
            format!("{{\"x\":{inside},\"requestId\":\"{A}\"}}"),
            vec![other],
        ),
        (format!("{{\"requestId\":\"{A}\",\"x\":[1]}}"), vec![A]),
        (
            format!("{{\"headers\":{{\"request-id\":\"{A}\"}},\"body\":{{\"value\":{inside}}}}}"),
            vec![other],
        ),
        (
            format!("{{\"ids\":[\"{A}\",\"{B}\"],\"tags\":[\"x\"]}}"),
            vec![A, B],
        ),
    ] {
        let read = rows(text.as_bytes());
        let ids: Vec<_> = read
            .iter()
            .map(|row| row.id.as_ref().unwrap().to_string())
            .collect();
        assert_eq!(ids, expected, "{text}");
    }
}

#[test]
fn all_rows_of_a_document_come_from_lists_in_one_place() {
    let text = format!("{{\"a\":[{{\"id\":\"{A}\"}},{{\"x\":1}},7],\n\"b\":[{{\"id\":\"{B}\"}}]}}");
    let reason = "neither an object with an action id nor a string";
    assert_eq!(
        told(&rows(text.as_bytes())),
        [
            format!("1 {A}"),
            format!("1 ! {reason}"),
            format!("1 ! {reason}"),
            "2 ! ids come from `a`, and this one from `b`".to_owned()
        ]
    );
}

#[test]
fn broken_json_ends_the_reading_and_keeps_what_was_complete() {
    let broken = |text: &str| {
        let mut read = read_all(&mut stream(text.as_bytes(), &InputSettings::default()));
        let error = read.pop().unwrap().unwrap_err().to_string();
        let rows: Vec<_> = read.into_iter().map(Result::unwrap).collect();
        (told(&rows), error)
    };
    for (text, error) in [
        (
            format!("[\"{A}\",\n\"{B}"),
            "line 2 on: it ends before it is complete",
        ),
        (
            format!("[\"{A}\",\n\n{{\"id\" 1}}]"),
            "line 3 on: expected `:`",
        ),
        (
            format!("{{\"value\":[{{\"id\":\"{A}\"}},\n tru]}}"),
            "line 2 on: expected ident",
        ),
        (
            format!("[\"{A}\"]\n]"),
            "line 2 on: expected a JSON object, list or string",
        ),
        (
            format!("[\"{A}\",\n{}", "{\"x\":".repeat(1000)),
            "line 2 on: recursion limit exceeded",
        ),
        (
            format!("[\"{A}\",\"{}\"]", "y".repeat(2_000_000)),
            "line 1 on: a value is longer than 1 MiB",
        ),
    ] {
        let expected = format!("stdin is not valid JSON from {error}");
        assert_eq!(broken(&text), (vec![format!("1 {A}")], expected));
    }
}

#[test]
fn a_comment_that_is_too_long_makes_its_row_invalid_and_is_never_cut() {
    let read = |comment: &str| {
        let csv = format!("id,comment\n{A},{comment}\n{B},x\n");
        let json = serde_json::json!([{"id": A, "comment": comment}, {"id": B}]).to_string();
        [csv, json].map(|text| {
            let mut read = rows(text.as_bytes());
            assert_eq!(read.len(), 2);
            assert!(read[1].id.is_ok());
            read.remove(0)
        })
    };
    let whole = "ж".repeat(4096);
    for row in read(&format!("  {whole}  ")) {
        assert_eq!(row.id.unwrap().to_string(), A);
        assert_eq!(row.context.comment.unwrap(), whole);
    }
    for row in read(&format!("{whole}x")) {
        assert_eq!(
            row.id.unwrap_err(),
            "the comment has more than 4,096 characters"
        );
        assert_eq!(row.id_text, A);
    }
}

#[test]
fn all_samples_are_read() {
    for (name, count, bad, first_line) in [
        ("actions.csv", 251, 2, 2),
        ("actions.jsonl", 40, 0, 1),
        ("excel-unicode.csv", 40, 0, 2),
        ("ids.txt", 40, 0, 4),
    ] {
        let input = open_one(&sample(name), &InputSettings::default()).unwrap();
        let read = sound_rows(input);
        assert_eq!(read.len(), count, "{name}");
        assert_eq!(
            read.iter().filter(|row| row.id.is_err()).count(),
            bad,
            "{name}"
        );
        assert_eq!(read[0].source.line, first_line, "{name}");
        let unisolate = read
            .iter()
            .filter(|row| row.context.action_type == Some(ActionType::Unisolate));
        assert_eq!(unisolate.count(), if name == "actions.csv" { 2 } else { 0 });
    }
}

#[test]
fn a_file_is_checked_when_it_is_opened_and_a_stream_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let settings = InputSettings::default();
    let shown = |path: &Path| match open_one(path, &settings) {
        Ok(_) => "opened".to_owned(),
        Err(error) => error
            .to_string()
            .replace(&*folder.path().to_string_lossy(), ".")
            .replace('\\', "/"),
    };
    assert_eq!(shown(&file("zero.csv", "")), "./zero.csv is empty");
    assert_eq!(
        shown(&file("mark.csv", "\u{FEFF}\r\n")),
        "./mark.csv is empty"
    );
    assert_eq!(
        shown(&folder.path().join("none.csv")),
        "cannot open ./none.csv"
    );
    assert_eq!(
        shown(folder.path()),
        ". is a folder, not a file of action ids"
    );
    assert_eq!(shown(&file("head.csv", "id,type\n")), "opened");
    assert_eq!(
        shown(&file("bad.csv", "a,b\n")),
        "./bad.csv has no column of action ids; seen: `a`, `b`"
    );
    let good = file("good.csv", "id\n");
    let stdin = Input::parse(OsStr::new("-"));
    let inputs = open(&[stdin.clone(), Input::File(good)], &settings).unwrap();
    assert_eq!(inputs[0].name(), "stdin");
    assert!(matches!(
        open(&[stdin.clone(), stdin], &settings),
        Err(InputError::StdinTwice)
    ));
}

/// Gives out a text in pieces, and counts how many were asked for.
struct Pieces {
    pieces: Vec<Vec<u8>>,
    asked: Arc<AtomicUsize>,
}

impl Read for Pieces {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let at = self.asked.fetch_add(1, Ordering::Relaxed);
        let Some(piece) = self.pieces.get(at) else {
            return Ok(0);
        };
        room[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

#[test]
fn a_row_is_handed_out_before_another_byte_is_asked_for() {
    let rows = [
        vec![
            "id,type\n".to_owned(),
            format!("{A},x\n"),
            format!("{B},x\n"),
        ],
        vec![format!("{A},x\r\n"), format!("{B},x\r\n")],
        vec![format!("{A}\n"), format!("{B}\n")],
        vec![format!("{A}\r"), format!("{B}\r")],
        vec![format!("\"{A}\"\n"), format!("\"{B}\"\n")],
        vec![
            "sep=;\n".to_owned(),
            "id;x\n".to_owned(),
            format!("{A};\n"),
            format!("{B};\n"),
        ],
        vec![
            format!("{{\"id\":\"{A}\"}}\n"),
            format!("{{\"id\":\"{B}\"}}\n"),
        ],
        vec!["[".to_owned(), format!("\"{A}\""), format!(",\"{B}\"")],
        vec![
            "[{\"x\":1,".to_owned(),
            format!("\"id\":\"{A}\"}}"),
            format!(",{{\"id\":\"{B}\"}}"),
        ],
    ];
    for pieces in rows {
        for encode in [|text: &str| text.as_bytes().to_vec(), utf16] {
            let asked = Arc::new(AtomicUsize::new(0));
            let mut bytes: Vec<_> = pieces.iter().map(|piece| encode(piece)).collect();
            // Only the first piece has the mark.
            for later in bytes.iter_mut().skip(1) {
                if later.starts_with(&[0xFF, 0xFE]) {
                    later.drain(..2);
                }
            }
            let reader = Pieces {
                pieces: bytes,
                asked: Arc::clone(&asked),
            };
            let mut input =
                OpenInput::from_reader("stdin", Box::new(reader), &InputSettings::default());
            assert_eq!(asked.load(Ordering::Relaxed), 0, "opening reads nothing");
            let mut expected = [(A, 1), (B, 0)].into_iter();
            let read = input.read(&mut |chunk| {
                for row in chunk.rows {
                    let (id, back) = expected.next().unwrap();
                    assert_eq!(row.id.unwrap().to_string(), id);
                    let asked = asked.load(Ordering::Relaxed);
                    assert_eq!(asked, pieces.len() - back, "{pieces:?}");
                }
                ControlFlow::Continue(())
            });
            // The lists are cut off.
            assert!(matches!(read, Ok(()) | Err(InputError::Json { .. })));
            assert_eq!(expected.next(), None);
        }
    }
}

#[test]
fn a_fault_in_mid_read_ends_the_reading_and_keeps_what_came_before() {
    struct BreaksOff(bool);
    impl Read for BreaksOff {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("cable pulled"));
            }
            let text = format!("id\n{A}\n{}", &B[..20]);
            room[..text.len()].copy_from_slice(text.as_bytes());
            Ok(text.len())
        }
    }
    let input = OpenInput::from_reader(
        "stdin",
        Box::new(BreaksOff(false)),
        &InputSettings::default(),
    );
    let rows = read_all(&mut { input });
    assert_eq!(rows.len(), 2);
    assert!(rows[0].as_ref().unwrap().id.is_ok());
    let error = rows[1].as_ref().unwrap_err();
    assert_eq!(error.to_string(), "cannot read stdin from line 3 on");
}

#[test]
fn reading_goes_on_at_every_checkpoint_as_if_it_had_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    let settings = InputSettings {
        checkpoints: true,
        ..InputSettings::default()
    };
    for text in [
        format!("\u{FEFF}id,comment\r\n{A},\"a\r\nb\"\r\n\r\n{B},é\r\nx,y\r\n{A},"),
        format!("{A},1\n# c\n{B},2\n{A},3\n"),
        format!("{{\"id\":\"{A}\"}}\n\n{{\"id\":\"{B}\"}}\nx\n"),
        format!("{{\"count\":2,\"value\":[{{\"id\":\"{A}\"}},{{\"id\":\"{B}\"}},0],\"next\":[1]}}"),
        format!("{A}\n").repeat(200),
    ] {
        for bytes in [text.clone().into_bytes(), utf16(&text)] {
            std::fs::write(&path, bytes).unwrap();
            let whole = sound_rows(open_one(&path, &settings).unwrap());
            for stop in [1, 2, 3, 64, 65, whole.len()] {
                let mut first = open_one(&path, &settings).unwrap();
                let stop = usize::try_from(first.skip(stop as u64).unwrap()).unwrap();
                let checkpoint = first.checkpoint().unwrap();
                assert_eq!(checkpoint.rows, stop as u64);
                let mut again = open_one(&path, &settings).unwrap();
                again.resume(&checkpoint).unwrap();
                assert_eq!(again.checkpoint(), Some(checkpoint));
                // What the chunks say in between is what a reading from the start says.
                let mut last = None;
                let mut rest = Vec::new();
                let read = again.read(&mut |chunk| {
                    last = chunk.checkpoint;
                    rest.extend(chunk.rows);
                    ControlFlow::Continue(())
                });
                read.unwrap();
                assert_eq!(rest, whole[stop..], "after {stop} rows");
                first.skip(whole.len() as u64).unwrap();
                assert!(last.is_none_or(|last| Some(last) == first.checkpoint()));
            }
        }
    }
    let unmarked = open_one(&path, &InputSettings::default()).unwrap();
    assert_eq!(unmarked.checkpoint(), None);
}

#[test]
fn many_rows_pass_through_a_small_buffer() {
    /// Makes rows up as they are asked for and remembers the largest read.
    struct Endless {
        left: u32,
        largest: Arc<AtomicUsize>,
    }
    impl Read for Endless {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            self.largest.fetch_max(room.len(), Ordering::Relaxed);
            let mut text = String::new();
            while self.left > 0 && text.len() + 120 < room.len() {
                self.left -= 1;
                writeln!(text, "{A},Isolate,{:040x}", self.left).unwrap();
            }
            room[..text.len()].copy_from_slice(text.as_bytes());
            Ok(text.len())
        }
    }
    // A debug build is slow, and a tenth shows as well whether anything is held.
    let count = 100_000;
    let largest = Arc::new(AtomicUsize::new(0));
    let reader = Endless {
        left: count,
        largest: Arc::clone(&largest),
    };
    let input = OpenInput::from_reader("stdin", Box::new(reader), &InputSettings::default());
    let id = ActionId::parse(A).unwrap();
    let mut good = 0;
    let read = { input }.read(&mut |chunk| {
        good += chunk.rows.iter().filter(|row| row.id == Ok(id)).count();
        ControlFlow::Continue(())
    });
    read.unwrap();
    assert_eq!(good, count as usize);
    assert!(largest.load(Ordering::Relaxed) <= 64 * 1024);
}
