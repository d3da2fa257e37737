//! How far an input was read, so that the reading can go on after a crash.

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::model::InputRow;

/// Which rows of which input are stored. Reading goes on behind them if the file still begins with the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputCheckpoint {
    /// The position of the input in the run's list.
    pub input: usize,
    /// How many rows of it.
    pub rows: u64,
    /// Over their ids, types and comments.
    pub hash: u128,
}

/// Hashes rows as they come.
#[derive(Clone)]
pub(super) struct RowHash {
    pub(super) rows: u64,
    digest: Context,
}

impl RowHash {
    pub(super) fn new() -> Self {
        Self {
            rows: 0,
            digest: Context::new(&SHA256),
        }
    }

    pub(super) fn add(&mut self, row: &InputRow) {
        self.rows += 1;
        let id = row.id.as_ref().map_or(&[][..], |id| id.as_bytes());
        let action_type = row.context.action_type.as_ref().map(ToString::to_string);
        for text in [
            id,
            row.id_text.as_bytes(),
            action_type.as_deref().unwrap_or_default().as_bytes(),
            row.context
                .comment
                .as_deref()
                .unwrap_or_default()
                .as_bytes(),
        ] {
            self.digest.update(&(text.len() as u64).to_le_bytes());
            self.digest.update(text);
        }
    }

    pub(super) fn checkpoint(&self, input: usize) -> InputCheckpoint {
        let digest = self.digest.clone().finish();
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest.as_ref()[..16]);
        InputCheckpoint {
            input,
            rows: self.rows,
            hash: u128::from_le_bytes(hash),
        }
    }
}
