//! Damaged or malicious inputs: only GUIDs from id cells come out, rows before the damage are read as before, memory
//! stays small, and every reading ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mde_cancel::input::{InputFormat, InputSettings};
use mde_cancel::model::InputRow;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

use super::{A, B, Feed, filled, rows, stream, told};
use crate::support::{proptest_config, read_all};

const EVIL: &str = "eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee";

/// Reads all rows in pieces of these lengths; an error that ends the reading comes last. Also returns the largest
/// buffer that the reader was given.
fn read_in_pieces(
    bytes: &[u8],
    format: InputFormat,
    lengths: &[usize],
) -> (Vec<Result<InputRow, String>>, usize) {
    let feed = Feed::of(bytes, lengths);
    let asked = Arc::clone(&feed.asked);
    let settings = InputSettings {
        format,
        ..InputSettings::default()
    };
    let read = read_all(&mut stream(feed, &settings)).into_iter();
    let read = read.map(|row| row.map_err(|error| error.to_string()));
    (read.collect(), asked.largest.load(Ordering::Relaxed))
}

fn read_whole(bytes: &[u8], format: InputFormat) -> Vec<Result<InputRow, String>> {
    read_in_pieces(bytes, format, &[usize::MAX]).0
}

#[test]
fn what_is_no_guid_never_becomes_an_id() {
    for evil in [
        "../../machines/x/offboard",
        "..%2f..%2fmachines",
        &format!("{A}/../../machines/x/offboard"),
        &format!("{A}?x=1"),
        &format!("{A}#"),
        &format!("{A}ÿ"),
        &format!("{A}\u{0}"),
        &format!("{A} {B}"),
        &format!("{{{A}"),
        &A.replace('-', "\u{2010}"),
        &A.replace('7', "\u{FF17}"),
        &A.replace('7', "\u{FFFD}"),
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
            let rows = rows(&text);
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
        assert_eq!(told(&rows(&text)), [A, B], "{text}");
    }
}

#[test]
fn a_quote_that_never_closes_takes_nothing_with_it() {
    let text = format!("id,comment\n{A},fine\n{B},\"open\n{EVIL},x\n{EVIL},y\n");
    let read = rows(&text);
    let reason = "! a quote opens here and never closes: everything from line 3 to the end was read as one row";
    assert_eq!(told(&read), [A, reason]);
    assert_eq!(read[1].id_text, B);
    let long = format!("{text}{}", format!("{EVIL},z\n").repeat(50_000));
    assert_eq!(told(&rows(long)), [A, reason]);
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
        let (rows, largest) = read_in_pieces(text.as_bytes(), InputFormat::Auto, &[usize::MAX]);
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
        let (rows, largest) = read_in_pieces(text.as_bytes(), InputFormat::Auto, &[usize::MAX]);
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
fn cells_that_may_stand_under_the_wrong_names_are_not_used() {
    let text = filled("id,comment,type\n{A},a, b,Isolate\n{A}\n{B},c,Isolate,\n");
    let expected = ["! the row has 4 cells and the header 3", A, B];
    assert_eq!(told(&rows(text)), expected);
}

#[test]
fn a_broken_line_of_json_costs_its_own_row() {
    let read = rows(format!(
        "{{\"id\":\"{A}\"}}\n{{\"id\":\"{EVIL}\"\nnot json\n7\n{{\"x\":1}}\n{{\"id\":\"{B}\"}} x\n{{\"id\":\"{B}\"}}\n"
    ));
    let expected = [
        A,
        "! not valid JSON: it ends before it is complete",
        "! not valid JSON: expected ident",
        "! neither a JSON object nor a string",
        "! no key holds an action id; keys: `id`, `x`",
        "! not valid JSON: trailing characters",
        B,
    ];
    assert_eq!(told(&read), expected);
    assert_eq!(read[6].source.line, 7);
}

#[test]
fn blanks_behind_a_brace_tell_no_layout_however_they_arrive() {
    for text in ["{\n,", "{ \r\n x", "{\n", "{\n\"id\"", "{\t\n}"] {
        let at_once = read_whole(text.as_bytes(), InputFormat::Auto);
        for step in 1..4 {
            let (in_steps, _) = read_in_pieces(text.as_bytes(), InputFormat::Auto, &[step]);
            assert_eq!(at_once, in_steps, "{text:?} by {step}");
        }
    }
}

/// Text that looks like an input: meaningful pieces in any order.
fn likely_text() -> impl Strategy<Value = Vec<u8>> {
    let words = format!(
        "{A} {EVIL} id type machineId \" \"\" , ; | # #TYPE sep=; {{ }} [ ] : \\ \"id\": \"value\":[ null \u{FEFF} é"
    );
    let mut words: Vec<_> = words.split(' ').map(str::to_owned).collect();
    words.extend(["\n", "\r\n", "\r", "\t", " "].map(str::to_owned));
    let piece = prop_oneof![
        select(words).prop_map(String::into_bytes),
        vec(any::<u8>(), 0..4),
    ];
    let mark = select(vec![&b""[..], b"\xFF\xFE", b"\xEF\xBB\xBF"]);
    (mark, vec(piece, 0..60)).prop_map(|(mark, pieces)| [mark, &pieces.concat()].concat())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// With a header; this character separates cells.
    Cells(char),
    /// Like our own report.
    Report,
    /// Like a frozen plan.
    Plan,
    JsonLines,
    JsonList,
    Envelope,
    Plain,
}

const SHAPES: [Shape; 10] = [
    Shape::Cells(','),
    Shape::Cells(';'),
    Shape::Cells('\t'),
    Shape::Cells('|'),
    Shape::Report,
    Shape::Plan,
    Shape::JsonLines,
    Shape::JsonList,
    Shape::Envelope,
    Shape::Plain,
];

#[derive(Clone, Copy, Debug)]
enum Coding {
    Utf8,
    Utf8Marked,
    Utf16Le,
    Utf16Be,
}

/// A file before it is damaged; `records` include their separators.
#[derive(Clone, Debug)]
struct Sound {
    shape: Shape,
    coding: Coding,
    start: String,
    made: Vec<Made>,
    records: Vec<String>,
    end: String,
}

/// An id, a comment, and whether the row is to be sent.
type Made = ([u8; 16], String, bool);

/// One piece of damage to the bytes after the first record.
#[derive(Clone, Debug)]
struct Damage {
    at: Index,
    /// How many bytes are replaced.
    length: usize,
    by: Replacement,
}

#[derive(Clone, Debug)]
enum Replacement {
    Bytes(Vec<u8>),
    /// The same bytes, flipped by a mask or doubled.
    Flipped(u8),
    Doubled,
}

fn any_sound() -> impl Strategy<Value = Sound> {
    let coding = select(vec![
        Coding::Utf8,
        Coding::Utf8,
        Coding::Utf8Marked,
        Coding::Utf16Le,
        Coding::Utf16Be,
    ]);
    let text = "[ -~äж𝄞\t]{0,12}";
    let id = any::<[u8; 16]>().prop_map(|mut id| {
        id[0] |= 1;
        id
    });
    let record = (id, text, any::<bool>());
    let line_end = select(vec!["\n", "\r\n"]);
    (
        select(SHAPES.to_vec()),
        coding,
        vec(record, 3..12),
        line_end,
    )
        .prop_map(|(shape, coding, made, line_end)| {
            let records: Vec<_> = made
                .iter()
                .map(|(id, text, flag)| shape.record(*id, text, *flag))
                .collect();
            let count = records.len();
            let parted = records.into_iter().enumerate().map(|(place, record)| {
                let comma = match shape {
                    Shape::JsonList | Shape::Envelope if place + 1 < count => ",",
                    _ => "",
                };
                format!("{record}{comma}{line_end}")
            });
            let (start, end) = shape.frame();
            Sound {
                shape,
                coding,
                made,
                start: start.replace('\n', line_end),
                records: parted.collect(),
                end: end.to_owned(),
            }
        })
}

impl Shape {
    /// Returns what precedes and follows the records.
    fn frame(self) -> (String, &'static str) {
        match self {
            Self::Cells(parted) => (format!("machineId{parted}Action Id{parted}comment\n"), ""),
            Self::Report => ("action_id,outcome,reason,comment,run_id\n".to_owned(), ""),
            Self::Plan => ("verdict,action_id,outcome,reason,comment\n".to_owned(), ""),
            Self::JsonLines => (String::new(), ""),
            Self::JsonList => ("[".to_owned(), "]"),
            Self::Envelope => (
                "{\"@odata.context\":\"x\",\"value\":[".to_owned(),
                "],\"more\":[1]}",
            ),
            Self::Plain => ("# a list\n".to_owned(), ""),
        }
    }

    fn record(self, id: [u8; 16], text: &str, flag: bool) -> String {
        let id = uuid::Uuid::from_bytes(id).hyphenated();
        let quoted = format!("\"{}\"", text.replace('"', "\"\""));
        match self {
            Self::Cells(parted) => format!("m{parted}{id}{parted}{quoted}"),
            Self::Report => {
                let outcome = if flag { "failed" } else { "cancelled" };
                format!("{id},{outcome},because,{quoted},r")
            }
            Self::Plan => {
                let verdict = if flag { "send" } else { "skipped" };
                format!("{verdict},{id},,because,{quoted}")
            }
            Self::JsonLines | Self::JsonList | Self::Envelope => {
                serde_json::json!({"x": [{"id": "no"}], "comment": text, "id": id.to_string()})
                    .to_string()
            }
            Self::Plain => format!("{id}{}", if flag { " # why" } else { "" }),
        }
    }

    /// Returns one record of this shape without an id, whatever `garbage` is.
    fn spoilt(self, garbage: &str) -> String {
        let kept = |letter: &char| match self {
            // One invalid value.
            Self::JsonLines | Self::JsonList | Self::Envelope => {
                letter.is_ascii_alphanumeric() || "+-.".contains(*letter)
            }
            Self::Plain => *letter != '#',
            Self::Cells(_) | Self::Report | Self::Plan => *letter != '"',
        };
        let garbage: String = garbage.chars().filter(kept).collect();
        format!("z{garbage}")
    }
}

impl Coding {
    fn bytes(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 | Self::Utf8Marked => text.as_bytes().to_vec(),
            Self::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }

    fn mark(self) -> Vec<u8> {
        match self {
            Self::Utf8 => Vec::new(),
            Self::Utf8Marked | Self::Utf16Le | Self::Utf16Be => self.bytes("\u{feff}"),
        }
    }

    fn text(self, bytes: &[u8]) -> String {
        let units = |read: fn([u8; 2]) -> u16| {
            let pairs = bytes.chunks_exact(2);
            let units: Vec<_> = pairs.map(|pair| read([pair[0], pair[1]])).collect();
            String::from_utf16_lossy(&units)
        };
        match self {
            Self::Utf8 | Self::Utf8Marked => String::from_utf8_lossy(bytes).into_owned(),
            Self::Utf16Le => units(u16::from_le_bytes),
            Self::Utf16Be => units(u16::from_be_bytes),
        }
    }
}

impl Sound {
    fn bytes(&self) -> Vec<u8> {
        let text = [&self.start, &self.records.concat(), &self.end];
        let text = text.map(String::as_str).concat();
        [self.coding.mark(), self.coding.bytes(&text)].concat()
    }

    /// Returns the offset of each record's end, in bytes.
    fn ends(&self) -> Vec<usize> {
        let mut at = self.coding.mark().len() + self.coding.bytes(&self.start).len();
        let ends = self.records.iter().map(|record| {
            at += self.coding.bytes(record).len();
            at
        });
        ends.collect()
    }

    /// Damages the bytes after the first record. Returns them, and the offset of the first damage.
    fn damaged(&self, damages: &[Damage]) -> (Vec<u8>, usize) {
        let from = self.ends()[0];
        let mut bytes = self.bytes();
        let mut first = bytes.len();
        for damage in damages {
            let at = from + damage.at.index(bytes.len() - from + 1);
            let end = at.saturating_add(damage.length).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            let piece = match &damage.by {
                Replacement::Bytes(other) => other.clone(),
                Replacement::Flipped(mask) => piece.iter().map(|byte| byte ^ mask).collect(),
                Replacement::Doubled => piece.repeat(2),
            };
            bytes.splice(at..end, piece);
            first = first.min(at);
        }
        (bytes, first)
    }
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let piece = prop_oneof![
        vec(any::<u8>(), 1..6),
        select(vec![
            "\"", "\n", "\r", ",", "{", "}", "[", "]", "\\", "#", "\u{feff}", "\0", "'", ":", ";"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    let damage = prop_oneof![
        (Just(1), (1..=255_u8).prop_map(Replacement::Flipped)),
        (Just(0), piece.prop_map(Replacement::Bytes)),
        (1..60_usize, Just(Replacement::Bytes(Vec::new()))),
        (1..200_usize, Just(Replacement::Doubled)),
        (Just(usize::MAX), Just(Replacement::Bytes(Vec::new()))),
    ];
    (any::<Index>(), damage).prop_map(|(at, (length, by))| Damage { at, length, by })
}

fn check<S: Strategy>(strategy: &S, test: impl Fn(S::Value) -> Result<(), String>) {
    let tested = TestRunner::new(proptest_config(400)).run(strategy, |value| {
        test(value).map_err(proptest::test_runner::TestCaseError::fail)
    });
    if let Err(failed) = tested {
        panic!("{failed}");
    }
}

#[test]
fn any_bytes_are_read_to_their_end_and_alike_however_they_arrive() {
    let bytes = prop_oneof![likely_text(), vec(any::<u8>(), 0..400)];
    check(&(bytes, 1_usize..9), |(bytes, step)| {
        for format in [
            InputFormat::Auto,
            InputFormat::Csv,
            InputFormat::Tsv,
            InputFormat::Jsonl,
            InputFormat::Json,
            InputFormat::Lines,
        ] {
            let at_once = read_whole(&bytes, format);
            let has_early_error = at_once.iter().rev().skip(1).any(Result::is_err);
            if at_once.len() > bytes.len() + 1 || has_early_error {
                return Err(format!("{format:?}: {at_once:?}"));
            }
            let (in_steps, _) = read_in_pieces(&bytes, format, &[step]);
            if at_once != in_steps {
                return Err(format!("{format:?}: {at_once:?}, in steps {in_steps:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn a_sound_file_is_read_as_it_was_made() {
    let case = (any_sound(), vec(1..40_usize, 1..6));
    check(&case, |(sound, lengths)| {
        let (read, _) = read_in_pieces(&sound.bytes(), InputFormat::Auto, &lengths);
        let is_as_made = |(row, made): (&Result<InputRow, String>, &Made)| {
            let (id, comment, goes) = made;
            let Ok(row) = row else {
                return false;
            };
            let has_comment = match sound.shape {
                Shape::Plain => row.context.comment.is_none(),
                // Another test proves that their comments are decoded.
                Shape::Report | Shape::Plan => row.skipped.is_none() == *goes,
                _ => row.context.comment.as_deref().unwrap_or_default() == comment.trim(),
            };
            has_comment && row.id.as_ref().is_ok_and(|found| found.as_bytes() == id)
        };
        let is_right =
            read.len() == sound.made.len() && read.iter().zip(&sound.made).all(is_as_made);
        let text = || format!("{read:?} of\n{}", sound.coding.text(&sound.bytes()));
        if is_right { Ok(()) } else { Err(text()) }
    });
}

#[test]
fn a_record_that_is_spoilt_is_one_bad_row_and_harms_no_other() {
    let garbage = prop_oneof!["[ -~äж𝄞]{0,40}", "[ -~]{0,9}", "[,;\t|]{0,9}"];
    let case = (any_sound(), any::<Index>(), garbage);
    check(&case, |(sound, index, garbage)| {
        let before = read_whole(&sound.bytes(), InputFormat::Auto);
        // Not the first record, which determines the format.
        let place = 1 + index.index(sound.records.len() - 1);
        let mut spoilt = sound.clone();
        let record = spoilt.records[place].clone();
        let text = record.trim_end_matches(['\r', '\n']);
        let text = text.strip_suffix(',').unwrap_or(text);
        spoilt.records[place] = record.replacen(text, &sound.shape.spoilt(&garbage), 1);
        let after = read_whole(&spoilt.bytes(), InputFormat::Auto);
        let shown = spoilt.coding.text(&spoilt.bytes());
        if matches!(sound.shape, Shape::JsonList | Shape::Envelope) {
            // A broken document says nothing about what follows.
            let is_right = after.len() == place + 1
                && after[..place] == before[..place]
                && after[place].is_err();
            return is_right
                .then_some(())
                .ok_or(format!("{after:?} of\n{shown}"));
        }
        if after.len() != sound.records.len() || before.len() != after.len() {
            return Err(format!("{} rows of\n{shown}", after.len()));
        }
        for (at, (before, after)) in before.iter().zip(&after).enumerate() {
            let is_right = match after {
                Ok(row) if at == place => row.id.is_err(),
                Ok(_) => before == after,
                Err(_) => false,
            };
            if !is_right {
                return Err(format!("row {at} is {after:?}, was {before:?}:\n{shown}"));
            }
        }
        Ok(())
    });
}

#[test]
fn damage_changes_nothing_before_itself_and_invents_nothing() {
    let lengths = vec(1..40_usize, 1..6);
    let case = (any_sound(), vec(any_damage(), 1..4), lengths);
    check(&case, |(sound, damages, lengths)| {
        let before = read_whole(&sound.bytes(), InputFormat::Auto);
        let (bytes, first) = sound.damaged(&damages);
        let after = read_whole(&bytes, InputFormat::Auto);
        let text = sound.coding.text(&bytes);
        if read_in_pieces(&bytes, InputFormat::Auto, &lengths).0 != after {
            return Err(format!("read otherwise in pieces of {lengths:?}:\n{text}"));
        }
        let whole = sound.ends().iter().filter(|end| **end <= first).count();
        // The damage may join the last row before it to the next.
        let whole = whole.saturating_sub(1);
        // Damage may give the envelope an id itself, so that it is a row and no envelope.
        let is_decided = sound.shape != Shape::Envelope;
        if is_decided && before[..whole] != after[..whole.min(after.len())] {
            return Err(format!("the first {whole} rows changed:\n{text}"));
        }
        let lower = text.to_lowercase();
        let mut line = 0;
        for row in after.iter().flatten() {
            let is_invented = row
                .id
                .as_ref()
                .is_ok_and(|id| !lower.contains(&id.to_string()));
            if is_invented {
                return Err(format!("{:?} does not stand in\n{text}", row.id));
            }
            if row.source.line < line {
                return Err(format!("line {} after {line}:\n{text}", row.source.line));
            }
            line = row.source.line;
        }
        Ok(())
    });
}

#[test]
fn every_damaged_record_is_exactly_one_row() {
    let shape = |sound: &Sound| {
        let is_utf8 = matches!(sound.coding, Coding::Utf8);
        let is_counted = matches!(
            sound.shape,
            Shape::Cells(_) | Shape::Report | Shape::Plan | Shape::Plain
        );
        is_utf8 && is_counted
    };
    let sound = any_sound().prop_filter("what can be counted otherwise", shape);
    let case = (sound, vec(any_damage(), 1..4));
    check(&case, |(sound, damages)| {
        let (bytes, _) = sound.damaged(&damages);
        let (format, expected) = match sound.shape {
            Shape::Plain => (InputFormat::Lines, lines(&bytes)),
            Shape::Cells(parted) => (InputFormat::Csv, records(&bytes, parted)),
            _ => (InputFormat::Csv, records(&bytes, ',')),
        };
        let mut read = read_whole(&bytes, format);
        // The csv crate closes the quote silently, and its content may be blank.
        let is_unclosed = |row: &Result<InputRow, String>| {
            let reason = row.as_ref().ok().and_then(|row| row.id.as_ref().err());
            reason.is_some_and(|reason| reason.starts_with("a quote opens here"))
        };
        if read.last().is_some_and(is_unclosed) && read.len() == expected + 1 {
            read.pop();
        }
        if read.len() == expected {
            Ok(())
        } else {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Err(format!("{} rows and not {expected}:\n{text}", read.len()))
        }
    });
}

/// Decodes bytes as the reader does, as far as whitespace matters.
fn as_read(bytes: &[u8]) -> String {
    let chunks = bytes.utf8_chunks();
    let letter = |byte: &u8| match byte {
        0x80..=0x9F => '?',
        byte => char::from(*byte),
    };
    chunks
        .flat_map(|chunk| {
            chunk
                .valid()
                .chars()
                .chain(chunk.invalid().iter().map(letter))
        })
        .collect()
}

/// Counts lines that are neither blank nor comments.
fn lines(bytes: &[u8]) -> usize {
    let text = as_read(bytes);
    text.split(['\n', '\r'])
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .count()
}

/// Counts records below the header with the csv crate, without a spreadsheet's rows of blank cells.
fn records(bytes: &[u8], parted: char) -> usize {
    let text = as_read(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .delimiter(u8::try_from(parted).unwrap())
        .from_reader(text.as_bytes());
    let is_blank = |record: &csv::StringRecord| record.as_slice().trim().is_empty();
    let records = reader.records().map(Result::unwrap);
    records.filter(|record| !is_blank(record)).count()
}
