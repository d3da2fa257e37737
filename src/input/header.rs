//! What the names of a header, or the keys of a JSON object, mean. CSV and JSON read them by this one table.
//!
//! Names are compared folded: any case, without blanks, `_` and `-`, without the type that Log Analytics appends (`_g`,
//! `_s` ...), the `u_` that ServiceNow puts in front, and a time zone in brackets. Of a dotted name the last part counts,
//! unless the part before it names something else: a machine's id, an alert's or a user's is never an action's.

use crate::model::folded;

use super::row::FileOrigin;
use HeaderField::{
    Comment, ComputerName, Id, MachineId, Requestor, RequestorComment, Tenant, Type, Workspace,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderField {
    /// An action's id; a higher rank is more specific.
    Id(u8),
    Type,
    /// What is sent with the cancel.
    Comment,
    Tenant,
    MachineId,
    ComputerName,
    Requestor,
    /// Not used, but what stands beside it may be.
    RequestorComment,
    /// Marks a row of Log Analytics, whose tenant is a workspace and whose type is a table.
    Workspace,
}

type Names = &'static [(&'static str, HeaderField)];

/// The rank of names that are also used for a single HTTP request.
const REQUEST: u8 = 2;

/// Of several columns of one field, the first of this list that is not blank in a row counts.
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

/// Names that say nothing without the part before the dot, where that is a known one.
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

/// What owned names mean, by the part before the dot. All others that are listed here mean nothing for us.
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

/// A name taken apart.
struct HeaderName {
    last: String,
    owner: Option<String>,
    field: Option<HeaderField>,
    /// Whether the field may be another thing's: its owner is not a known one.
    is_foreign: bool,
}

impl HeaderName {
    fn read(text: &str) -> Self {
        let text = text.trim();
        let (owner, last) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            // `TimeGenerated [UTC]`
            Some((name, _)) if name.ends_with(' ') => split_owner(name),
            // `Actions[id]`, a table and its column
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

    /// Returns how specific an id's name is; `None` for what is no id.
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
    // `_id`, `_time` and their like are a database's own.
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

/// Returns what owned names mean for a known owner, in the singular or plural.
fn owned(owner: &str) -> Option<Names> {
    let singular = owner.strip_suffix('s').unwrap_or(owner);
    let found = OWNERS
        .iter()
        .find(|(owners, _)| owners.contains(&owner) || owners.contains(&singular));
    found.map(|(_, names)| *names)
}

/// Returns whether the objects in a list under this key are such that their `id` is known to be an action's, or not.
pub(super) fn is_owner(key: &str) -> bool {
    owned(&folded(key)).is_some()
}

/// How much a JSON member matters to the object that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    Nothing,
    Context,
    /// An id, if no list of the object holds rows: it may be that of an HTTP request.
    RequestId,
    Id,
}

/// Says what a single name is used for, before the others are known.
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

/// Returns whether a list under this key holds ids: `value`, `rows`, `ids`, `actionIds`.
pub(super) fn names_ids(key: &str) -> bool {
    let key = folded(key);
    let singular = key.strip_suffix('s').unwrap_or(&key);
    matches!(key.as_str(), "value" | "rows") || matches!(find_field(None, singular).0, Some(Id(_)))
}

/// Returns whether one of the names is in the table.
pub(super) fn knows_any<N: AsRef<str>>(names: &[N]) -> bool {
    let mut fields = names
        .iter()
        .map(|name| HeaderName::read(name.as_ref()).field);
    fields.any(|field| field.is_some())
}

/// Returns whether one of the names is a machine's id.
pub(super) fn names_machines<N: AsRef<str>>(names: &[N]) -> bool {
    let mut fields = names
        .iter()
        .map(|name| HeaderName::read(name.as_ref()).field);
    fields.any(|field| field == Some(MachineId))
}

/// Which columns mean what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// Position and rank, the most specific first.
    pub(super) ids: Vec<(usize, u8)>,
    /// All that may name a type: a guard looks at each.
    pub(super) types: Vec<usize>,
    /// Where a type counts only if it is a known one: other words name a table.
    pub(super) tables: Vec<usize>,
    pub(super) comments: Vec<usize>,
    pub(super) tenants: Vec<usize>,
    pub(super) machine_ids: Vec<usize>,
    pub(super) computer_names: Vec<usize>,
    pub(super) requestors: Vec<usize>,
    pub(super) origin: FileOrigin,
}

impl Columns {
    /// Reads the names of a header; `None` where no column may hold the action id.
    ///
    /// `id_column` is the one the user named, compared first as it stands and then folded.
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
        // What stands beside the id under one owner (`value.id`, `value.type`) speaks of the same thing.
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
        // In other logs it is the kind of an event.
        types.retain(|at| read[*at].last != "activitytype" || has_named("activityid"));
        let is_reserved = |at: &usize| {
            has(Workspace) && matches!(names[*at].as_ref().trim(), "Type" | "TenantId")
        };
        let tables = types.iter().copied().filter(is_reserved).collect();
        types.retain(|at| !is_reserved(at));
        let mut tenants = own(Tenant);
        tenants.retain(|at| !is_reserved(at));
        // Beside whoever asked for the action it is why they did; a file of ours, or one with both, has ours.
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

    /// Takes one column for the id, and knows nothing about the others.
    pub(super) fn only_id(at: usize) -> Self {
        Self {
            ids: vec![(at, 0)],
            ..Self::default()
        }
    }
}

/// Finds the columns that bear the name the user gave; all are equally specific.
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

    /// Writes what each name of a header is used for; a bar parts them.
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
            // What belongs to something else is no context.
            ("id|File.Type|Alert.Comment|foo.type|status", "id|-|-|-|-"),
            // A row of Log Analytics has a workspace and a table.
            (
                "TenantId|TimeGenerated [UTC]|id_g|type_s|Type",
                "-|-|id|type|table",
            ),
            ("tenantId|tenant|id|type", "tenant|tenant|id|type"),
            // A comment beside whoever asked is theirs.
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
        // A name that stands there as it was typed is not mixed with others that read the same.
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
