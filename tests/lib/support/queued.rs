//! The journal's queue, as a model has it.

use mde_cancel::model::{ActionId, RowContext, RowNumber};
use mde_cancel::store::{LoadFrom, Phase, QueuedRow};

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
        in_progress: None,
    }
}

/// Takes rows out of all unsettled ones, which come in their order.
pub(crate) fn load<'rows>(
    unsettled: impl Iterator<Item = &'rows QueuedRow>,
    from: &LoadFrom,
    limit: usize,
) -> Vec<QueuedRow> {
    match from {
        LoadFrom::After(after) => {
            let rows = unsettled.filter(|row| row.number > *after);
            rows.take(limit).cloned().collect()
        }
        LoadFrom::Sample(action_type) => {
            let is_meant = |row: &&QueuedRow| {
                let known = &row.context.action_type;
                row.attempts == 0 && (known == action_type || known.is_none())
            };
            let rows: Vec<_> = unsettled.filter(is_meant).collect();
            let step = rows.len().div_ceil(limit).max(1);
            let rows = rows.into_iter().skip(step / 2).step_by(step);
            rows.take(limit).cloned().collect()
        }
    }
}
