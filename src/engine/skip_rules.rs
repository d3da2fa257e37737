//! Why a row isn't sent: exclusions, the selection, and protected types.
//!
//! Exclusions come first: nobody acts on an excluded machine, so they apply whatever the action's state, and whether
//! the record or the input names the machine. Everything else follows the record; the input decides only if no record
//! is read. The planner checks the input, the core checks the record.

use crate::model::{
    ActionFacts, ActionId, ActionType, EXCLUDED_BY, ExclusionList, MachineAction, RowContext,
    Selection, shortened,
};

const UNKNOWN_TYPE: &str =
    "type unknown, so it may be protected (--allow-protected unknown cancels it)";

/// Follows the list's name in the reason of an excluded row whose machine has been released since.
pub const RELEASED_SINCE: &str = ", released since";

/// Whether records are read before anything is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precheck {
    /// Records are read, and decide what is sent.
    ReadFirst,
    /// Records aren't read. The input decides, and rows without a type are sent.
    #[default]
    Skip,
}

/// Which actions a run may touch.
#[derive(Clone, Debug, Default)]
pub struct SkipRules {
    /// Protected types to cancel anyway; `Unknown` covers every unknown type.
    pub allow_protected: Vec<ActionType>,
    pub selection: Selection,
    pub exclude: ExclusionList,
    pub precheck: Precheck,
}

impl SkipRules {
    /// Returns why the input alone rules a row out. If its record is read later, only exclusions count here.
    pub fn reject_input(&self, id: ActionId, context: &RowContext) -> Option<String> {
        let facts = ActionFacts::of_input(context);
        let excluded = self.excluded(id, &facts);
        if excluded.is_some() || self.precheck == Precheck::ReadFirst {
            return excluded;
        }
        self.machine_unknown(&facts)
            .or_else(|| Some(self.selection.mismatch(&facts)?.to_string()))
            // Rows without a type are sent: that is what skipping the precheck means.
            .or_else(|| self.protected(Some(facts.action_type?)))
    }

    /// Returns why an action must not be touched, whatever its state.
    pub fn reject(&self, context: &RowContext, record: &MachineAction) -> Option<String> {
        let (told, input) = (
            ActionFacts::of_record(record),
            ActionFacts::of_input(context),
        );
        self.excluded(record.id, &told)
            .or_else(|| self.excluded(record.id, &input))
            .or_else(|| self.machine_unknown(&told.or(&input)))
            .or_else(|| Some(self.selection.mismatch(&told)?.to_string()))
    }

    /// Returns why an open action that passes [`SkipRules::reject`] must not be cancelled.
    pub fn reject_open(&self, record: &MachineAction) -> Option<String> {
        let told = ActionFacts::of_record(record);
        self.protected(told.action_type)
            .or_else(|| Some(self.selection.status_mismatch(&told)?.to_string()))
    }

    /// Returns why an action should not have been cancelled, when its record is read only after the cancel. Fields that
    /// the record lacks prove nothing.
    pub fn regret(&self, context: &RowContext, record: &MachineAction) -> Option<String> {
        let (told, input) = (
            ActionFacts::of_record(record),
            ActionFacts::of_input(context),
        );
        let action_type = told.action_type?;
        let protected = || {
            self.protected(Some(action_type))?;
            let shown = shortened(action_type.as_str());
            Some(format!("type protected: {shown}"))
        };
        self.excluded(record.id, &told)
            .or_else(|| Some(self.selection.mismatch(&told.or(&input))?.to_string()))
            .or_else(protected)
    }

    fn excluded(&self, id: ActionId, facts: &ActionFacts<'_>) -> Option<String> {
        let what = self.exclude.excludes(id, facts)?;
        Some(format!("{EXCLUDED_BY}{}: {what}", self.exclude.label()))
    }

    fn machine_unknown(&self, facts: &ActionFacts<'_>) -> Option<String> {
        self.exclude.needs_machine(facts).then(|| {
            let list = self.exclude.label();
            format!("machine unknown, so it may be excluded by {list}")
        })
    }

    pub(super) fn protected(&self, action_type: Option<&ActionType>) -> Option<String> {
        let allows = |wanted: &ActionType| self.allow_protected.contains(wanted);
        match action_type {
            Some(known) if known.is_protected() && !allows(known) => Some(format!(
                "protected type (--allow-protected {known} cancels it)"
            )),
            Some(known) if known.is_known() => None,
            _ if allows(&ActionType::Unknown) => None,
            None | Some(ActionType::Unknown) => Some(UNKNOWN_TYPE.to_owned()),
            Some(other) => Some(format!("{UNKNOWN_TYPE}: {}", shortened(other.as_str()))),
        }
    }
}

pub(super) fn is_unknown_type(reason: &str) -> bool {
    reason.starts_with(UNKNOWN_TYPE)
}

pub fn is_excluded(reason: &str) -> bool {
    reason.starts_with(EXCLUDED_BY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ActionStatus;

    fn id() -> ActionId {
        ActionId::parse("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2").unwrap()
    }

    fn of_type(word: &str) -> RowContext {
        RowContext {
            action_type: Some(ActionType::parse(word)),
            ..RowContext::default()
        }
    }

    fn record(word: Option<&str>) -> MachineAction {
        MachineAction {
            action_type: word.map(ActionType::parse),
            ..MachineAction::bare(id())
        }
    }

    fn rules(precheck: Precheck) -> SkipRules {
        SkipRules {
            precheck,
            ..SkipRules::default()
        }
    }

    #[test]
    fn no_word_of_the_input_settles_a_row_whose_record_is_read() {
        let mut rules = rules(Precheck::ReadFirst);
        rules.selection = Selection {
            types: vec![ActionType::Isolate],
            requestors: vec!["11111111-2222-3333-4444-555555555555".to_owned()],
            ..Selection::default()
        };
        let context = RowContext {
            requestor: Some("soc-tools".to_owned()),
            ..of_type("IsolateResponze")
        };
        assert_eq!(rules.reject_input(id(), &context), None);
        assert!(!rules.may_skip_precheck(&context));
        let mut record = record(Some("Isolate"));
        record.requestor = Some("11111111-2222-3333-4444-555555555555".to_owned());
        assert_eq!(rules.reject(&context, &record), None);
        assert_eq!(rules.reject_open(&record), None);
        record.requestor = None;
        assert_eq!(
            rules.reject(&context, &record).as_deref(),
            Some("requestor not selected: not given")
        );
        rules.precheck = Precheck::Skip;
        assert_eq!(
            rules.reject_input(id(), &context).as_deref(),
            Some("type not selected: IsolateResponze")
        );
    }

    #[test]
    fn a_type_that_is_missing_or_unknown_is_protected_unless_unknown_is_allowed() {
        let mut rules = rules(Precheck::ReadFirst);
        let words = [None, Some("Unknown"), Some("Uniso1ate"), Some("Isolate ?")];
        for word in words {
            let reason = rules.reject_open(&record(word)).unwrap();
            assert!(is_unknown_type(&reason), "{reason}");
        }
        assert_eq!(rules.reject_open(&record(Some("RequestSample"))), None);
        // The input's type doesn't replace the record's missing one.
        assert!(rules.reject_open(&record(None)).is_some());
        rules.allow_protected = vec![ActionType::Unknown];
        for word in words {
            assert_eq!(rules.reject_open(&record(word)), None);
        }
        assert!(rules.reject_open(&record(Some("Unisolate"))).is_some());
        rules.allow_protected = vec![ActionType::Unisolate];
        assert_eq!(rules.reject_open(&record(Some("Unisolate"))), None);
        assert!(rules.reject_open(&record(None)).is_some());
    }

    #[test]
    fn without_prechecks_a_row_without_a_type_is_sent_and_one_of_an_unknown_type_is_not() {
        let rules = rules(Precheck::Skip);
        assert_eq!(rules.reject_input(id(), &RowContext::default()), None);
        assert!(rules.reject_input(id(), &of_type("Uniso1ate")).is_some());
        assert!(rules.reject_input(id(), &of_type("Unknown")).is_some());
        assert!(rules.reject_input(id(), &of_type("Unisolate")).is_some());
        assert_eq!(rules.reject_input(id(), &of_type("Isolate")), None);
    }

    #[test]
    fn an_excluded_machine_is_left_alone_whoever_names_it_and_whatever_the_state() {
        let mut rules = rules(Precheck::ReadFirst);
        rules.exclude.add("dc-01");
        let mut record = record(Some("Isolate"));
        record.status = Some(ActionStatus::Succeeded);
        record.computer_dns_name = Some("dc-01.contoso.com".to_owned());
        let context = RowContext::default();
        assert_eq!(
            rules.reject(&context, &record).as_deref(),
            Some("excluded by the exclusion files: dc-01.contoso.com")
        );
        record.computer_dns_name = Some("ws-1.contoso.com".to_owned());
        assert_eq!(rules.reject(&context, &record), None);
        let context = RowContext {
            computer_dns_name: Some("DC-01".to_owned()),
            ..RowContext::default()
        };
        assert!(rules.reject(&context, &record).is_some());
        assert!(rules.reject_input(id(), &context).is_some());
        record.computer_dns_name = None;
        let reason = rules.reject(&RowContext::default(), &record).unwrap();
        assert!(reason.starts_with("machine unknown"), "{reason}");
    }

    #[test]
    fn only_rows_that_need_no_record_are_sent_before_theirs_is_read() {
        let mut rules = rules(Precheck::ReadFirst);
        assert!(rules.may_skip_precheck(&of_type("Isolate")));
        assert!(!rules.may_skip_precheck(&of_type("Unisolate")));
        assert!(!rules.may_skip_precheck(&of_type("Unknown")));
        assert!(!rules.may_skip_precheck(&RowContext::default()));
        rules.selection.types = vec![ActionType::Isolate];
        assert!(rules.may_skip_precheck(&of_type("Isolate")));
        assert!(!rules.may_skip_precheck(&of_type("LiveResponse")));
        rules.selection.requestors = vec!["a".to_owned()];
        assert!(!rules.may_skip_precheck(&of_type("Isolate")));
        rules.selection = Selection::default();
        rules.exclude.add("dc-01");
        assert!(!rules.may_skip_precheck(&of_type("Isolate")));
    }
}
