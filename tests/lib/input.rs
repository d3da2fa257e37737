//! Reading inputs: every format, files of other programs, slow pipes, and resuming.

mod hostile;

use std::ffi::OsStr;
use std::io;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use mde_cancel::engine::Planner;
use mde_cancel::input::{Input, InputError, InputFormat, InputSettings, OpenInput, open};
use mde_cancel::model::{ActionType, InputRow, Outcome};

use crate::support::{read_all, sound_rows};

const A: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
const B: &str = "0a1b2c3d-0000-4000-8000-00000000000b";

/// Gives out `bytes` in reads of these lengths, repeated, and counts the reads.
struct Feed {
    bytes: Vec<u8>,
    at: usize,
    lengths: Vec<usize>,
    asked: Arc<Asked>,
}

#[derive(Default)]
struct Asked {
    times: AtomicUsize,
    largest: AtomicUsize,
}

impl Feed {
    fn of(bytes: &[u8], lengths: &[usize]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
            lengths: lengths.to_vec(),
            asked: Arc::default(),
        }
    }
}

impl Read for Feed {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let turn = self.asked.times.fetch_add(1, Ordering::Relaxed);
        self.asked.largest.fetch_max(room.len(), Ordering::Relaxed);
        let length = self.lengths[turn % self.lengths.len()];
        let count = length.min(room.len()).min(self.bytes.len() - self.at);
        room[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn stream(reader: impl Read + Send + 'static, settings: &InputSettings) -> OpenInput {
    OpenInput::from_reader("stdin", Box::new(reader), settings)
}

fn rows(bytes: impl AsRef<[u8]>) -> Vec<InputRow> {
    rows_as(bytes, InputFormat::Auto)
}

fn rows_as(bytes: impl AsRef<[u8]>, format: InputFormat) -> Vec<InputRow> {
    let settings = InputSettings {
        format,
        ..InputSettings::default()
    };
    sound_rows(stream(io::Cursor::new(bytes.as_ref().to_vec()), &settings))
}

/// Shows each row as its id or as `! reason`.
fn told(rows: &[InputRow]) -> Vec<String> {
    let told = rows.iter().map(|row| match &row.id {
        Ok(id) => id.to_string(),
        Err(reason) => format!("! {reason}"),
    });
    told.collect()
}

/// Like [`told`], with the line number in front.
fn told_with_lines(rows: &[InputRow]) -> Vec<String> {
    let lines = rows.iter().map(|row| row.source.line);
    let told = lines.zip(told(rows));
    told.map(|(line, text)| format!("{line} {text}")).collect()
}

/// Reads an input that ends in an error. Returns the rows before it, and the error.
fn broken(text: &str, settings: &InputSettings) -> (Vec<InputRow>, String) {
    let bytes = io::Cursor::new(text.to_owned().into_bytes());
    let mut read = read_all(&mut stream(bytes, settings));
    let error = read.pop().unwrap().unwrap_err().to_string();
    (read.into_iter().map(Result::unwrap).collect(), error)
}

/// Fills in the two ids.
fn filled(text: &str) -> String {
    text.replace("{A}", A).replace("{B}", B)
}

fn utf16(text: &str) -> Vec<u8> {
    [0xFF, 0xFE]
        .into_iter()
        .chain(text.encode_utf16().flat_map(u16::to_le_bytes))
        .collect()
}

fn open_one(path: &Path, settings: &InputSettings) -> Result<OpenInput, InputError> {
    let mut inputs = open(&[Input::parse(path.as_os_str())], settings)?;
    Ok(inputs.remove(0))
}

#[test]
fn every_way_to_write_two_rows_gives_the_same_two() {
    for (case, text, [first, second]) in [
        ("header", "id,type\n{A},Isolate\n{B},Isolate\n", [2, 3]),
        ("no last line end", "id,type\n{A},x\n{B},Isolate", [2, 3]),
        (
            "crlf and blanks",
            "\r\n\r\nid,type\r\n\r\n{A},x\r\n \r\n{B},x\r\n",
            [5, 7],
        ),
        ("semicolons", "Id;Type\n{A};x\n{B};a,b,c\n", [2, 3]),
        ("tabs", "type\tid\nx\t{A}\nx\t{B}\n", [2, 3]),
        ("a tab first", "\tid\nx\t{A}\nx\t{B}\n", [2, 3]),
        ("bars", "type|id|a,b\nx|{A}|\nx|{B}|\n", [2, 3]),
        ("sep", "sep=;\r\nid;type\r\n{A};x\r\n{B};x\r\n", [3, 4]),
        ("quoted sep", "\"sep=|\"\nid|type\n{A}|x\n{B}|x\n", [3, 4]),
        ("odd sep", "sep=^\nid^type\n{A}^x\n{B}^x\n", [3, 4]),
        (
            "#TYPE line",
            "#TYPE Selected.Object\n\"Id\",\"Type\"\n\"{A}\",\"x\"\n\"{B}\",\"x\"\n",
            [3, 4],
        ),
        ("a column named #", "#,id\n1,{A}\n2,{B}\n", [2, 3]),
        ("one column", "ActionId\n{A}\n{B}\n", [2, 3]),
        ("quoted", "\"id\"\n\"{A}\"\n\"{{B}}\"\n", [2, 3]),
        ("no header", "ws-1,{A},x\nws-2,{B},x\n", [1, 2]),
        ("no header, quoted", "\"{A}\"\n\"{B}\"\n", [1, 2]),
        ("no header, comments", "# c\n{A};1\n# id;c\n{B};2\n", [2, 4]),
        (
            "quoted line ends",
            "id,comment\n{A},\"a\nb\r\n\"\"c\"\"\"\n{B},\n",
            [2, 5],
        ),
        ("blank cells", "id,type\n{A},x,,\n,,,\n{B},x, \n", [2, 4]),
        ("short row", "type,id,comment\nx,{A}\nx,{B}\n", [2, 3]),
        (
            "lines",
            "# head\n\n{A}\n  {{B}}  # tail, and more\n",
            [3, 4],
        ),
        ("lines with old line ends", "{A}\r{B}\r", [1, 1]),
        ("a brace that is no json", "{{A}}\n{{B}}\n", [1, 2]),
        ("json strings", "[\"{A}\",\n\"{B}\"]", [1, 2]),
        (
            "json objects",
            "[\n {\"id\":\"{A}\"},\n {\"id\":\"{B}\",\"a\":[{}]}\n]\n",
            [2, 3],
        ),
        (
            "envelope",
            r#"{"@odata.context":"x","value":[{"id":"{A}"},{"id":"{B}"}],"@odata.nextLink":"]}"}"#,
            [1, 1],
        ),
        (
            "printed envelope",
            "{\n \"value\": [\n  {\n   \"id\": \"{A}\"\n  },\n  { \"id\": \"{B}\" }\n ]\n}\n",
            [3, 6],
        ),
        (
            "two envelopes",
            "{\"value\":[{\"id\":\"{A}\"}]}\n{\"value\":[{\"id\":\"{B}\"}]}\n",
            [1, 2],
        ),
        (
            "printed objects",
            "{\n \"id\": \"{A}\"\n}\n{\n \"id\": \"{B}\"\n}\n",
            [1, 4],
        ),
        (
            "json lines",
            "{\"id\":\"{A}\"}\n\n{\"id\":\"{B}\"}\n",
            [1, 3],
        ),
        (
            "our json report",
            r#"{"summary":{"rows":[1]},"rows":[{"action_id":"{A}"},{"action_id":"{B}"}]}"#,
            [1, 1],
        ),
    ] {
        let text = filled(text);
        let expected = [format!("{first} {A}"), format!("{second} {B}")];
        let marked = format!("\u{FEFF}{text}");
        for bytes in [text.as_bytes(), marked.as_bytes(), &utf16(&text)] {
            assert_eq!(told_with_lines(&rows(bytes)), expected, "{case}");
        }
    }
}

#[test]
fn a_format_that_is_asked_for_is_not_guessed() {
    use InputFormat::{Csv, Json, Jsonl, Lines, Tsv};
    for (format, text, expected) in [
        (
            Jsonl,
            "\"{A}\"\n{\"id\":\"{B}\"}\n",
            &["1 {A}", "2 {B}"][..],
        ),
        (Json, "\"{A}\"\n{\"id\":\"{B}\"}\n", &["1 {A}", "2 {B}"]),
        (Tsv, "id\tnote\n{A}\ta;b|c,d\n", &["2 {A}"]),
        (Lines, "id,x\n{A}\n", &["1 ! the id is not a GUID", "2 {A}"]),
        (Csv, "{A}\n", &["1 {A}"]),
    ] {
        let read = told_with_lines(&rows_as(filled(text), format));
        let expected: Vec<_> = expected.iter().map(|row| filled(row)).collect();
        assert_eq!(read, expected, "{format:?}");
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
        assert!(rows(text).is_empty(), "{text:?}");
    }
}

#[test]
fn an_input_without_a_column_of_ids_says_what_was_seen() {
    let no_ids = "stdin has no column of action ids; seen: ";
    let machines = "stdin has machine ids and no action ids; select the actions of these machines with --machine-id; seen: ";
    let two = "stdin has no header and more than one column of GUIDs; seen: ";
    for (text, error, seen) in [
        (
            "machineId,Approval ID\n1,2\n",
            machines,
            "`machineId`, `Approval ID`",
        ),
        ("hello\n", no_ids, "`hello`"),
        ("Approval ID\n{A}\n", no_ids, "`Approval ID`"),
        ("{A},{B}\n", two, "`{A}`, `{B}`"),
        ("[{\"host\":\"{A}\",\"x\":1}]", no_ids, "`host`, `x`"),
        (
            "{\"result\":{\"machine\":{\"id\":\"{A}\"}}}",
            machines,
            "`result`, `result.machine`, `result.machine.id`",
        ),
        (
            "0123456789abcdef0123456789abcdef01234567\n",
            machines,
            "`0123456789abcdef…`",
        ),
    ] {
        let (before, told) = broken(&filled(text), &InputSettings::default());
        assert_eq!(told, format!("{error}{}", filled(seen)));
        assert!(before.is_empty());
    }
}

#[test]
fn a_column_the_user_names_is_the_only_one_that_counts() {
    let settings = InputSettings {
        id_column: Some("approval id".to_owned()),
        ..InputSettings::default()
    };
    for text in [
        "id;Approval ID\n{A};{B}\n",
        "[{\"id\":\"{A}\",\"ApprovalId\":\"{B}\"}]",
    ] {
        let bytes = io::Cursor::new(filled(text).into_bytes());
        let read = sound_rows(stream(bytes, &settings));
        assert_eq!(told(&read), [B], "{text}");
    }
    for (text, seen) in [
        ("id;x\n{A};{B}\n", "`id`, `x`"),
        ("{A}\n", "`{A}`"),
        ("{\"id\":\"{A}\"}\n", "`id`"),
    ] {
        let seen = filled(seen);
        let expected = format!("stdin has no column \"approval id\"; seen: {seen}");
        assert_eq!(broken(&filled(text), &settings).1, expected);
    }
}

#[test]
fn only_what_draws_a_table_is_passed_over_as_a_line_of_it() {
    let text = filled("|id|type|\n|:--:|---|\n|{A}|x|\n|---|---|\n-\n|{B}|x|\n");
    let expected = ["3 {A}", "5 ! the id is empty", "6 {B}"].map(filled);
    assert_eq!(told_with_lines(&rows(text)), expected);
}

#[test]
fn whitespace_after_a_document_is_read_only_once() {
    let blanks = " ".repeat(16 * 1024 * 1024);
    let text = format!("{{\"id\":\"{A}\"}}{blanks}{{\"id\":\"{B}\"}}");
    assert_eq!(told(&rows(text)), [A, B]);
}

#[test]
fn an_object_with_an_id_is_a_row_and_nothing_inside_it_is() {
    const OTHER: &str = "66666666-0000-4000-8000-00000000000d";
    for (text, expected) in [
        (r#"{"id":"{A}","x":IN}"#, &[A][..]),
        (r#"{"x":IN,"id":"{A}"}"#, &[A]),
        (r#"[{"x":IN,"id":"{A}"},{"x":IN,"id":"{B}"}]"#, &[A, B]),
        (r#"{"x":{"y":IN},"id":"{A}"}"#, &[A]),
        // If there is a list, `requestId` belongs to the envelope.
        (r#"{"requestId":"{A}","x":IN}"#, &[OTHER]),
        (r#"{"x":IN,"requestId":"{A}"}"#, &[OTHER]),
        (r#"{"requestId":"{A}","x":[1]}"#, &[A]),
        (
            r#"{"headers":{"request-id":"{A}"},"body":{"value":IN}}"#,
            &[OTHER],
        ),
        (r#"{"ids":["{A}","{B}"],"tags":["x"]}"#, &[A, B]),
    ] {
        let inside = format!("[{{\"id\":\"{OTHER}\"}}]");
        let text = filled(text).replace("IN", &inside);
        assert_eq!(told(&rows(&text)), expected, "{text}");
    }
}

#[test]
fn all_rows_of_a_document_come_from_lists_in_one_place() {
    let text = filled("{\"a\":[{\"id\":\"{A}\"},{\"x\":1},7],\n\"b\":[{\"id\":\"{B}\"}]}");
    let expected = [
        "1 {A}",
        "1 ! neither an object with an action id nor a string",
        "1 ! neither an object with an action id nor a string",
        "2 ! ids come from `a`, and this one from `b`",
    ];
    assert_eq!(told_with_lines(&rows(text)), expected.map(filled));
}

#[test]
fn broken_json_ends_the_reading_and_keeps_what_was_complete() {
    let deep = format!("[\"{{A}}\",\n{}", "{\"x\":".repeat(1000));
    let long = format!("[\"{{A}}\",\"{}\"]", "y".repeat(2_000_000));
    for (text, error) in [
        (
            "[\"{A}\",\n\"{B}",
            "line 2 on: it ends before it is complete",
        ),
        ("[\"{A}\",\n\n{\"id\" 1}]", "line 3 on: expected `:`"),
        (
            "{\"value\":[{\"id\":\"{A}\"},\n tru]}",
            "line 2 on: expected ident",
        ),
        (
            "[\"{A}\"]\n]",
            "line 2 on: expected a JSON object, list or string",
        ),
        (&deep, "line 2 on: recursion limit exceeded"),
        (&long, "line 1 on: a value is longer than 1 MiB"),
    ] {
        let (before, told_error) = broken(&filled(text), &InputSettings::default());
        let expected = format!("stdin is not valid JSON from {error}");
        assert_eq!((told(&before), told_error), (vec![A.to_owned()], expected));
    }
}

#[test]
fn a_comment_that_is_too_long_makes_its_row_invalid_and_is_never_cut() {
    let read = |comment: &str| {
        let csv = format!("id,comment\n{A},{comment}\n{B},x\n");
        let json = serde_json::json!([{"id": A, "comment": comment}, {"id": B}]).to_string();
        [csv, json].map(|text| {
            let mut read = rows(text);
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
fn a_file_is_checked_when_it_is_opened_and_a_stream_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let settings = InputSettings::default();
    let shown = |name: &str, text: Option<&str>| {
        if let Some(text) = text {
            std::fs::write(at(name), text).unwrap();
        }
        let Err(error) = open_one(&at(name), &settings) else {
            return "opened".to_owned();
        };
        let folder = folder.path().to_string_lossy().into_owned();
        error.to_string().replace(&folder, ".").replace('\\', "/")
    };
    for (name, text, expected) in [
        ("zero.csv", Some(""), "./zero.csv is empty"),
        ("mark.csv", Some("\u{FEFF}\r\n"), "./mark.csv is empty"),
        ("none.csv", None, "cannot open ./none.csv"),
        ("", None, "./ is a folder, not a file of action ids"),
        ("head.csv", Some("id,type\n"), "opened"),
        (
            "bad.csv",
            Some("a,b\n"),
            "./bad.csv has no column of action ids; seen: `a`, `b`",
        ),
    ] {
        assert_eq!(shown(name, text), expected);
    }
    let stdin = Input::parse(OsStr::new("-"));
    let inputs = open(&[stdin.clone(), Input::File(at("head.csv"))], &settings).unwrap();
    assert_eq!(inputs[0].name(), "stdin");
    let twice = open(&[stdin.clone(), stdin], &settings);
    assert!(matches!(twice, Err(InputError::StdinTwice)));
}

#[test]
fn a_row_is_handed_out_before_another_byte_is_asked_for() {
    for pieces in [
        &["id,type\n", "{A},x\n", "{B},x\n"][..],
        &["{A},x\r\n", "{B},x\r\n"],
        &["{A}\n", "{B}\n"],
        &["{A}\r", "{B}\r"],
        &["\"{A}\"\n", "\"{B}\"\n"],
        &["sep=;\n", "id;x\n", "{A};\n", "{B};\n"],
        &["{\"id\":\"{A}\"}\n", "{\"id\":\"{B}\"}\n"],
        &["[", "\"{A}\"", ",\"{B}\""],
        &["[{\"x\":1,", "\"id\":\"{A}\"}", ",{\"id\":\"{B}\"}"],
    ] {
        for encode in [|text: &str| text.as_bytes().to_vec(), utf16] {
            let mut parts: Vec<_> = pieces.iter().map(|piece| encode(&filled(piece))).collect();
            // Only the first piece keeps the byte order mark.
            for later in parts.iter_mut().skip(1) {
                if later.starts_with(&[0xFF, 0xFE]) {
                    later.drain(..2);
                }
            }
            let mut lengths: Vec<_> = parts.iter().map(Vec::len).collect();
            lengths.push(0);
            let feed = Feed::of(&parts.concat(), &lengths);
            let asked = Arc::clone(&feed.asked);
            let times = || asked.times.load(Ordering::Relaxed);
            let mut input = stream(feed, &InputSettings::default());
            assert_eq!(times(), 0, "opening reads nothing");
            let mut expected = [(A, 1), (B, 0)].into_iter();
            let read = input.read(&mut |chunk| {
                for row in chunk.rows {
                    let (id, back) = expected.next().unwrap();
                    assert_eq!(row.id.unwrap().to_string(), id);
                    assert_eq!(times(), pieces.len() - back, "{pieces:?}");
                }
                ControlFlow::Continue(())
            });
            // The JSON lists are cut off.
            assert!(matches!(read, Ok(()) | Err(InputError::Json { .. })));
            assert_eq!(expected.next(), None);
        }
    }
}

#[test]
fn many_rows_pass_through_a_small_buffer() {
    // Few enough rows for a debug build, and enough to show whether any are kept.
    let line = format!("{A},Isolate,{}\n", "0".repeat(40));
    let feed = Feed::of(line.repeat(100_000).as_bytes(), &[usize::MAX]);
    let asked = Arc::clone(&feed.asked);
    let mut good = 0;
    let read = stream(feed, &InputSettings::default()).read(&mut |chunk| {
        good += chunk.rows.iter().filter(|row| row.id.is_ok()).count();
        ControlFlow::Continue(())
    });
    read.unwrap();
    assert_eq!(good, 100_000);
    assert!(asked.largest.load(Ordering::Relaxed) <= 64 * 1024);
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
    let rows = read_all(&mut stream(BreaksOff(false), &InputSettings::default()));
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
                // Checkpoints in between are those of a reading from the start.
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

/// Shows a row as `A Isolate host-001 m1 by ana says "comment"`, with short names for common values.
fn told_in_full(row: &InputRow) -> String {
    let context = &row.context;
    let id = match &row.id {
        Ok(id) => id.to_string(),
        Err(reason) => format!("! {reason}"),
    };
    let mut words = vec![id];
    words.extend(context.action_type.as_ref().map(ActionType::to_string));
    words.extend(context.computer_dns_name.clone());
    words.extend(context.machine_id.clone());
    words.extend(context.requestor.as_ref().map(|who| format!("by {who}")));
    words.extend(context.tenant.as_ref().map(|tenant| format!("in {tenant}")));
    words.extend(
        context
            .comment
            .as_ref()
            .map(|comment| format!("says {comment:?}")),
    );
    let mut text = words.join(" ");
    for (short, long) in [
        ("A", "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2"),
        ("B", "0a1b2c3d-0000-4000-8000-00000000000b"),
        ("C", "55555555-0000-4000-8000-00000000000c"),
        ("D", "66666666-0000-4000-8000-00000000000d"),
        ("m1", "0123456789abcdef0123456789abcdef01234567"),
        ("m2", "89abcdef0123456789abcdef0123456789abcdef"),
        ("ana", "ana@contoso.example"),
    ] {
        text = text.replace(long, short);
    }
    text
}

/// Shows a file's rows, then its error, then its warning.
fn read_file(path: &Path) -> Vec<String> {
    let name = path.to_string_lossy().into_owned();
    let failed = |error: InputError| format!("error: {error}").replace(&name, "FILE");
    match open(&[Input::File(path.to_owned())], &InputSettings::default()) {
        Ok(mut inputs) => {
            let rows = read_all(&mut inputs[0]).into_iter();
            let mut all: Vec<_> = rows
                .map(|row| row.map_or_else(failed, |row| told_in_full(&row)))
                .collect();
            let warning = inputs[0].warning().map(|text| format!("warning: {text}"));
            all.extend(warning.map(|text| text.replace(&name, "FILE")));
            all
        }
        Err(error) => vec![failed(error)],
    }
}

/// Files as other programs write them, with made-up content. To add one, put it into the folder and review the
/// snapshot.
#[test]
fn each_file_of_the_field_is_read_as_it_is_meant() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/field");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let told = paths.iter().map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        format!("{name}\n  {}\n", read_file(path).join("\n  "))
    });
    insta::assert_snapshot!(told.collect::<String>());
}

const PROTECTED: &str = "skipped: protected type (";
const UNKNOWN: &str = "skipped: type unknown, so it may be protected";

/// Plans all rows with no protected type allowed. Shows each as `send` or as its outcome and reason.
fn planned(text: &str) -> Vec<String> {
    let mut planner = Planner::new(std::sync::Arc::default());
    let read = rows(filled(text)).into_iter();
    let told = read.map(|row| {
        let settlement = planner.plan(row, Timestamp::UNIX_EPOCH).settlement;
        settlement.map_or_else(
            || "send".to_owned(),
            |end| format!("{}: {}", end.outcome, end.reason),
        )
    });
    told.collect()
}

fn assert_one(text: &str, start: &str) {
    let told = planned(text);
    assert!(
        told.len() == 1 && told[0].starts_with(start),
        "{text:?}: {told:?}"
    );
}

fn assert_invalid(text: &str, reason: &str) {
    assert_eq!(planned(text), [format!("invalid: {reason}")], "{text:?}");
    assert_eq!(rows(filled(text))[0].id_text, A, "{text:?}");
}

#[test]
fn a_protected_type_is_known_in_every_disguise_that_shows_nothing() {
    for word in [
        "Unisolate",
        "UNISOLATE",
        "Unisolate\u{200B}",
        "\u{FEFF}Unisolate",
        "Uni\u{AD}solate",
        "Un\u{2060}isolate",
        "\u{202D}Unisolate\u{202C}",
        "Uniso\u{E0001}late",
        "Uniso\u{FE0F}late",
        "Unisolate\u{7F}",
        "un isolate",
        "un\u{A0}isolate",
        "un_isolate",
        "Un-Isolate",
        "Unrestrict Code Execution",
    ] {
        assert_one(&format!("id,type\n{{A}},{word}\n"), PROTECTED);
        let json = serde_json::json!({"id": A, "type": word}).to_string();
        assert_one(&json, PROTECTED);
        assert_one(&format!("[{json}]"), PROTECTED);
    }
    // The same goes for the column's name.
    for name in [
        "type\u{200B}",
        "\u{2060}Action Type",
        "ty\u{AD}pe",
        "value.type",
    ] {
        let id = if name.contains('.') { "value.id" } else { "id" };
        assert_one(&format!("{id},{name}\n{{A}},Unisolate\n"), PROTECTED);
        let json = serde_json::json!({id: A, name: "Unisolate"});
        assert_one(&json.to_string(), PROTECTED);
    }
}

#[test]
fn two_type_columns_that_disagree_make_the_row_invalid_and_an_empty_one_hides_nothing() {
    let reason = "two type columns disagree: `Isolate` and `Unisolate`";
    for header in ["type,Type", "action_type,type", "type,machineActionType"] {
        let text = format!("id,{header}\n{{A}},Isolate,Unisolate\n");
        assert_invalid(&text, reason);
        let text = format!("id,{header}\n{{A}},,Unisolate\n");
        assert_one(&text, PROTECTED);
        let text = format!("id,{header}\n{{A}},Unisolate, \n");
        assert_one(&text, PROTECTED);
    }
    let text = r#"{"id":"{A}","type":"Isolate","type":"Unisolate"}"#;
    assert_invalid(text, reason);
    let text = r#"{"id":"{A}","actionType":null,"type":"Unisolate"}"#;
    assert_one(text, PROTECTED);
    assert_invalid(
        "id,type,Type\n{A},Isolate\u{200B},Elsewhat\n",
        "two type columns disagree: `Isolate\\u{200b}` and `Elsewhat`",
    );
    for cells in [
        "Isolate,isolate",
        "IsolateResponse,Isolate device",
        "Iso late,Isolate\u{200B}",
        ",Isolate",
        "Isolate, ",
    ] {
        let text = format!("id,type,Type\n{{A}},{cells}\n");
        assert_eq!(planned(&text), ["send"], "{cells}");
    }
}

#[test]
fn a_json_type_that_is_no_text_is_not_a_known_type() {
    for (value, shown) in [
        ("[\"Unisolate\"]", "(list)"),
        ("{\"x\":\"Unisolate\"}", "(object)"),
        ("6", "6"),
        ("1.5", "1.5"),
        ("true", "true"),
    ] {
        let object = format!("{{\"id\":\"{A}\",\"type\":{value}}}");
        for text in [object.clone(), format!("[{object}]")] {
            assert_one(&text, UNKNOWN);
            assert!(planned(&text)[0].ends_with(shown), "{text}");
        }
        let second = format!("{{\"id\":\"{A}\",\"type\":\"Isolate\",\"Type\":{value}}}");
        let reason = format!("two type columns disagree: `Isolate` and `{shown}`");
        assert_invalid(&second, &reason);
    }
    assert_eq!(planned(r#"{"id":"{A}","type":null}"#), ["send"]);
}

#[test]
fn a_type_that_is_none_we_know_is_skipped_and_shown_as_it_was_given() {
    for word in [
        "Uniso1ate",
        "Un\u{456}solate",
        "IsolationResponse",
        "Isolate, Unisolate",
        "-",
        "\u{200B}",
        "Unknown",
    ] {
        assert_one(&format!("id,type\n{{A}},\"{word}\"\n"), UNKNOWN);
    }
    let long = planned(&format!("id,type\n{{A}},{}\n", "x".repeat(9000)));
    assert!(long[0].len() < 250, "{long:?}");
    for known in ["request sample", "Run antivirus scan", "", " "] {
        let text = format!("id,type\n{{A}},{known}\n");
        assert_eq!(planned(&text), ["send"], "{known}");
    }
    let read = rows(filled("id,type\n{A}, Elsewhat Un_known\u{200B}\n"));
    let shown = read[0].context.action_type.as_ref().unwrap();
    assert_eq!(shown.as_str(), "Elsewhat Un_known\u{200B}");
}

#[test]
fn an_invalid_type_affects_only_its_own_row_unless_that_is_skipped_anyway() {
    let told = planned("id,type,Type\n{A},Isolate,Unisolate\n{B},Isolate,\n");
    assert!(told[0].starts_with("invalid: "), "{told:?}");
    assert_eq!(told[1], "send");
    let text = format!(
        "action_id,outcome,reason,type,action_type\n{A},{},,Isolate,Unisolate\n",
        Outcome::Cancelled
    );
    assert_eq!(planned(&text), ["skipped: was cancelled in an earlier run"]);
}
