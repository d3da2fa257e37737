//! What must not be cancelled: named actions, and everything on named machines.

use std::collections::HashSet;

use super::action_id::ActionId;
use super::facts::Facts;

/// Actions and machines that somebody wants left alone. Compared whole and in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExclusionList {
    actions: HashSet<ActionId>,
    machine_ids: HashSet<String>,
    names: HashSet<String>,
}

impl ExclusionList {
    /// Adds one word of a list: a GUID is an action, 40 hexadecimal digits are a machine, anything else is its name.
    pub fn add(&mut self, word: &str) {
        let word = word.trim();
        if let Ok(id) = ActionId::parse(word) {
            self.actions.insert(id);
        } else if word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.machine_ids.insert(word.to_ascii_lowercase());
        } else if !word.is_empty() {
            self.names.insert(folded_name(word));
        }
    }

    /// Returns whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty() && self.machine_ids.is_empty() && self.names.is_empty()
    }

    /// Returns its words, from which [`ExclusionList::add`] makes the same list again.
    pub fn words(&self) -> Vec<String> {
        let actions = self.actions.iter().map(ActionId::to_string);
        let others = self.machine_ids.iter().chain(&self.names).cloned();
        let mut words: Vec<_> = actions.chain(others).collect();
        words.sort_unstable();
        words
    }

    /// Says why an action must be left alone. A machine that is not known may be a kept one, once `facts` are complete.
    pub fn keeps(&self, id: ActionId, facts: &Facts<'_>) -> Option<String> {
        if self.actions.contains(&id) {
            return Some("the exclusion list names this action".to_owned());
        }
        let machine_id = facts.machine_id.map(str::to_ascii_lowercase);
        if machine_id
            .as_ref()
            .is_some_and(|machine_id| self.machine_ids.contains(machine_id))
        {
            return Some("the exclusion list names its machine's id".to_owned());
        }
        let name = facts.computer_dns_name.map(folded_name);
        if let Some(name) = &name
            && self.names.contains(name)
        {
            return Some(format!("the exclusion list names its machine {name}"));
        }
        let may_be_kept = (!self.machine_ids.is_empty() && machine_id.is_none())
            || (!self.names.is_empty() && name.is_none());
        (facts.are_complete && may_be_kept)
            .then(|| "its machine is not known, and the exclusion list names machines".to_owned())
    }
}

/// Returns a DNS name as it is compared: lower case, without the root's dot.
fn folded_name(name: &str) -> String {
    name.trim().trim_end_matches('.').to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
    const MACHINE: &str = "0123456789ABCDEF0123456789abcdef01234567";

    fn list(words: &[&str]) -> ExclusionList {
        let mut list = ExclusionList::default();
        for word in words {
            list.add(word);
        }
        list
    }

    fn on<'a>(machine_id: Option<&'a str>, name: Option<&'a str>) -> Facts<'a> {
        Facts {
            machine_id,
            computer_dns_name: name,
            are_complete: true,
            ..Facts::default()
        }
    }

    #[test]
    fn actions_machines_and_names_are_compared_whole_in_any_case() {
        let id = ActionId::parse(ONE).unwrap();
        let other = ActionId::parse("00000000-0000-4000-8000-000000000001").unwrap();
        let by_id = list(&[&ONE.to_uppercase()]);
        assert!(by_id.keeps(id, &on(None, None)).is_some());
        assert_eq!(by_id.keeps(other, &on(None, None)), None);
        let by_machine = list(&[MACHINE]);
        let lower = MACHINE.to_lowercase();
        assert!(by_machine.keeps(other, &on(Some(&lower), None)).is_some());
        let by_name = list(&["DC-01.corp.example."]);
        let named = |name| by_name.keeps(other, &on(Some(&lower), Some(name)));
        assert!(named("dc-01.CORP.example").is_some());
        assert_eq!(named("xdc-01.corp.example"), None);
        assert_eq!(named("dc-01"), None);
    }

    #[test]
    fn a_list_is_made_again_of_its_words() {
        let list_of_all = list(&[ONE, MACHINE, "DC-01.corp.example."]);
        let words = list_of_all.words();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        assert_eq!(list(&words), list_of_all);
    }

    #[test]
    fn a_machine_that_is_not_known_is_kept_once_nothing_more_will_be_known() {
        let id = ActionId::parse(ONE).unwrap();
        let by_name = list(&["dc-01"]);
        assert!(by_name.keeps(id, &on(Some(MACHINE), None)).is_some());
        let not_read_yet = Facts {
            are_complete: false,
            ..on(None, None)
        };
        assert_eq!(by_name.keeps(id, &not_read_yet), None);
        assert!(list(&[" "]).is_empty());
    }
}
