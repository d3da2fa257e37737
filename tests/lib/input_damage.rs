//! Sound files of every format, damaged: each record is accounted for once, what stands before the damage is read as
//! before, and nothing comes out that does not stand in the file.

use std::io;
use std::io::Read;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

use mde_cancel::input::{InputFormat, InputSettings, OpenInput};
use mde_cancel::model::InputRow;

use crate::support::{proptest_config, read_all};

/// How the records stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// With a header; cells are parted by this.
    Cells(char),
    /// As our own report writes it.
    Report,
    /// As a frozen plan.
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

/// In which bytes the text is written.
#[derive(Clone, Copy, Debug)]
enum Coding {
    Utf8,
    Utf8Marked,
    Utf16Le,
    Utf16Be,
}

/// A file before it is damaged: what stands before the records, the records with what parts them, and the end.
#[derive(Clone, Debug)]
struct Sound {
    shape: Shape,
    coding: Coding,
    start: String,
    records: Vec<String>,
    end: String,
}

/// One piece of damage to the bytes behind the first record.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index, usize),
    /// Says a piece twice.
    Repeat(Index, usize),
    CutOff(Index),
}

fn any_sound() -> impl Strategy<Value = Sound> {
    let coding = select(vec![
        Coding::Utf8,
        Coding::Utf8,
        Coding::Utf8Marked,
        Coding::Utf16Le,
        Coding::Utf16Be,
    ]);
    let text = "[ -~äж𝄞]{0,12}";
    let record = (any::<[u8; 16]>(), text, any::<bool>());
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
                start: start.replace('\n', line_end),
                records: parted.collect(),
                end: end.to_owned(),
            }
        })
}

impl Shape {
    /// What stands around the records.
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

    fn record(self, mut id: [u8; 16], text: &str, flag: bool) -> String {
        id[0] |= 1;
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

    /// Returns what is one record of this shape and holds no id, whatever `garbage` is.
    fn spoilt(self, garbage: &str) -> String {
        let kept = |letter: &char| match self {
            // One value that is none.
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

    /// Returns where each record ends, in bytes.
    fn ends(&self) -> Vec<usize> {
        let mut at = self.coding.mark().len() + self.coding.bytes(&self.start).len();
        let ends = self.records.iter().map(|record| {
            at += self.coding.bytes(record).len();
            at
        });
        ends.collect()
    }

    /// Damages the bytes behind the first record. Returns them, and where the first damage is.
    fn damaged(&self, damages: &[Damage]) -> (Vec<u8>, usize) {
        let from = self.ends()[0];
        let mut bytes = self.bytes();
        let mut first = bytes.len();
        for damage in damages {
            let place = |index: &Index| from + index.index(bytes.len() - from + 1);
            let at = match damage {
                Damage::Flip(index, _)
                | Damage::Insert(index, _)
                | Damage::Delete(index, _)
                | Damage::Repeat(index, _)
                | Damage::CutOff(index) => place(index),
            };
            first = first.min(at);
            let until = |length: usize| (at + length).min(bytes.len());
            match damage {
                Damage::Flip(_, mask) => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= mask;
                    }
                }
                Damage::Insert(_, more) => drop(bytes.splice(at..at, more.iter().copied())),
                Damage::Delete(_, length) => drop(bytes.drain(at..until(*length))),
                Damage::Repeat(_, length) => {
                    let piece = bytes[at..until(*length)].to_vec();
                    drop(bytes.splice(at..at, piece));
                }
                Damage::CutOff(_) => bytes.truncate(at),
            }
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
    prop_oneof![
        (any::<Index>(), 1..=255_u8).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        (any::<Index>(), piece).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        (any::<Index>(), 1..60_usize).prop_map(|(at, length)| Damage::Delete(at, length)),
        (any::<Index>(), 1..200_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        any::<Index>().prop_map(Damage::CutOff),
    ]
}

/// Gives its bytes out in reads of these lengths, again and again.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    lengths: Vec<usize>,
    turn: usize,
}

impl Read for Pieces {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let length = self.lengths[self.turn % self.lengths.len()];
        self.turn += 1;
        let count = length.min(room.len()).min(self.bytes.len() - self.at);
        room[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Reads all rows; an error that ends the reading is the last one.
fn read(bytes: &[u8], format: InputFormat, lengths: &[usize]) -> Vec<Result<InputRow, String>> {
    let pieces = Pieces {
        bytes: bytes.to_vec(),
        at: 0,
        lengths: lengths.to_vec(),
        turn: 0,
    };
    let settings = InputSettings {
        format,
        ..InputSettings::default()
    };
    let input = OpenInput::from_reader("stdin", Box::new(pieces), &settings);
    let rows = read_all(&mut { input }).into_iter();
    rows.map(|row| row.map_err(|error| error.to_string()))
        .collect()
}

fn read_whole(bytes: &[u8], format: InputFormat) -> Vec<Result<InputRow, String>> {
    read(bytes, format, &[usize::MAX])
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
fn a_record_that_is_spoilt_is_one_bad_row_and_harms_no_other() {
    let garbage = prop_oneof!["[ -~äж𝄞]{0,40}", "[ -~]{0,9}", "[,;\t|]{0,9}"];
    let case = (any_sound(), any::<Index>(), garbage);
    check(&case, |(sound, index, garbage)| {
        let before = read_whole(&sound.bytes(), InputFormat::Auto);
        // The first one tells how the file is written.
        let place = 1 + index.index(sound.records.len() - 1);
        let mut spoilt = sound.clone();
        let record = spoilt.records[place].clone();
        let text = record.trim_end_matches(['\r', '\n']);
        let text = text.strip_suffix(',').unwrap_or(text);
        spoilt.records[place] = record.replacen(text, &sound.shape.spoilt(&garbage), 1);
        let after = read_whole(&spoilt.bytes(), InputFormat::Auto);
        let shown = spoilt.coding.text(&spoilt.bytes());
        if matches!(sound.shape, Shape::JsonList | Shape::Envelope) {
            // A broken document says nothing of what follows.
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
        if read(&bytes, InputFormat::Auto, &lengths) != after {
            return Err(format!("read otherwise in pieces of {lengths:?}:\n{text}"));
        }
        let whole = sound.ends().iter().filter(|end| **end <= first).count();
        // A row that ends where the damage begins may have been joined to it.
        let whole = whole.saturating_sub(1);
        // An envelope that turns out to have an id itself was none.
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
fn of_damaged_lines_and_cells_each_record_is_one_row() {
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
        // The csv crate closes it silently, and what it holds may be blank.
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

/// Returns bytes as they are read, as far as blanks are concerned.
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

/// Counts records below the header, by the csv crate; a spreadsheet's row of blank cells is none.
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
