//! What must not be sent whatever its state: guarded types, kept machines, and what was not selected.
//!
//! The planner asks with what the input tells; the core asks again with what the service's record tells. A rule that
//! lacks a fact lets the row pass only while that fact may still be read.

use crate::model::{ActionId, ActionType, ExclusionList, Facts, RowContext, Selection};

/// How many characters of a type we do not know a reason shows.
const SHOWN: usize = 40;

/// Whether the service's records are read before anything is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precheck {
    /// They are: what the input tells is judged once more with what the record tells.
    ReadFirst,
    /// They are not: the input's word is the last one, and rows without a type go out blind.
    #[default]
    Skip,
}

/// The guards of one run.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Guarded types that are cancelled all the same.
    pub include_types: Vec<ActionType>,
    /// What is meant.
    pub selection: Selection,
    /// What must be left alone.
    pub keep: ExclusionList,
    /// Whether a record follows the input's word.
    pub triage: Precheck,
}

impl Rules {
    /// Says why a row must not be sent as far as the input tells.
    pub fn hold_unread(&self, id: ActionId, context: &RowContext) -> Option<String> {
        let facts = match self.triage {
            Precheck::ReadFirst => Facts::of_input(context),
            Precheck::Skip => Facts::of_input_alone(context),
        };
        self.hold(id, &facts)
    }

    /// Says why an action must not be sent.
    pub fn hold(&self, id: ActionId, facts: &Facts<'_>) -> Option<String> {
        self.guard(facts)
            .or_else(|| self.keep.keeps(id, facts))
            .or_else(|| self.selection.missed_by(facts))
    }

    /// Returns whether a row may leave although its record could not be read in time: the input gives its type, the type
    /// is not guarded, and no other rule needs the record.
    pub fn let_go_unread(&self, id: ActionId, context: &RowContext) -> bool {
        let facts = Facts::of_input_alone(context);
        context.action_type.is_some()
            && self.keep.is_empty()
            && !self.selection.needs_record()
            && self.hold(id, &facts).is_none()
    }

    fn guard(&self, facts: &Facts<'_>) -> Option<String> {
        match facts.action_type? {
            // A record brings the type's true name, and an input may be mistaken.
            ActionType::Other(_) if !facts.are_complete => None,
            ActionType::Other(text) => Some(format!(
                "its type `{}` is not a type we know, and so may be a guarded one; correct the cell, or empty it if the \
                 row is to be sent whatever its type",
                shown(text)
            )),
            guarded if guarded.is_guarded() && !self.include_types.contains(guarded) => {
                Some(format!(
                    "guarded type: cancelling {guarded} leaves a device cut off; --allow-protected {guarded} sends it"
                ))
            }
            _ => None,
        }
    }
}

/// Returns the beginning of a text with everything visible in it that nobody sees.
fn shown(text: &str) -> String {
    let mut letters = text.chars();
    let beginning: String = letters.by_ref().take(SHOWN).collect();
    let dots = if letters.next().is_some() { "…" } else { "" };
    format!("{}{dots}", beginning.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MachineAction;

    fn id() -> ActionId {
        ActionId::parse("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2").unwrap()
    }

    fn of_type(word: &str) -> RowContext {
        RowContext {
            action_type: Some(ActionType::parse(word)),
            ..RowContext::default()
        }
    }

    #[test]
    fn a_type_that_is_not_known_waits_for_the_record_and_is_held_back_without_one() {
        let rules = Rules {
            triage: Precheck::ReadFirst,
            ..Rules::default()
        };
        let context = of_type("Uniso1ate");
        assert_eq!(rules.hold_unread(id(), &context), None);
        assert!(!rules.let_go_unread(id(), &context));
        let mut record = MachineAction::bare(id());
        assert!(
            rules
                .hold(id(), &Facts::of_record(&context, &record))
                .is_some()
        );
        record.action_type = Some(ActionType::Isolate);
        assert_eq!(rules.hold(id(), &Facts::of_record(&context, &record)), None);
        assert!(Rules::default().hold_unread(id(), &context).is_some());
        assert_eq!(
            shown(&"ä\u{200b}".repeat(30)),
            format!("{}…", "ä\\u{200b}".repeat(20))
        );
    }

    #[test]
    fn the_record_tells_a_guarded_type_that_the_input_hid() {
        let rules = Rules::default();
        let mut record = MachineAction::bare(id());
        record.action_type = Some(ActionType::Unisolate);
        let context = of_type("Isolate");
        assert_eq!(rules.hold_unread(id(), &context), None);
        assert!(
            rules
                .hold(id(), &Facts::of_record(&context, &record))
                .is_some()
        );
        let named = Rules {
            include_types: vec![ActionType::Unisolate],
            ..Rules::default()
        };
        assert_eq!(named.hold(id(), &Facts::of_record(&context, &record)), None);
    }

    #[test]
    fn only_rows_that_need_no_record_leave_before_theirs_is_read() {
        let mut rules = Rules::default();
        assert!(rules.let_go_unread(id(), &of_type("Isolate")));
        assert!(!rules.let_go_unread(id(), &of_type("Unisolate")));
        assert!(!rules.let_go_unread(id(), &RowContext::default()));
        rules.keep.add("dc-01");
        assert!(!rules.let_go_unread(id(), &of_type("Isolate")));
    }
}
