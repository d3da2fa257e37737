//! Interprets the cells of a row.
//!
//! Ambiguity never leads to a call: if two ids or two types contradict each other, neither is used.

use crate::model::{ActionId, ActionType, InvalidActionId, RowContext, folded, truncate_line};

use super::header::Columns;

/// How much invalid id text is kept, in characters. The input may be a secret that was passed by mistake.
const ID_CHARS: usize = 16;

/// The longest comment, as for `--comment`, and the longest text kept of any cell, in characters.
pub(super) const CELL_CHARS: usize = 4096;

/// How messages show names: the longest in full, the parts of a longer one, and how many.
const NAME_CHARS: usize = 24;
const NAME_START: usize = 12;
const NAME_END: usize = 8;
const NAMES: usize = 30;

pub(super) struct ParsedRow {
    pub(super) id: Result<ActionId, String>,
    /// The text of the id cell.
    pub(super) id_text: String,
    pub(super) context: RowContext,
    /// Why a row with a valid id must not be sent again.
    pub(super) skipped: Option<String>,
}

impl ParsedRow {
    /// Builds a row from a single id.
    pub(super) fn of_id(text: &str) -> Self {
        Columns::only_id(0).row(|_| Some(text))
    }

    /// Builds an unusable row that shows `shown`.
    pub(super) fn bad(reason: impl Into<String>, shown: &str) -> Self {
        Self {
            id: Err(reason.into()),
            id_text: id_text(shown),
            context: RowContext::default(),
            skipped: None,
        }
    }
}

impl Columns {
    /// Parses a row; `cell` returns its cells by position.
    pub(super) fn row<'cells>(&self, cell: impl Fn(usize) -> Option<&'cells str>) -> ParsedRow {
        let first = |columns: &[usize]| columns.iter().find_map(|at| context_text(cell(*at)?));
        let (id, shown) = self.id(&cell);
        let skipped = match id {
            Ok(_) => self.origin.skipped(&cell),
            Err(_) => None,
        };
        let (action_type, type_fault) = match self.action_type(&cell) {
            Ok(action_type) => (action_type, None),
            Err(reason) => (None, Some(reason)),
        };
        let comments = || self.comments.iter().filter_map(|at| cell(*at));
        let fault = type_fault.or_else(|| comments().find_map(comment_fault));
        let id = match (id, fault) {
            // A skipped row keeps its reason.
            (Ok(_), Some(reason)) if skipped.is_none() => Err(reason),
            (id, _) => id,
        };
        ParsedRow {
            id,
            id_text: id_text(shown),
            skipped,
            context: RowContext {
                comment: first(&self.comments),
                tenant: first(&self.tenants),
                action_type,
                machine_id: first(&self.machine_ids),
                computer_dns_name: first(&self.computer_names),
                requestor: first(&self.requestors),
            },
        }
    }

    /// Returns the most specific GUID of the row, and the text to show for it.
    fn id<'cells>(
        &self,
        cell: impl Fn(usize) -> Option<&'cells str>,
    ) -> (Result<ActionId, String>, &'cells str) {
        let mut found: Option<(u8, ActionId, &str)> = None;
        let mut fault: Option<(InvalidActionId, &str)> = None;
        for &(at, rank) in &self.ids {
            if found.is_some_and(|(best, ..)| rank < best) {
                break;
            }
            let text = cell(at).unwrap_or_default();
            match (ActionId::parse(text), found) {
                (Ok(id), Some((_, other, shown))) if id != other => {
                    let reason = format!("two id columns disagree: {other} and {id}");
                    return (Err(reason), shown);
                }
                (Ok(id), None) => found = Some((rank, id, text)),
                (Ok(_), Some(_)) => {}
                // The nil GUID is still a GUID, so it hides less specific columns.
                (Err(nil @ InvalidActionId::Nil), _) => return (Err(nil.to_string()), text),
                (Err(other), _) => {
                    if fault.is_none_or(|(known, _)| known == InvalidActionId::Empty) {
                        fault = Some((other, text));
                    }
                }
            }
        }
        match (found, fault) {
            (Some((_, id, shown)), _) => (Ok(id), shown),
            (None, Some((fault, shown))) => (Err(fault.to_string()), shown),
            (None, None) => (Err(InvalidActionId::Empty.to_string()), ""),
        }
    }

    /// Returns the type, or why two types conflict.
    fn action_type<'cells>(
        &self,
        cell: impl Fn(usize) -> Option<&'cells str>,
    ) -> Result<Option<ActionType>, String> {
        let is_known = |text: &&str| !matches!(ActionType::parse(text), ActionType::Other(_));
        let tables = self.tables.iter().filter_map(|at| cell(*at));
        let types = self.types.iter().filter_map(|at| cell(*at));
        let mut told = types
            .chain(tables.filter(is_known))
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let Some(first) = told.next() else {
            return Ok(None);
        };
        let first_type = ActionType::parse(first);
        match told
            .find(|other| folded(other) != folded(first) && ActionType::parse(other) != first_type)
        {
            Some(other) => Err(format!(
                "two type columns disagree: {} and {}",
                quoted(first),
                quoted(other)
            )),
            None => Ok(match first_type {
                ActionType::Other(other) => context_text(&other).map(ActionType::Other),
                known => Some(known),
            }),
        }
    }
}

/// Trims a text and cuts it to `chars` characters.
pub(super) fn bounded(text: &str, chars: usize) -> String {
    let trimmed = text.trim();
    // A text has at least as many bytes as characters.
    if trimmed.len() <= chars {
        return trimmed.to_owned();
    }
    trimmed.chars().take(chars).collect()
}

/// Shortens the text of an id cell for the report, unless it is an id.
fn id_text(text: &str) -> String {
    shortened(text, ID_CHARS, ID_CHARS, 0)
}

/// Keeps the first `start` and the last `end` characters of a text that has more than `whole` and is no id.
fn shortened(text: &str, whole: usize, start: usize, end: usize) -> String {
    let text = text.trim();
    let count = text.chars().count();
    if count <= whole || ActionId::parse(text).is_ok() {
        return text.to_owned();
    }
    let start: String = text.chars().take(start).collect();
    let end: String = text.chars().skip(count - end).collect();
    format!("{start}…{end}")
}

/// Returns the text of a context cell, cut to 4,096 characters; `None` if blank.
pub(super) fn context_text(text: &str) -> Option<String> {
    let text = bounded(text, CELL_CHARS);
    (!text.is_empty()).then_some(text)
}

/// Rejects a comment that is too long, rather than sending half of it.
fn comment_fault(text: &str) -> Option<String> {
    let text = text.trim();
    (text.len() > CELL_CHARS && text.chars().count() > CELL_CHARS)
        .then(|| "the comment has more than 4,096 characters".to_owned())
}

pub(super) fn list<N: AsRef<str>>(names: &[N]) -> String {
    let shown = names.iter().take(NAMES).map(|name| match names {
        // A single name is more likely a value.
        [_] => backticks(&id_text(name.as_ref())),
        _ => quoted(name.as_ref()),
    });
    let text = shown.collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMES) {
        None | Some(0) => text,
        Some(more) => format!("{text} and {more} more"),
    }
}

/// Formats a word for a message.
pub(super) fn quoted(word: &str) -> String {
    backticks(&shortened(word, NAME_CHARS, NAME_START, NAME_END))
}

fn backticks(word: &str) -> String {
    format!("`{}`", truncate_line(word, CELL_CHARS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
    const TWO: &str = "8f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
    const NIL: &str = "00000000-0000-0000-0000-000000000000";

    fn row(header: &[&str], cells: &[&str]) -> ParsedRow {
        let columns = Columns::read(header, None).unwrap();
        columns.row(|at| cells.get(at).copied())
    }

    fn id(header: &[&str], cells: &[&str]) -> Result<String, String> {
        row(header, cells).id.map(|id| id.to_string())
    }

    #[test]
    fn the_most_specific_guid_wins_row_by_row() {
        let header = ["Id", "RequestGuid", "machineId"];
        assert_eq!(id(&header, &[ONE, TWO, ONE]).unwrap(), TWO);
        assert_eq!(id(&header, &[ONE, "", ""]).unwrap(), ONE);
        assert_eq!(id(&header, &[ONE, "17", ""]).unwrap(), ONE);
        assert_eq!(
            id(&header, &[ONE, NIL, ""]).unwrap_err(),
            "the id is the nil GUID"
        );
        assert_eq!(
            id(&header, &["x", "", TWO]).unwrap_err(),
            "the id is not a GUID"
        );
        assert_eq!(id(&header, &["", "", TWO]).unwrap_err(), "the id is empty");
        assert_eq!(id(&header, &[]).unwrap_err(), "the id is empty");
    }

    #[test]
    fn two_equally_specific_ids_that_disagree_make_the_row_invalid() {
        let header = ["requestGuid", "request_id", "id"];
        let upper = ONE.to_uppercase();
        assert_eq!(id(&header, &[ONE, &upper, TWO]).unwrap(), ONE);
        assert_eq!(id(&header, &["", TWO, ONE]).unwrap(), TWO);
        assert_eq!(
            id(&header, &[ONE, TWO, ONE]).unwrap_err(),
            format!("two id columns disagree: {ONE} and {TWO}")
        );
        assert!(id(&header, &[ONE, NIL, ONE]).is_err());
    }

    #[test]
    fn context_comes_from_its_columns_and_blank_cells_are_none() {
        let header = [
            "id",
            "Comment",
            "tenant",
            "Action Type",
            "DeviceId",
            "Computer Name",
            "requestor",
            "type",
            "requestorComment",
        ];
        let context = row(
            &header,
            &[ONE, " a ", "t", "Isolate", "m", "c", "r", "iso_late"],
        )
        .context;
        assert_eq!(
            context,
            RowContext {
                comment: Some("a".to_owned()),
                tenant: Some("t".to_owned()),
                action_type: Some(ActionType::Isolate),
                machine_id: Some("m".to_owned()),
                computer_dns_name: Some("c".to_owned()),
                requestor: Some("r".to_owned()),
            }
        );
        let blank = row(&header, &[ONE, " ", "", "", "", "", "\t"]).context;
        assert_eq!(blank, RowContext::default());
    }
}
