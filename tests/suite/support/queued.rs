//! A row as the journal hands it out for the first time.

use mde_cancel::model::{ActionId, RowContext, RowNumber};
use mde_cancel::store::{Phase, QueuedRow};

/// Returns a row that was never sent, and of which the input told nothing but its id.
pub(crate) fn queued(number: RowNumber, id: ActionId) -> QueuedRow {
    QueuedRow {
        number,
        id,
        context: RowContext::default(),
        attempts: 0,
        phase: Phase::Fresh,
        first_sent_at: None,
        comment_sent: None,
        status_before: None,
        action_status: None,
        checked_at: None,
    }
}
