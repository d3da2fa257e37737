//! JSON documents as rows, an element at a time: a list, an envelope around a list, or values one after the other.

use std::io;

use super::byte_source::{ByteSource, Filled, MAX_ROW};
use super::columns::RowReading;
use super::json_record::JsonRows;
use super::json_scan::{Nesting, ObjectScan, TopObject, ValueScan, ends_bare};
use super::lines;

/// Where in the document the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Outside of everything.
    Top,
    /// In a list that is the whole document.
    List,
    /// In the list of an envelope.
    EnvelopeList,
    /// In an envelope, behind its list.
    EnvelopeTail,
}

/// How an element ended.
enum Ending {
    /// After so many available bytes.
    At(usize),
    /// It was longer than a row may be and was dropped; its beginning.
    Dropped(String),
    /// With the input, before it was complete.
    Truncated,
}

/// Reads the elements of one input.
pub(super) struct JsonStream {
    place: Place,
    rows: JsonRows,
}

impl JsonStream {
    /// Starts at the top of a document.
    pub(super) fn new(rows: JsonRows) -> Self {
        Self {
            place: Place::Top,
            rows,
        }
    }

    /// Returns the keys of the last record, where none of them may hold the id.
    pub(super) fn useless_keys(&self) -> Option<&[String]> {
        self.rows.useless_keys()
    }

    /// Reads the next element as a row, and the line on which it starts.
    ///
    /// # Errors
    /// Returns the reader's error.
    pub(super) fn next(
        &mut self,
        source: &mut ByteSource,
    ) -> io::Result<Option<(u64, RowReading)>> {
        loop {
            let Some(byte) = find_token(source)? else {
                let cut_off = self.place != Place::Top;
                self.place = Place::Top;
                let row = || lines::bad_row("the JSON ends before it is complete", "");
                return Ok(cut_off.then(|| (source.line(), row())));
            };
            let line = source.line();
            match (self.place, byte) {
                (Place::Top, b'[') => {
                    source.consume(1);
                    self.place = Place::List;
                }
                (Place::List, b']') => {
                    source.consume(1);
                    self.place = Place::Top;
                }
                (Place::EnvelopeList, b']') => {
                    source.consume(1);
                    self.place = Place::EnvelopeTail;
                }
                (Place::EnvelopeTail, _) => {
                    if drop_value(source, ValueScan::Closed(Nesting::inside()))? {
                        self.place = Place::Top;
                    }
                }
                (Place::Top, b'{') => {
                    if let Some(ending) = self.top_object(source)? {
                        return Ok(Some((line, self.row(source, &ending))));
                    }
                }
                _ => {
                    let ending = find_end(source, 0, ValueScan::starting_with(byte))?;
                    return Ok(Some((line, self.row(source, &ending))));
                }
            }
        }
    }

    /// Reads an object at the top; `None` where it is an envelope, which is then entered.
    fn top_object(&mut self, source: &mut ByteSource) -> io::Result<Option<Ending>> {
        let mut scan = ObjectScan::default();
        loop {
            match scan.advance(source.available()) {
                Some(TopObject::Record(end)) if end <= MAX_ROW => {
                    return Ok(Some(Ending::At(end)));
                }
                Some(TopObject::Record(end)) => {
                    let head = lines::head(source.available());
                    source.consume(end);
                    return Ok(Some(Ending::Dropped(head)));
                }
                Some(TopObject::Envelope(start)) => {
                    source.consume(start);
                    self.place = Place::EnvelopeList;
                    return Ok(None);
                }
                None => {}
            }
            if source.available().len() > MAX_ROW {
                let (from, scan) = scan.into_value_scan();
                return find_end(source, from, scan).map(Some);
            }
            if source.fill()? == Filled::Ended {
                return Ok(Some(Ending::Truncated));
            }
        }
    }

    /// Makes a row of an element and gives its bytes up.
    fn row(&mut self, source: &mut ByteSource, ending: &Ending) -> RowReading {
        match ending {
            Ending::At(end) => {
                let row = self.rows.row(&source.available()[..*end]);
                source.consume(*end);
                row
            }
            Ending::Dropped(head) => lines::bad_row(lines::TOO_LONG, head),
            Ending::Truncated => {
                let head = lines::head(source.available());
                source.consume(source.available().len());
                self.place = Place::Top;
                lines::bad_row("the JSON ends in the middle of this row", &head)
            }
        }
    }
}

/// Goes over blanks and commas to the next byte that means something.
fn find_token(source: &mut ByteSource) -> io::Result<Option<u8>> {
    loop {
        let available = source.available();
        let token = available
            .iter()
            .position(|byte| !byte.is_ascii_whitespace() && *byte != b',');
        if let Some(at) = token {
            let byte = available[at];
            source.consume(at);
            return Ok(Some(byte));
        }
        source.consume(available.len());
        if source.fill()? == Filled::Ended {
            return Ok(None);
        }
    }
}

/// Finds the end of a value of which `from` bytes were gone over; drops it where it is too long for a row.
fn find_end(source: &mut ByteSource, from: usize, scan: ValueScan) -> io::Result<Ending> {
    let (mut from, mut scan) = (from, scan);
    loop {
        let available = source.available();
        match scan.find_end(available, from) {
            Some(end) if end <= MAX_ROW => return Ok(Ending::At(end)),
            Some(end) => {
                let head = lines::head(available);
                source.consume(end);
                return Ok(Ending::Dropped(head));
            }
            None => from = available.len(),
        }
        if from > MAX_ROW {
            let head = lines::head(available);
            source.consume(from);
            drop_value(source, scan)?;
            return Ok(Ending::Dropped(head));
        }
        if source.fill()? == Filled::Ended {
            return Ok(match scan {
                ValueScan::Bare => Ending::At(from),
                ValueScan::Closed(_) => Ending::Truncated,
            });
        }
    }
}

/// Gives the rest of a value up as it comes, and returns whether it ended before the input.
fn drop_value(source: &mut ByteSource, mut scan: ValueScan) -> io::Result<bool> {
    loop {
        let available = source.available();
        // The value's first byte is gone already, so here a bare one may end at once.
        let end = match &mut scan {
            ValueScan::Closed(_) => scan.find_end(available, 0),
            ValueScan::Bare => available.iter().position(|byte| ends_bare(*byte)),
        };
        if let Some(end) = end {
            source.consume(end);
            return Ok(true);
        }
        source.consume(available.len());
        if source.fill()? == Filled::Ended {
            return Ok(false);
        }
    }
}
