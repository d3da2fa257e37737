//! What the name of one column, or one JSON key, may stand for.
//!
//! A machine's id, an approval's or an investigation's is never taken for an action's, also where it is a GUID.

use crate::model::{ActionId, InvalidActionId, folded};

/// Names of an action id, the most specific first; those that share a number are equally specific.
const ID_NAMES: &[(&str, u8)] = &[
    ("machineactionid", 4),
    ("actionid", 3),
    ("requestguid", 2),
    ("requestid", 2),
    ("id", 1),
];

/// What may stand before the dot of `….id` or `….type` and still mean the action.
const ACTION_OWNERS: &[(&str, u8)] = &[("machineaction", 4), ("machineactions", 4), ("action", 3)];

/// Owners whose `id` is theirs and no action's.
const OTHER_OWNERS: &[&str] = &[
    "alert",
    "approval",
    "device",
    "incident",
    "investigation",
    "machine",
    "tenant",
    "user",
];

/// A header name: its last part, and the part before the dot.
pub(super) struct ColumnName {
    last: String,
    owner: Option<String>,
}

impl ColumnName {
    /// Folds a name and takes it apart at its dots.
    pub(super) fn read(text: &str) -> Self {
        let mut parts = text.rsplit('.').map(folded);
        Self {
            last: parts.next().unwrap_or_default(),
            owner: parts.next(),
        }
    }

    /// Returns how specific a name of an action id this is.
    pub(super) fn id_rank(&self) -> Option<u8> {
        let (_, plain) = ID_NAMES.iter().find(|(name, _)| *name == self.last)?;
        match &self.owner {
            Some(owner) if self.last == "id" => {
                if OTHER_OWNERS.contains(&owner.as_str()) {
                    return None;
                }
                let by_owner = ACTION_OWNERS.iter().find(|(name, _)| name == owner);
                Some(by_owner.map_or(*plain, |(_, rank)| *rank))
            }
            _ => Some(*plain),
        }
    }

    /// Returns the place of this name in a list, where its owner does not make it something else's.
    pub(super) fn place_in(&self, names: &[&str]) -> Option<usize> {
        let owned_by_action = self.owner.as_ref().is_none_or(|owner| {
            ACTION_OWNERS
                .iter()
                .any(|(action, _)| *action == owner.as_str())
        });
        owned_by_action
            .then(|| names.iter().position(|name| *name == self.last))
            .flatten()
    }

    /// Returns whether the name is one of a list, whatever it belongs to: for names that mean one thing only.
    pub(super) fn is_any_owners(&self, names: &[&str]) -> bool {
        names.contains(&self.last.as_str())
    }

    /// Returns whether both stand under the same name before their dots, or under none.
    pub(super) fn has_owner_of(&self, other: &Self) -> bool {
        self.owner == other.owner
    }

    /// Returns whether this is the `id` of a machine.
    pub(super) fn is_a_machines_id(&self) -> bool {
        self.last == "id" && matches!(self.owner.as_deref(), Some("machine" | "device"))
    }
}

/// Returns whether a header name stands for an action id.
pub(super) fn names_an_id(text: &str) -> bool {
    ColumnName::read(text).id_rank().is_some()
}

/// Returns whether a cell of a first line holds a GUID, so that the line is no header.
pub(super) fn holds_a_guid(text: &str) -> bool {
    matches!(ActionId::parse(text), Ok(_) | Err(InvalidActionId::Nil))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_id_column_is_known_and_ranked() {
        for (name, rank) in [
            ("id", 1),
            (" ID ", 1),
            ("value.id", 1),
            ("RequestGuid", 2),
            ("request_id", 2),
            ("ActionId", 3),
            ("Action ID", 3),
            ("action.id", 3),
            ("Machine Action-Id", 4),
            ("\u{FEFF}machineactionid", 4),
            ("MicrosoftATP.MachineAction.ID", 4),
        ] {
            assert_eq!(ColumnName::read(name).id_rank(), Some(rank), "{name}");
        }
    }

    #[test]
    fn ids_of_other_things_are_never_taken() {
        for name in [
            "machineId",
            "Device ID",
            "DeviceID",
            "Approval ID",
            "Investigation ID",
            "Machine.Id",
            "MicrosoftATP.Device.ID",
            "Investigation.Id",
            "correlation_id",
            "run_id",
            "ids",
            "id.",
            "",
        ] {
            assert!(!names_an_id(name), "{name}");
        }
    }
}
