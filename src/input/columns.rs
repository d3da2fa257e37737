//! What a header, or the keys of a JSON object, mean for the rows under it.
//!
//! Invariant: of two ids, or two types, that could both be meant none is used, and a row of our own files goes again
//! only where that file says so. What a guard must know, and cannot be known, makes a row invalid.

use crate::model::{ActionId, ActionType, InvalidActionId, RowContext, folded};

use super::cells;
use super::column_name::ColumnName;
use super::standing::Standing;

const COMMENT_NAMES: &[&str] = &["comment"];
const MACHINE_NAMES: &[&str] = &["machineid", "deviceid"];
const NAME_NAMES: &[&str] = &["computerdnsname", "computername", "devicename"];
const REQUESTOR_NAMES: &[&str] = &["requestor"];
const TENANT_NAMES: &[&str] = &["tenant", "tenantid"];
const TYPE_NAMES: &[&str] = &["machineactiontype", "actiontype", "type"];

/// Which column means what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// Position and rank, the most specific first.
    ids: Vec<(usize, u8)>,
    comment: Option<usize>,
    tenant: Option<usize>,
    /// All that may name a type: a guard looks at each.
    action_types: Vec<usize>,
    machine_id: Option<usize>,
    computer_dns_name: Option<usize>,
    requestor: Option<usize>,
    standing: Standing,
}

/// What one row's cells say.
pub(super) struct RowReading {
    /// The id, or why there is none.
    pub(super) id: Result<ActionId, String>,
    /// What stood in the id cell.
    pub(super) id_text: String,
    /// What else the row told.
    pub(super) context: RowContext,
    /// Why the row must not go again, although its id is sound.
    pub(super) skipped: Option<String>,
}

impl Columns {
    /// Reads the names of a header; `None` where no column may hold the action id.
    ///
    /// `id_column` is the one the user named, compared first as it stands and then normalised.
    pub(super) fn read<N: AsRef<str>>(names: &[N], id_column: Option<&str>) -> Option<Self> {
        let read: Vec<_> = names
            .iter()
            .map(|name| ColumnName::read(name.as_ref()))
            .collect();
        let mut ids = match id_column {
            Some(wanted) => named(names, wanted),
            None => read
                .iter()
                .enumerate()
                .filter_map(|(at, name)| Some((at, name.id_rank()?)))
                .collect(),
        };
        if ids.is_empty() {
            return None;
        }
        ids.sort_by_key(|(_, rank)| std::cmp::Reverse(*rank));
        // What stands beside the id under one name (`value.id`, `value.type`) speaks of the same thing.
        let beside_an_id =
            |name: &ColumnName| ids.iter().any(|(at, _)| name.has_owner_of(&read[*at]));
        let action_types = read
            .iter()
            .enumerate()
            .filter(|(_, name)| {
                name.place_in(TYPE_NAMES).is_some()
                    || (name.is_any_owners(TYPE_NAMES) && beside_an_id(name))
            })
            .map(|(at, _)| at)
            .collect();
        let best = |wanted: &[&str]| {
            read.iter()
                .enumerate()
                .filter_map(|(at, name)| Some((name.place_in(wanted)?, at)))
                .min()
                .map(|(_, at)| at)
        };
        let unowned = |wanted: &[&str]| read.iter().position(|name| name.is_any_owners(wanted));
        let machine = read.iter().position(ColumnName::is_a_machines_id);
        Some(Self {
            ids,
            comment: best(COMMENT_NAMES),
            tenant: best(TENANT_NAMES),
            action_types,
            machine_id: best(MACHINE_NAMES)
                .or_else(|| unowned(MACHINE_NAMES))
                .or(machine),
            computer_dns_name: best(NAME_NAMES).or_else(|| unowned(NAME_NAMES)),
            requestor: best(REQUESTOR_NAMES).or_else(|| unowned(REQUESTOR_NAMES)),
            standing: Standing::read(names),
        })
    }

    /// Returns whether this is a file of ours, whose CSV cells are encoded.
    pub(super) fn is_ours(&self) -> bool {
        self.standing.is_ours()
    }

    /// Takes one column for the id, and knows nothing about the others.
    pub(super) fn only_id(at: usize) -> Self {
        Self {
            ids: vec![(at, 0)],
            comment: None,
            tenant: None,
            action_types: Vec::new(),
            machine_id: None,
            computer_dns_name: None,
            requestor: None,
            standing: Standing::Unsaid,
        }
    }

    /// Reads one row, whose cells `cell` gives.
    pub(super) fn row<'cells>(&self, cell: impl Fn(usize) -> Option<&'cells str>) -> RowReading {
        let text = |at: Option<usize>| at.and_then(&cell).and_then(cells::context_text);
        let (id, shown) = self.id(&cell);
        let skipped = match id {
            Ok(_) => self.standing.skipped(&cell),
            Err(_) => None,
        };
        let (action_type, type_fault) = match self.action_type(&cell) {
            Ok(action_type) => (action_type, None),
            Err(reason) => (None, Some(reason)),
        };
        let comment = self.comment.and_then(&cell);
        let fault = type_fault.or_else(|| comment.and_then(cells::comment_fault));
        let id = match (id, fault) {
            // A row that stays back anyway keeps the better reason.
            (Ok(_), Some(reason)) if skipped.is_none() => Err(reason),
            (id, _) => id,
        };
        RowReading {
            id,
            id_text: cells::id_text(shown),
            skipped,
            context: RowContext {
                comment: comment.and_then(cells::context_text),
                tenant: text(self.tenant),
                action_type,
                machine_id: text(self.machine_id),
                computer_dns_name: text(self.computer_dns_name),
                requestor: text(self.requestor),
            },
        }
    }

    /// Finds the most specific GUID of a row, and the text to show for it.
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
                // The nil GUID is a GUID, and so hides less specific columns.
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

    /// Returns the columns that may name a type.
    pub(super) fn action_types(&self) -> &[usize] {
        &self.action_types
    }

    /// Reads a row's type, or says why there is no telling which of two it is.
    fn action_type<'cells>(
        &self,
        cell: impl Fn(usize) -> Option<&'cells str>,
    ) -> Result<Option<ActionType>, String> {
        let mut told = self
            .action_types
            .iter()
            .filter_map(|at| cell(*at))
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let Some(first) = told.next() else {
            return Ok(None);
        };
        match told.find(|other| folded(other) != folded(first)) {
            Some(other) => Err(format!(
                "two type columns disagree: {} and {}",
                cells::visible(first),
                cells::visible(other)
            )),
            None => Ok(action_type(first)),
        }
    }
}

/// Reads a type; the known ones, which nearly all are, without a copy.
fn action_type(text: &str) -> Option<ActionType> {
    match ActionType::parse(text) {
        ActionType::Other(other) => cells::context_text(&other).map(ActionType::Other),
        known => Some(known),
    }
}

/// Finds the columns that bear the name the user gave; all are equally specific.
fn named<N: AsRef<str>>(names: &[N], wanted: &str) -> Vec<(usize, u8)> {
    let find = |matches: &dyn Fn(&str) -> bool| {
        names
            .iter()
            .enumerate()
            .filter(|(_, name)| matches(name.as_ref()))
            .map(|(at, _)| (at, 0))
            .collect::<Vec<_>>()
    };
    let exact = find(&|name| name.trim() == wanted.trim());
    if !exact.is_empty() {
        return exact;
    }
    let wanted = folded(wanted);
    find(&|name| !wanted.is_empty() && folded(name) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
    const TWO: &str = "8f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
    const NIL: &str = "00000000-0000-0000-0000-000000000000";

    fn row(header: &[&str], cells: &[&str]) -> RowReading {
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
    fn a_named_column_overrides_all_names() {
        let header = ["id", "Approval ID", "x"];
        let columns = Columns::read(&header, Some("approvalid")).unwrap();
        let row = columns.row(|at| [ONE, TWO, ""].get(at).copied());
        assert_eq!(row.id.unwrap().to_string(), TWO);
        assert_eq!(Columns::read(&header, Some("y")), None);
        assert_eq!(Columns::read(&header, Some("")), None);
        // A name that stands there as it was typed is not mixed with others that read the same.
        let columns = Columns::read(&["X", "x"], Some("x")).unwrap();
        assert_eq!(columns.ids, [(1, 0)]);
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

    #[test]
    fn what_belongs_to_something_else_is_no_context() {
        // A file's or a device's type would satisfy a guard that it says nothing about.
        let context = row(
            &[
                "id",
                "File.Type",
                "status",
                "requestorComment",
                "Alert.Comment",
            ],
            &[ONE, "Isolate", "Pending", "x", "y"],
        )
        .context;
        assert_eq!(context, RowContext::default());
        let context = row(
            &[
                "MicrosoftATP.MachineAction.ID",
                "MicrosoftATP.MachineAction.Type",
                "MicrosoftATP.Machine.ID",
            ],
            &[ONE, "Isolate", "m"],
        )
        .context;
        assert_eq!(context.action_type, Some(ActionType::Isolate));
        assert_eq!(context.machine_id.unwrap(), "m");
    }
}
