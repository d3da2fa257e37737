//! The meaning of column names and JSON keys, in one table for both.
//!
//! Names are normalized: case, blanks, `_` and `-` are ignored, as are Log Analytics' type suffixes (`_g`, `_s` ...),
//! ServiceNow's prefix `u_` and a time zone in brackets. Only the last part of a dotted name counts, unless the part
//! before it names another owner: the id of a machine, an alert or a user is never an action id.

use crate::model::folded;

use super::earlier_reports::FileOrigin;
use HeaderField::{
    Comment, ComputerName, Id, MachineId, Requestor, RequestorComment, Tenant, Type, Workspace,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderField {
    /// An action id; a higher rank is more specific.
    Id(u8),
    Type,
    /// The comment to send.
    Comment,
    Tenant,
    MachineId,
    ComputerName,
    Requestor,
    /// Unused, but it tells whose a `comment` column is.
    RequestorComment,
    /// Marks a row of Log Analytics, where the tenant is a workspace and the type is a table.
    Workspace,
}

type Names = &'static [(&'static str, HeaderField)];

/// The rank of names that may also identify an HTTP request.
const REQUEST: u8 = 2;

/// If several columns of a row have the same field, the first in this list that is not blank wins.
const NAMES: Names = &[
    ("machineactionid", Id(4)),
    ("actionid", Id(3)),
    ("activityid", Id(3)),
    ("requestguid", Id(REQUEST)),
    ("requestid", Id(REQUEST)),
    ("id", Id(1)),
    ("machineactiontype", Type),
    ("actiontype", Type),
    ("activitytype", Type),
    ("type", Type),
    ("comment", Comment),
    ("tenant", Tenant),
    ("tenantid", Tenant),
    ("machineid", MachineId),
    ("deviceid", MachineId),
    ("computerdnsname", ComputerName),
    ("computername", ComputerName),
    ("devicename", ComputerName),
    ("requestor", Requestor),
    ("decidedby", Requestor),
    ("requestorcomment", RequestorComment),
    ("timegenerated", Workspace),
];

/// Names whose meaning depends on a known part before the dot.
const OWNED: &[&str] = &[
    "action",
    "comment",
    "id",
    "name",
    "requestid",
    "tenant",
    "tenantid",
    "type",
];

/// The meaning of [`OWNED`] names by owner; names that an owner doesn't list are ignored.
const OWNERS: &[(&[&str], Names)] = &[
    (&["machineaction"], &[("id", Id(4)), ("type", Type)]),
    (&["action"], &[("id", Id(3)), ("type", Type)]),
    (&["event"], &[("id", Id(1)), ("action", Type)]),
    (
        &["device", "host", "machine"],
        &[("id", MachineId), ("name", ComputerName)],
    ),
    (&["user"], &[("name", Requestor)]),
    (
        &[
            "account",
            "agent",
            "alert",
            "app",
            "application",
            "approval",
            "case",
            "cloud",
            "datastream",
            "elasticagent",
            "entity",
            "file",
            "group",
            "headers",
            "incident",
            "input",
            "investigation",
            "observer",
            "organization",
            "owner",
            "playbook",
            "process",
            "related",
            "rule",
            "session",
            "task",
            "tenant",
            "threat",
            "workflow",
            "workspace",
        ],
        &[],
    ),
];

struct HeaderName {
    last: String,
    owner: Option<String>,
    field: Option<HeaderField>,
    /// Whether the field may belong to something else, because its owner is unknown.
    is_foreign: bool,
}

impl HeaderName {
    fn read(text: &str) -> Self {
        let text = text.trim();
        let (owner, last) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            // `TimeGenerated [UTC]`
            Some((name, _)) if name.ends_with(' ') => split_owner(name),
            // `Actions[id]`: a table and its column
            Some((table, column)) => (Some(table), column),
            None => split_owner(text),
        };
        let owner = owner.map(folded);
        let last = folded_last(last);
        let (field, is_foreign) = find_field(owner.as_deref(), &last);
        Self {
            last,
            owner,
            field,
            is_foreign,
        }
    }

    /// Returns how specific an id column is; `None` for other columns.
    fn rank(&self) -> Option<u8> {
        match self.field {
            Some(Id(rank)) => Some(2 * rank + u8::from(!self.is_foreign)),
            _ => None,
        }
    }
}

fn split_owner(name: &str) -> (Option<&str>, &str) {
    match name.rsplit_once('.') {
        Some((owners, last)) => (owners.rsplit('.').next(), last),
        None => (None, name),
    }
}

fn folded_last(name: &str) -> String {
    let name = name.trim();
    // `_id`, `_time` and so on are internal to a database.
    if name.starts_with('_') {
        return String::new();
    }
    let name = name.strip_prefix("u_").unwrap_or(name);
    let is_typed = ["_g", "_s", "_d", "_t", "_b"]
        .iter()
        .any(|ending| name.len() > ending.len() && name.ends_with(ending));
    folded(if is_typed {
        &name[..name.len() - 2]
    } else {
        name
    })
}

fn find_field(owner: Option<&str>, last: &str) -> (Option<HeaderField>, bool) {
    let by = |names: Names| {
        let found = names.iter().find(|(name, _)| *name == last);
        found.map(|(_, field)| *field)
    };
    match owner.and_then(owned) {
        Some(names) if OWNED.contains(&last) => (by(names), false),
        Some(_) => (by(NAMES), false),
        None => (by(NAMES), owner.is_some()),
    }
}

/// Returns the meanings for a known owner, in singular or plural.
fn owned(owner: &str) -> Option<Names> {
    let singular = owner.strip_suffix('s').unwrap_or(owner);
    let found = OWNERS
        .iter()
        .find(|(owners, _)| owners.contains(&owner) || owners.contains(&singular));
    found.map(|(_, names)| *names)
}

/// Returns whether the key names a known owner, which decides what `id` means in the objects of its list.
pub(super) fn is_owner(key: &str) -> bool {
    owned(&folded(key)).is_some()
}

/// How relevant a JSON member is for its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    Nothing,
    Context,
    /// Possibly the id of an HTTP request: counts only if no list in the object contains rows.
    RequestId,
    Id,
}

/// Classifies a name on its own.
pub(super) fn use_of(name: &str, id_column: Option<&str>) -> Use {
    if id_column.is_some_and(|wanted| is_same(name, wanted)) {
        return Use::Id;
    }
    match HeaderName::read(name).field {
        Some(Id(_)) if id_column.is_some() => Use::Nothing,
        Some(Id(REQUEST)) => Use::RequestId,
        Some(Id(_)) => Use::Id,
        Some(_) => Use::Context,
        None if FileOrigin::uses(name) => Use::Context,
        None => Use::Nothing,
    }
}

/// Returns whether a list under this key contains ids: `value`, `rows`, `ids`, `actionIds`.
pub(super) fn names_ids(key: &str) -> bool {
    let key = folded(key);
    let singular = key.strip_suffix('s').unwrap_or(&key);
    matches!(key.as_str(), "value" | "rows") || matches!(find_field(None, singular).0, Some(Id(_)))
}

pub(super) fn knows_any<N: AsRef<str>>(names: &[N]) -> bool {
    let mut fields = names
        .iter()
        .map(|name| HeaderName::read(name.as_ref()).field);
    fields.any(|field| field.is_some())
}

/// Returns whether one of the names is a machine id.
pub(super) fn names_machines<N: AsRef<str>>(names: &[N]) -> bool {
    let mut fields = names
        .iter()
        .map(|name| HeaderName::read(name.as_ref()).field);
    fields.any(|field| field == Some(MachineId))
}

/// The columns of each field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// Position and rank, the most specific first.
    pub(super) ids: Vec<(usize, u8)>,
    /// All possible types; the protection checks each.
    pub(super) types: Vec<usize>,
    /// Columns that may contain table names, so only known types count.
    pub(super) tables: Vec<usize>,
    pub(super) comments: Vec<usize>,
    pub(super) tenants: Vec<usize>,
    pub(super) machine_ids: Vec<usize>,
    pub(super) computer_names: Vec<usize>,
    pub(super) requestors: Vec<usize>,
    pub(super) origin: FileOrigin,
}

impl Columns {
    /// Reads a header; `None` if no column may contain action ids.
    ///
    /// `id_column` is the user's choice, compared exactly, then normalized.
    pub(super) fn read<N: AsRef<str>>(names: &[N], id_column: Option<&str>) -> Option<Self> {
        let read: Vec<_> = names
            .iter()
            .map(|name| HeaderName::read(name.as_ref()))
            .collect();
        let mut ids: Vec<_> = match id_column {
            Some(wanted) => named(names, wanted),
            None => (0..)
                .zip(&read)
                .filter_map(|(at, name)| Some((at, name.rank()?)))
                .collect(),
        };
        if ids.is_empty() {
            return None;
        }
        ids.sort_by_key(|(_, rank)| std::cmp::Reverse(*rank));
        // Columns with the same owner as the id (`value.id`, `value.type`) describe the same action.
        let is_ours = |name: &HeaderName| {
            !name.is_foreign || ids.iter().any(|(at, _)| read[*at].owner == name.owner)
        };
        let all = |wanted: HeaderField| -> Vec<usize> {
            let mut found: Vec<_> = read
                .iter()
                .enumerate()
                .filter(|(_, name)| name.field == Some(wanted))
                .collect();
            found.sort_by_key(|(_, name)| {
                let place = NAMES.iter().position(|(known, _)| *known == name.last);
                (OWNED.contains(&name.last.as_str()), place)
            });
            found.into_iter().map(|(at, _)| at).collect()
        };
        let own = |wanted: HeaderField| -> Vec<usize> {
            let mut found = all(wanted);
            found.retain(|at| is_ours(&read[*at]));
            found
        };
        let has = |wanted: HeaderField| read.iter().any(|name| name.field == Some(wanted));
        let has_named = |wanted: &str| read.iter().any(|name| name.last == wanted);
        let origin = FileOrigin::read(names);
        let mut types = own(Type);
        types.sort_unstable();
        // Without an `activityId`, it is the kind of a log event.
        types.retain(|at| read[*at].last != "activitytype" || has_named("activityid"));
        let is_reserved = |at: &usize| {
            has(Workspace) && matches!(names[*at].as_ref().trim(), "Type" | "TenantId")
        };
        let tables = types.iter().copied().filter(is_reserved).collect();
        types.retain(|at| !is_reserved(at));
        let mut tenants = own(Tenant);
        tenants.retain(|at| !is_reserved(at));
        // Next to a requestor the comment is theirs, except in our own files or if there is a requestor comment too.
        let is_requestors = has(Requestor) && !has(RequestorComment) && !origin.is_ours();
        Some(Self {
            types,
            tables,
            comments: if is_requestors {
                Vec::new()
            } else {
                own(Comment)
            },
            tenants,
            machine_ids: all(MachineId),
            computer_names: all(ComputerName),
            requestors: all(Requestor),
            origin,
            ids,
        })
    }

    /// Uses one column as the id, and no others.
    pub(super) fn only_id(at: usize) -> Self {
        Self {
            ids: vec![(at, 0)],
            ..Self::default()
        }
    }
}

/// Finds the columns that the user named; all have the same rank.
fn named<N: AsRef<str>>(names: &[N], wanted: &str) -> Vec<(usize, u8)> {
    let find = |matches: &dyn Fn(&str) -> bool| -> Vec<(usize, u8)> {
        let found = names
            .iter()
            .enumerate()
            .filter(|(_, name)| matches(name.as_ref()));
        found.map(|(at, _)| (at, 0)).collect()
    };
    let exact = find(&|name| name.trim() == wanted.trim());
    if exact.is_empty() {
        return find(&|name| is_same(name, wanted));
    }
    exact
}

fn is_same(name: &str, wanted: &str) -> bool {
    let wanted = folded(wanted);
    !wanted.is_empty() && folded(name) == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists the use of each name of a header, separated by bars.
    fn told(names: &str) -> String {
        let names: Vec<_> = names.split('|').collect();
        let Some(columns) = Columns::read(&names, None) else {
            return "no id".to_owned();
        };
        let of = |at: usize| {
            let lists = [
                ("type", &columns.types),
                ("table", &columns.tables),
                ("comment", &columns.comments),
                ("tenant", &columns.tenants),
                ("machine", &columns.machine_ids),
                ("name", &columns.computer_names),
                ("requestor", &columns.requestors),
            ];
            let id = columns.ids.iter().any(|(id, _)| *id == at).then_some("id");
            let other = lists.iter().find(|(_, list)| list.contains(&at));
            id.or(other.map(|(what, _)| *what)).unwrap_or("-")
        };
        (0..names.len()).map(of).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn names_are_known_in_every_spelling() {
        for (names, expected) in [
            ("id", "id"),
            (" Action ID |Action-Type", "id|type"),
            ("\u{FEFF}machineactionid", "id"),
            (
                "id_g|type_s|status_s|machineId_s|requestor_s|requestor_g",
                "id|type|-|machine|requestor|requestor",
            ),
            ("u_action_id|u_comment", "id|comment"),
            ("Actions[id]|Actions[type]", "id|type"),
            (
                "MicrosoftATP.MachineAction.ID|MicrosoftATP.MachineAction.Type",
                "id|type",
            ),
            (
                "id|MicrosoftATP.MachineAction.MachineID|MicrosoftATP.Machine.ID",
                "id|machine|machine",
            ),
            ("value.id|value.type|value.computerDnsName", "id|type|name"),
            (
                "@timestamp|agent.id|event.id|event.action|host.id|host.name|user.name",
                "-|-|id|type|machine|name|requestor",
            ),
            (
                "id|microsoft_defender_endpoint.machine_action.type|event.type|data_stream.type",
                "id|type|-|-",
            ),
            ("ActivityId|ActivityType|MachineId", "id|type|machine"),
            ("ActionId|ActionType|ActivityType", "id|type|-"),
            // Fields of other owners are ignored.
            ("id|File.Type|Alert.Comment|foo.type|status", "id|-|-|-|-"),
            // Log Analytics: `TenantId` is a workspace, and `Type` a table.
            (
                "TenantId|TimeGenerated [UTC]|id_g|type_s|Type",
                "-|-|id|type|table",
            ),
            ("tenantId|tenant|id|type", "tenant|tenant|id|type"),
            // Next to a requestor, the comment is theirs.
            ("id|comment", "id|comment"),
            ("ActionId|Comment|DecidedBy", "id|-|requestor"),
            ("id|Comment|Requestor", "id|-|requestor"),
            (
                "id|Comment|Requestor|RequestorComment",
                "id|comment|requestor|-",
            ),
            (
                "action_id|comment|outcome|reason|requestor",
                "id|comment|-|-|requestor",
            ),
        ] {
            assert_eq!(told(names), expected, "{names}");
        }
    }

    #[test]
    fn ids_of_other_things_are_never_taken() {
        for name in [
            "machineId",
            "Device ID",
            "Approval ID",
            "Investigation ID",
            "Machine.Id",
            "MicrosoftATP.Device.ID",
            "Investigation.Id",
            "headers.request-id",
            "correlation_id",
            "run_id",
            "sys_id",
            "_id",
            "ids",
            "id.",
            "_g",
            "",
        ] {
            assert_eq!(told(name), "no id", "{name}");
        }
    }

    #[test]
    fn a_named_column_overrides_all_names() {
        let ids =
            |names: &[&str], wanted| Columns::read(names, Some(wanted)).map(|found| found.ids);
        assert_eq!(
            ids(&["id", "Approval ID"], "approvalid"),
            Some(vec![(1, 0)])
        );
        assert_eq!(ids(&["id"], "y"), None);
        assert_eq!(ids(&["id"], ""), None);
        // An exact match excludes names that only match normalized.
        assert_eq!(ids(&["X", "x"], "x"), Some(vec![(1, 0)]));
    }

    #[test]
    fn an_unowned_id_is_more_specific_than_one_of_an_unknown_owner() {
        let ids = Columns::read(&["foo.id", "id", "foo.actionId"], None)
            .unwrap()
            .ids;
        let order: Vec<_> = ids.iter().map(|(at, _)| *at).collect();
        assert_eq!(order, [2, 1, 0]);
    }
}
