//! Inputs meant, or fit, to do harm: whatever they hold, only GUIDs from id cells come out, memory stays small, and
//! every reading ends.

use std::io;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use mde_cancel::input::{InputFormat, InputSettings, OpenInput};
use mde_cancel::model::InputRow;

use crate::support::{proptest_config, read_all};

const A: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
const B: &str = "0a1b2c3d-0000-4000-8000-00000000000b";
const EVIL: &str = "eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee";

const FORMATS: [InputFormat; 6] = [
    InputFormat::Auto,
    InputFormat::Csv,
    InputFormat::Tsv,
    InputFormat::Jsonl,
    InputFormat::Json,
    InputFormat::Lines,
];

/// Gives out bytes in reads of at most `step`, and remembers the largest room it was offered.
struct Feed {
    bytes: Vec<u8>,
    at: usize,
    step: usize,
    largest: Arc<AtomicUsize>,
}

impl Read for Feed {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.largest.fetch_max(room.len(), Ordering::Relaxed);
        let count = self.step.min(room.len()).min(self.bytes.len() - self.at);
        room[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Reads all rows, or the error in words; and the largest buffer that was offered to the reader.
fn read_in_steps(
    bytes: &[u8],
    format: InputFormat,
    step: usize,
) -> (Vec<Result<InputRow, String>>, usize) {
    let largest = Arc::new(AtomicUsize::new(0));
    let feed = Feed {
        bytes: bytes.to_vec(),
        at: 0,
        step,
        largest: Arc::clone(&largest),
    };
    let settings = InputSettings {
        format,
        ..InputSettings::default()
    };
    let input = OpenInput::from_reader("stdin", Box::new(feed), &settings);
    let rows = read_all(&mut { input }).into_iter();
    let rows = rows.map(|row| row.map_err(|error| error.to_string()));
    (rows.collect(), largest.load(Ordering::Relaxed))
}

/// Reads all rows; nothing where the input cannot be read.
fn read_as(bytes: &[u8], format: InputFormat) -> Option<Vec<InputRow>> {
    let (rows, _) = read_in_steps(bytes, format, usize::MAX);
    rows.into_iter().collect::<Result<_, _>>().ok()
}

fn read(bytes: impl AsRef<[u8]>) -> Vec<InputRow> {
    read_in_steps(bytes.as_ref(), InputFormat::Auto, usize::MAX)
        .0
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

/// Writes each row as its id or as `! reason`.
fn told(rows: &[InputRow]) -> Vec<String> {
    rows.iter()
        .map(|row| match &row.id {
            Ok(id) => id.to_string(),
            Err(reason) => format!("! {reason}"),
        })
        .collect()
}

#[test]
fn what_is_no_guid_never_becomes_an_id() {
    for evil in [
        "../../machines/x/offboard",
        "..%2f..%2fmachines",
        &format!("{A}/../../machines/x/offboard"),
        &format!("{A}?x=1"),
        &format!("{A}#"),
        &format!("{A}\u{0}"),
        &format!("{A} {B}"),
        &format!("{{{A}"),
        &A.replace('-', "\u{2010}"),
        &A.replace('7', "\u{FF17}"),
        "=cmd|' /C calc'!A0",
        "00000000-0000-0000-0000-000000000000",
        "7f3c2a105b1e4a779a3d0c5be0a1d9-2",
        "0123456789abcdef0123456789abcdef01234567",
    ] {
        let json = serde_json::Value::from(evil);
        for text in [
            format!("id,x\n\"{evil}\",1\n{B},1\n"),
            format!("x;{B}\nx;{evil}\nx;{B}\n"),
            format!("{B}\n{evil}\n{B}\n"),
            format!("[{json},\"{B}\"]"),
            format!("{{\"id\":\"{B}\"}}\n{{\"id\":{json}}}\n"),
        ] {
            let rows = read(&text);
            assert!(rows.iter().any(|row| row.id.is_err()), "{text}");
            assert!(
                rows.iter()
                    .filter_map(|row| row.id.as_ref().ok())
                    .all(|id| id.to_string() == B || evil.ends_with(B)),
                "{text}"
            );
        }
    }
}

#[test]
fn what_stands_inside_a_quoted_text_never_becomes_a_row() {
    let note = format!("\n{EVIL},x\n}}, {{\"id\":\"{EVIL}\"}}, [\"{EVIL}\"], {EVIL}\n");
    let quoted = format!("\"{}\"", note.replace('"', "\"\""));
    let json = serde_json::Value::from(note.as_str());
    for text in [
        format!("id,comment\n{A},{quoted}\n{B},\n"),
        format!("{A},{quoted}\n{B},\n"),
        format!("[{{\"x\":{json},\"id\":\"{A}\",\"comment\":{json}}},\"{B}\"]"),
        format!("{{\"id\":\"{A}\",\"comment\":{json}}}\n{{\"id\":\"{B}\"}}\n"),
        format!(
            "{{\"note\":{json},\"x\":[\"{EVIL}\"],\"value\":[\"{A}\",\"{B}\"],\"y\":[\"{EVIL}\"]}}"
        ),
    ] {
        assert_eq!(told(&read(&text)), [A, B], "{text}");
    }
}

#[test]
fn a_quote_that_never_closes_takes_nothing_with_it() {
    let text = format!("id,comment\n{A},fine\n{B},\"open\n{EVIL},x\n{EVIL},y\n");
    let rows = read(&text);
    assert_eq!(
        told(&rows),
        [
            A.to_owned(),
            "! a quote opens here and never closes: everything from line 3 to the end was read as one row"
                .to_owned()
        ]
    );
    assert_eq!(rows[1].id_text, B);
    let long = format!("{text}{}", format!("{EVIL},z\n").repeat(50_000));
    assert_eq!(told(&read(&long)), told(&rows));
}

#[test]
fn a_row_of_ten_megabytes_is_dropped_unheld_and_the_next_is_read() {
    let long = "y".repeat(10_000_000);
    let lines = format!("\n{EVIL},z").repeat(200_000);
    let cases = [
        format!("id,comment\n{A},{long}\n{B},\n"),
        format!("id,comment\n{A},\"{long}{lines}\"\n{B},\n"),
        format!("id,comment\n{A}{}\n{B},\n", ",x".repeat(4_000_000)),
        format!("{A}\n{A}{long}\n{B}\n"),
        format!("# {long}\n{A}\n# {long}\nx{long}\n{B}\n"),
        format!("{{\"id\":\"{A}\"}}\n{{\"id\":\"{A}\",\"x\":\"{long}\"}}\n{{\"id\":\"{B}\"}}\n"),
    ];
    for (number, text) in cases.iter().enumerate() {
        let (rows, largest) = read_in_steps(text.as_bytes(), InputFormat::Auto, usize::MAX);
        let rows: Vec<_> = rows.into_iter().map(Result::unwrap).collect();
        let told = told(&rows);
        assert!(
            told.contains(&"! line too long (more than 1 MiB)".to_owned()),
            "case {number}: {told:?}"
        );
        assert_eq!(told.last().unwrap(), B, "case {number}");
        assert!(told.len() <= 4, "case {number}: {told:?}");
        assert!(
            rows.iter().all(|row| row.id_text.len() <= 100),
            "case {number}"
        );
        assert!(
            largest <= 4 * 1024 * 1024,
            "case {number}: a buffer of {largest}"
        );
    }
}

#[test]
fn a_first_line_of_ten_megabytes_is_no_header() {
    for text in [
        "y".repeat(10_000_000),
        format!("id,{}\n{A},\n", "y".repeat(10_000_000)),
        format!("\"id\n{}\"\n{A}\n", "y".repeat(10_000_000)),
    ] {
        let (rows, largest) = read_in_steps(text.as_bytes(), InputFormat::Auto, usize::MAX);
        let error = rows[0].as_ref().unwrap_err();
        assert!(
            error.starts_with("stdin has no column of action ids; seen: "),
            "{error}"
        );
        assert!(error.len() < 200, "{error}");
        assert_eq!(rows.len(), 1);
        assert!(largest <= 4 * 1024 * 1024, "a buffer of {largest}");
    }
}

#[test]
fn bytes_that_are_no_text_spoil_an_id_or_a_type_and_nothing_else() {
    let with =
        |before: &str, bad: &[u8], after: &str| [before.as_bytes(), bad, after.as_bytes()].concat();
    for (bad, shown) in [
        (&b"\xFF"[..], "ÿ"),
        (b"\xC3", "Ã"),
        (b"\xED\xA0\x80", "í\u{a0}€"),
        (b"Pr\xFCfung", "Prüfung"),
    ] {
        for bytes in [
            with(&format!("id,comment\n{A},x"), bad, &format!("y\n{B},\n")),
            with(
                &format!("[{{\"id\":\"{A}\",\"comment\":\"x"),
                bad,
                &format!("y\"}},\"{B}\"]"),
            ),
            with(
                &format!("{{\"id\":\"{A}\",\"comment\":\"x"),
                bad,
                &format!("y\"}}\n{{\"id\":\"{B}\"}}\n"),
            ),
        ] {
            let rows = read(&bytes);
            assert_eq!(told(&rows), [A, B]);
            let comment = rows[0].context.comment.as_deref();
            assert_eq!(comment, Some(format!("x{shown}y").as_str()));
        }
        let ids = [
            with(&format!("id,x\n{A}"), bad, &format!(",1\n{B},1\n")),
            with(A, bad, &format!("\n{B}\n")),
            with(&format!("[\"{A}"), bad, &format!("\",\"{B}\"]")),
        ];
        let told_of = |bytes: &Vec<u8>| read_as(bytes, InputFormat::Auto).map(|rows| told(&rows));
        for bytes in &ids {
            let told = told_of(bytes).unwrap_or_default();
            assert!(!told.contains(&A.to_owned()), "{told:?}");
        }
        let types = with(&format!("id,type\n{A},Iso"), bad, "late\n");
        let action_type = read(types).remove(0).context.action_type.unwrap();
        assert_eq!(action_type.as_str(), format!("Iso{shown}late"));
    }
    let rows = read(with("id\n7f3c", b"\xFF", "2a10\n"));
    assert_eq!(rows[0].id_text, "7f3cÿ2a10");
}

#[test]
fn half_a_utf_16_character_is_shown_as_such_and_spoils_an_id() {
    let utf16 = |before: &str, bad: &[u16], after: &str, order: fn(u16) -> [u8; 2]| {
        let units = before.encode_utf16().chain(bad.iter().copied());
        let units = [0xFEFF]
            .into_iter()
            .chain(units)
            .chain(after.encode_utf16());
        units.flat_map(order).collect::<Vec<_>>()
    };
    for order in [u16::to_le_bytes, u16::to_be_bytes] {
        for (bad, shown) in [
            (&[0xD834][..], "\u{FFFD}"),
            (&[0xDD1E], "\u{FFFD}"),
            (&[0xDD1E, 0xD834], "\u{FFFD}\u{FFFD}"),
            (&[0xD834, 0xDD1E, 0xFFFD], "\u{1D11E}\u{FFFD}"),
        ] {
            let (start, end) = (format!("id,comment\n{A},x"), format!("y\n{B},\n"));
            let bytes = utf16(&start, bad, &end, order);
            for step in [1, 2, 3, usize::MAX] {
                let (rows, _) = read_in_steps(&bytes, InputFormat::Auto, step);
                let rows: Vec<_> = rows.into_iter().map(Result::unwrap).collect();
                assert_eq!(told(&rows), [A, B]);
                let comment = rows[0].context.comment.as_deref();
                assert_eq!(comment, Some(format!("x{shown}y").as_str()));
            }
            let bytes = utf16(&format!("{B}\n{A}"), bad, &format!("\n{B}\n"), order);
            let told = told(&read(&bytes));
            assert_eq!(told, [B, "! the id is not a GUID", B]);
        }
    }
}

#[test]
fn cells_that_may_stand_under_the_wrong_names_are_not_used() {
    let text = format!("id,comment,type\n{A},a, b,Isolate\n{A}\n{B},c,Isolate,\n");
    assert_eq!(
        told(&read(&text)),
        ["! the row has 4 cells and the header 3", A, B]
    );
}

#[test]
fn a_broken_line_of_json_costs_its_own_row() {
    let rows = read(format!(
        "{{\"id\":\"{A}\"}}\n{{\"id\":\"{EVIL}\"\nnot json\n7\n{{\"x\":1}}\n{{\"id\":\"{B}\"}} x\n{{\"id\":\"{B}\"}}\n"
    ));
    assert_eq!(
        told(&rows),
        [
            A,
            "! not valid JSON: it ends before it is complete",
            "! not valid JSON: expected ident",
            "! neither a JSON object nor a string",
            "! no key holds an action id; keys: `id`, `x`",
            "! not valid JSON: trailing characters",
            B,
        ]
    );
    assert_eq!(rows[6].source.line, 7);
}

/// Text that looks like inputs: the pieces that mean something, in any order.
#[test]
fn blanks_behind_a_brace_tell_no_layout_however_they_arrive() {
    for text in ["{\n,", "{ \r\n x", "{\n", "{\n\"id\"", "{\t\n}"] {
        let (at_once, _) = read_in_steps(text.as_bytes(), InputFormat::Auto, usize::MAX);
        for step in 1..4 {
            let (in_steps, _) = read_in_steps(text.as_bytes(), InputFormat::Auto, step);
            assert_eq!(at_once, in_steps, "{text:?} by {step}");
        }
    }
}

fn likely_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        select(vec![
            A,
            EVIL,
            "id",
            "type",
            "machineId",
            "\"",
            "\"\"",
            "\n",
            "\r\n",
            "\r",
            ",",
            ";",
            "\t",
            "|",
            " ",
            "#",
            "#TYPE x",
            "sep=;",
            "{",
            "}",
            "[",
            "]",
            ":",
            "\\",
            "\"id\":",
            "\"value\":[",
            "null",
            "\u{FEFF}",
            "é",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..4),
    ];
    let mark = prop_oneof![
        Just(&b""[..]),
        Just(&b"\xFF\xFE"[..]),
        Just(&b"\xEF\xBB\xBF"[..])
    ];
    (mark, vec(piece, 0..60)).prop_map(|(mark, pieces)| {
        let mut bytes = mark.to_vec();
        bytes.extend(pieces.concat());
        bytes
    })
}

/// One row as a test makes it up.
#[derive(Clone, Debug)]
struct MadeUp {
    id: [u8; 16],
    comment: String,
    machine: String,
}

fn made_up() -> impl Strategy<Value = Vec<MadeUp>> {
    let text = "[ -~äж𝄞\n\t]{0,12}";
    let row = (any::<[u8; 16]>(), text, text).prop_map(|(mut id, comment, machine)| {
        id[0] |= 1;
        MadeUp {
            id,
            comment,
            machine,
        }
    });
    vec(row, 1..20)
}

impl MadeUp {
    fn id(&self) -> String {
        uuid::Uuid::from_bytes(self.id).hyphenated().to_string()
    }

    fn matches(&self, row: &InputRow) -> bool {
        let cell = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        row.id.as_ref().map(ToString::to_string) == Ok(self.id())
            && row.context.comment == cell(&self.comment)
            && row.context.machine_id == cell(&self.machine)
            && row.skipped.is_none()
    }
}

fn as_csv(rows: &[MadeUp], delimiter: u8, terminator: csv::Terminator) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .terminator(terminator)
        .from_writer(Vec::new());
    writer
        .write_record(["machineId", "Action Id", "comment"])
        .unwrap();
    for row in rows {
        writer
            .write_record([&row.machine, &row.id(), &row.comment])
            .unwrap();
    }
    writer.into_inner().unwrap()
}

fn as_json(rows: &[MadeUp]) -> Vec<serde_json::Value> {
    rows.iter()
        .map(|row| {
            serde_json::json!({
                "machineId": row.machine, "x": [{"id": EVIL}], "comment": row.comment, "id": row.id()
            })
        })
        .collect()
}

proptest::proptest! {
    #![proptest_config(proptest_config(256))]

    #[test]
    fn any_bytes_are_read_to_their_end_and_alike_however_they_arrive(
        bytes in prop_oneof![likely_text(), vec(any::<u8>(), 0..400)],
        step in 1_usize..9,
    ) {
        for format in FORMATS {
            let (at_once, _) = read_in_steps(&bytes, format, usize::MAX);
            proptest::prop_assert!(at_once.len() <= bytes.len() + 1);
            let errors = at_once.iter().filter(|row| row.is_err()).count();
            proptest::prop_assert!(errors == 0 || (errors == 1 && at_once.last().unwrap().is_err()));
            let (in_steps, _) = read_in_steps(&bytes, format, step);
            proptest::prop_assert_eq!(&at_once, &in_steps, "{:?}", format);
        }
    }

    #[test]
    fn rows_written_in_any_format_read_back_equal(rows in made_up(), step in 1_usize..99) {
        let json = as_json(&rows);
        let mut lines = Vec::new();
        for row in &json {
            serde_json::to_writer(&mut lines, row).unwrap();
            lines.push(b'\n');
        }
        let envelope = serde_json::json!({"@odata.context": "x", "value": json});
        let mut inputs = vec![
            lines,
            serde_json::to_vec(&json).unwrap(),
            serde_json::to_vec_pretty(&json).unwrap(),
            serde_json::to_vec_pretty(&envelope).unwrap(),
        ];
        for delimiter in [b',', b';', b'\t', b'|'] {
            inputs.push(as_csv(&rows, delimiter, csv::Terminator::Any(b'\n')));
            inputs.push(as_csv(&rows, delimiter, csv::Terminator::CRLF));
        }
        for bytes in inputs {
            let (read, _) = read_in_steps(&bytes, InputFormat::Auto, step);
            proptest::prop_assert_eq!(read.len(), rows.len(), "{}", String::from_utf8_lossy(&bytes));
            for (made, row) in rows.iter().zip(read) {
                proptest::prop_assert!(made.matches(&row.unwrap()), "{}", String::from_utf8_lossy(&bytes));
            }
        }
    }
}
