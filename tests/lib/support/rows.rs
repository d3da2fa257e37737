//! All rows of an input at once.

use std::ops::ControlFlow;

use mde_cancel::input::{InputError, OpenInput};
use mde_cancel::model::InputRow;

/// Reads an input to its end; an error that ends it comes last.
pub(crate) fn read_all(input: &mut OpenInput) -> Vec<Result<InputRow, InputError>> {
    let mut rows = Vec::new();
    let read = input.read(&mut |chunk| {
        rows.extend(chunk.rows.into_iter().map(Ok));
        ControlFlow::Continue(())
    });
    rows.extend(read.err().map(Err));
    rows
}

/// Reads a valid input to its end.
pub(crate) fn sound_rows(input: OpenInput) -> Vec<InputRow> {
    read_all(&mut { input })
        .into_iter()
        .map(Result::unwrap)
        .collect()
}
