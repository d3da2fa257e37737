//! Any bytes as an input of any format: nothing panics, and the size of the reads changes no row.
#![no_main]

use std::io::{Cursor, Read};
use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use mde_cancel::input::{InputFormat, InputSettings, OpenInput};

/// Reads one byte at a time.
struct Drip(Cursor<Vec<u8>>);

impl Read for Drip {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let most = into.len().min(1);
        self.0.read(&mut into[..most])
    }
}

fn rows(reader: Box<dyn Read + Send>, format: InputFormat) -> (Vec<String>, Option<String>) {
    let settings = InputSettings {
        format,
        ..InputSettings::default()
    };
    let mut rows = Vec::new();
    let ended = OpenInput::from_reader("input", reader, &settings).read(&mut |chunk| {
        rows.extend(chunk.rows.iter().map(|row| format!("{row:?}")));
        ControlFlow::Continue(())
    });
    (rows, ended.err().map(|error| error.to_string()))
}

fuzz_target!(|bytes: &[u8]| {
    for format in [
        InputFormat::Auto,
        InputFormat::Csv,
        InputFormat::Tsv,
        InputFormat::Jsonl,
        InputFormat::Json,
        InputFormat::Lines,
    ] {
        let bytes = Cursor::new(bytes.to_vec());
        let whole = rows(Box::new(bytes.clone()), format);
        assert_eq!(whole, rows(Box::new(Drip(bytes)), format), "{format:?}");
    }
});
