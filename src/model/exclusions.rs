//! Actions and machines that a run must not touch.
//!
//! An [`ExclusionList`] comes from the lines of exclusion files. [`ExclusionMatches`] records which of its lines
//! matched a row, so that a plan can warn about the others.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use super::action::ActionFacts;
use super::action_id::ActionId;
use super::clean_text::is_hidden;

/// Starts the reason of a row that is skipped because of an exclusion. The journal is searched for it.
pub const EXCLUDED_BY: &str = "excluded by ";

/// The lines of the exclusion files, in their order.
///
/// A short name also matches every full name with that first label, and a full name also matches a machine known only
/// by its first label: a hand-written list must not fail because of a domain. Two full names match only as a whole.
/// Case is ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExclusionList {
    file: Option<String>,
    lines: Vec<String>,
    actions: HashMap<ActionId, usize>,
    machine_ids: HashMap<String, usize>,
    names: HashMap<String, usize>,
    /// Full names by their first label.
    by_first_part: HashMap<String, Vec<usize>>,
}

/// A line that matches an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hit {
    line: usize,
    /// Whether only the first label of the name matched.
    is_by_first_part: bool,
}

impl ExclusionList {
    /// Sets the file name, if the list comes from a single file.
    #[must_use]
    pub fn named(self, file: Option<String>) -> Self {
        Self { file, ..self }
    }

    /// Adds a line: a GUID is an action, 40 hexadecimal digits are a machine id, anything else is a machine name.
    pub fn add(&mut self, line: &str) {
        let (line, next) = (&*seen(line), self.lines.len());
        let is_new = if line.is_empty() {
            false
        } else if let Ok(id) = ActionId::parse(line) {
            *self.actions.entry(id).or_insert(next) == next
        } else if line.len() == 40 && line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let id = line.to_ascii_lowercase();
            *self.machine_ids.entry(id).or_insert(next) == next
        } else {
            let name = normalized_name(line);
            let is_new = *self.names.entry(name.clone()).or_insert(next) == next;
            if let (true, Some((first, _))) = (is_new, name.split_once('.')) {
                let same_first = self.by_first_part.entry(first.to_owned()).or_default();
                same_first.push(next);
            }
            is_new
        };
        if is_new {
            self.lines.push(line.to_owned());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the distinct lines as written; [`ExclusionList::add`] rebuilds the list from them.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Returns the file name, if the list comes from a single file.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Returns how messages name the list.
    pub fn label(&self) -> &str {
        self.file.as_deref().unwrap_or("the exclusion files")
    }

    /// Returns what excludes an action: its machine's name or id if known, else the matching line.
    pub fn excludes(&self, id: ActionId, facts: &ActionFacts<'_>) -> Option<String> {
        let hits = self.hits(Some(id), facts.machine_id, facts.computer_dns_name);
        let line = hits.first()?.line;
        let name = facts.computer_dns_name.or(facts.machine_id);
        Some(match (name, self.lines.get(line)) {
            (Some(name), _) => name.trim().to_owned(),
            (None, Some(line)) => line.clone(),
            (None, None) => id.to_string(),
        })
    }

    /// Returns whether an action could run on an excluded machine because its machine's name or id is unknown.
    pub fn needs_machine(&self, facts: &ActionFacts<'_>) -> bool {
        (!self.machine_ids.is_empty() && facts.machine_id.is_none())
            || (!self.names.is_empty() && facts.computer_dns_name.is_none())
    }

    fn hits(&self, id: Option<ActionId>, machine_id: Option<&str>, name: Option<&str>) -> Vec<Hit> {
        let exact = |&line: &usize| Hit {
            line,
            is_by_first_part: false,
        };
        let mut hits = Vec::new();
        hits.extend(id.and_then(|id| self.actions.get(&id)).map(exact));
        if let (Some(id), false) = (machine_id, self.machine_ids.is_empty()) {
            let id = seen(id).to_ascii_lowercase();
            hits.extend(self.machine_ids.get(&id).map(exact));
        }
        if let (Some(name), false) = (name, self.names.is_empty()) {
            let name = normalized_name(name);
            hits.extend(self.names.get(&name).map(exact));
            let by_first_part = match name.split_once('.') {
                Some((first, _)) => self.names.get(first).map(std::slice::from_ref),
                None => self.by_first_part.get(&name).map(Vec::as_slice),
            };
            hits.extend(by_first_part.unwrap_or_default().iter().map(|&line| Hit {
                line,
                is_by_first_part: true,
            }));
        }
        hits
    }
}

/// The lines of a list that matched a row of a plan or run.
#[derive(Clone, Debug, Default)]
pub struct ExclusionMatches {
    list: ExclusionList,
    matched: BTreeSet<usize>,
    /// Lines that matched only by first label, with the matching name.
    by_first_part: BTreeSet<(usize, String)>,
}

impl ExclusionMatches {
    pub fn of(list: ExclusionList) -> Self {
        Self {
            list,
            ..Self::default()
        }
    }

    pub fn add(&mut self, id: Option<ActionId>, machine_id: Option<&str>, name: Option<&str>) {
        if self.list.is_empty() {
            return;
        }
        for hit in self.list.hits(id, machine_id, name) {
            self.matched.insert(hit.line);
            if let (true, Some(name)) = (hit.is_by_first_part, name) {
                self.by_first_part.insert((hit.line, name.to_owned()));
            }
        }
    }

    pub fn list(&self) -> &ExclusionList {
        &self.list
    }

    /// Returns the lines that matched no row, in order.
    pub fn unmatched(&self) -> Vec<&str> {
        let lines = self.list.lines.iter().enumerate();
        let unmatched = lines.filter(|(line, _)| !self.matched.contains(line));
        unmatched.map(|(_, line)| line.as_str()).collect()
    }

    /// Returns the lines that matched a name only by its first label, with that name.
    pub fn by_first_part(&self) -> impl Iterator<Item = (&str, &str)> {
        let hits = self.by_first_part.iter();
        hits.filter_map(|(line, name)| Some((self.list.lines.get(*line)?.as_str(), name.as_str())))
    }
}

/// Lower-cases a DNS name and drops the trailing dot.
fn normalized_name(name: &str) -> String {
    seen(name).trim_end_matches('.').to_lowercase()
}

/// Drops hidden characters, which a name copied from a web page may contain.
fn seen(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let seen: String = text.chars().filter(|letter| !is_hidden(*letter)).collect();
    Cow::Owned(seen.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
    const MACHINE: &str = "0123456789ABCDEF0123456789abcdef01234567";

    fn list(lines: &[&str]) -> ExclusionList {
        let mut list = ExclusionList::default();
        for line in lines {
            list.add(line);
        }
        list
    }

    fn on<'a>(machine_id: Option<&'a str>, name: Option<&'a str>) -> ActionFacts<'a> {
        ActionFacts {
            machine_id,
            computer_dns_name: name,
            ..ActionFacts::default()
        }
    }

    fn excludes(line: &str, name: &str) -> bool {
        let id = ActionId::from_bytes([1; 16]).unwrap();
        list(&[line]).excludes(id, &on(None, Some(name))).is_some()
    }

    #[test]
    fn an_action_and_a_machine_are_excluded_by_their_ids_in_any_case() {
        let id = ActionId::parse(ONE).unwrap();
        let other = ActionId::from_bytes([1; 16]).unwrap();
        let by_action = list(&[&ONE.to_uppercase()]);
        assert_eq!(
            by_action.excludes(id, &on(None, Some("ws-1"))).unwrap(),
            "ws-1"
        );
        assert_eq!(by_action.excludes(other, &on(None, None)), None);
        let by_machine = list(&[MACHINE]);
        let lower = MACHINE.to_lowercase();
        assert_eq!(
            by_machine.excludes(other, &on(Some(&lower), None)).unwrap(),
            lower
        );
        assert!(by_machine.needs_machine(&on(None, Some("ws-1"))));
        assert!(!by_machine.needs_machine(&on(Some(&lower), None)));
    }

    #[test]
    fn a_short_name_means_every_full_name_that_begins_with_it_and_the_reverse() {
        for (line, name, expected) in [
            ("DC-01.contoso.com.", "dc-01.CONTOSO.com", true),
            ("dc-01", "dc-01.contoso.com", true),
            ("dc-01.contoso.com", "DC-01", true),
            ("dc-01.contoso.com", "dc-01.fabrikam.com", false),
            ("dc-01", "dc-011.contoso.com", false),
            ("dc-01", "xdc-01", false),
            ("dc-01.contoso", "dc-01.contoso.com", false),
            ("srv-0O3", "srv-003", false),
            ("srv-003", "srv-\u{43e}03", false),
        ] {
            assert_eq!(excludes(line, name), expected, "{line} and {name}");
        }
    }

    #[test]
    fn characters_that_nobody_sees_change_no_name_and_no_id() {
        for (line, name) in [
            ("dc-01\u{200b}", "dc-01.contoso.com"),
            ("\u{feff}dc-01", "DC-01"),
            ("dc-01.contoso.com", "dc-01\u{ad}.contoso.com\0"),
            ("dc\u{2060}-01.contoso.com\u{a0}", "dc-01"),
        ] {
            assert!(excludes(line, name), "{line:?} and {name:?}");
        }
        let id = ActionId::parse(ONE).unwrap();
        let lines = list(&[&format!("\u{200e}{MACHINE}"), &format!("{ONE}\u{200b}")]);
        let machine = format!("{}\u{200b}", MACHINE.to_lowercase());
        let other = ActionId::from_bytes([1; 16]).unwrap();
        assert!(lines.excludes(other, &on(Some(&machine), None)).is_some());
        assert!(lines.excludes(id, &on(None, None)).is_some());
    }

    #[test]
    fn lines_that_match_nothing_keep_their_order_and_spelling() {
        let list_of_all = list(&["SRV-0O3", "dc-01", "Laptop-Anna", "srv-0o3", MACHINE, ONE]);
        let mut matches = ExclusionMatches::of(list_of_all);
        matches.add(None, None, Some("dc-01.contoso.com"));
        matches.add(ActionId::parse(ONE).ok(), None, Some("srv-003"));
        assert_eq!(matches.unmatched(), ["SRV-0O3", "Laptop-Anna", MACHINE]);
        let loose: Vec<_> = matches.by_first_part().collect();
        assert_eq!(loose, [("dc-01", "dc-01.contoso.com")]);
    }

    #[test]
    fn a_list_is_made_again_of_its_lines() {
        let list_of_all = list(&[ONE, MACHINE, "DC-01.contoso.com.", "dc-01"]);
        let lines = list_of_all.lines().iter().map(String::as_str);
        assert_eq!(list(&lines.collect::<Vec<_>>()), list_of_all);
        assert!(list(&[" "]).is_empty());
    }
}
