//! Which calls a mishap meets, as values and as text.
//!
//! A script is a list of rules, parted by `;`: `503@every=7;hang@nth=12;applied-reset@p=0.05;429-storm:8s@after=40,count=5`.
//! A rule is a mishap (see [`Fault`]) and, after `@`, conditions parted by commas, all of which must hold:
//!
//! | condition | the call is |
//! |---|---|
//! | `on=cancel` (`get`, `list`, `machine`, `token`) | of that kind; without it any but a sign-in |
//! | `id=GUID` | about that action |
//! | `from=10s`, `until=20s` | so long after the sandbox started |
//! | `after=40` | not among the first 40 of these |
//! | `nth=12`, `every=7`, `p=0.05` | the 12th of the rest, each 7th, one in twenty by the hash of its id |
//! | `count=5` | among the first five that the rule meets |
//!
//! The first rule that meets a call decides; latencies add up. Calls that a quota refused are not counted.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use crate::model::ActionId;

use super::call::CallKind;
use super::fault::Fault;
use super::span::{Span, parse_span};

/// Which of the calls that fit its other conditions a rule meets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Turn {
    /// Each.
    #[default]
    Each,
    /// One alone, counted from 1.
    Nth(NonZeroU64),
    /// Each so-manieth.
    Every(NonZeroU64),
    /// So large a share, by hash; between 0 and 1.
    Share(f64),
}

/// A mishap and the calls that it meets.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// The kind of call; any but a sign-in where there is none.
    pub on: Option<CallKind>,
    /// The action.
    pub id: Option<ActionId>,
    /// Not before this time after the start.
    pub from: Option<Duration>,
    /// No longer from this time after the start.
    pub until: Option<Duration>,
    /// So many fitting calls are let through first.
    pub after: u64,
    /// Which of the rest.
    pub turn: Turn,
    /// How often at most.
    pub count: Option<u64>,
}

/// Why a text is no script of mishaps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFaults {
    /// The part before `@`.
    #[error("`{0}` names no fault")]
    Fault(String),
    /// A condition of an unknown name, or without a value.
    #[error("`{0}` is no condition of a fault")]
    Condition(String),
    /// A condition's value.
    #[error("the condition `{0}` has a value that cannot be used")]
    Value(String),
    /// One condition twice, or two of `nth`, `every` and `p`.
    #[error("the condition `{0}` contradicts an earlier one")]
    Twice(String),
}

impl Rule {
    /// Returns the rule that meets every call but sign-ins.
    pub fn always(fault: Fault) -> Self {
        Self {
            fault,
            on: None,
            id: None,
            from: None,
            until: None,
            after: 0,
            turn: Turn::Each,
            count: None,
        }
    }

    fn parse(text: &str) -> Result<Self, InvalidFaults> {
        let (name, conditions) = match text.split_once('@') {
            Some((name, conditions)) => (name, Some(conditions)),
            None => (text, None),
        };
        let fault =
            Fault::parse(name).ok_or_else(|| InvalidFaults::Fault(name.trim().to_owned()))?;
        let mut rule = Self::always(fault);
        let mut seen: Vec<&str> = Vec::new();
        for condition in conditions.into_iter().flat_map(|all| all.split(',')) {
            let owned = || condition.trim().to_owned();
            let (key, value) = condition
                .split_once('=')
                .ok_or_else(|| InvalidFaults::Condition(owned()))?;
            let key = match key.trim() {
                "nth" | "every" | "p" if seen.iter().any(|old| is_turn(old)) => {
                    return Err(InvalidFaults::Twice(owned()));
                }
                key if seen.contains(&key) => return Err(InvalidFaults::Twice(owned())),
                key => key,
            };
            if !CONDITIONS.contains(&key) {
                return Err(InvalidFaults::Condition(owned()));
            }
            rule.set(key, value.trim())
                .ok_or_else(|| InvalidFaults::Value(owned()))?;
            seen.push(key);
        }
        Ok(rule)
    }

    /// Sets one condition; `None` for a value that cannot be used.
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "on" => CallKind::parse(value).map(|kind| self.on = Some(kind)),
            "id" => ActionId::parse(value).ok().map(|id| self.id = Some(id)),
            "from" => parse_span(value).map(|span| self.from = Some(span)),
            "until" => parse_span(value).map(|span| self.until = Some(span)),
            "after" => value.parse().ok().map(|after| self.after = after),
            "count" => value.parse().ok().map(|count| self.count = Some(count)),
            "nth" => value.parse().ok().map(|nth| self.turn = Turn::Nth(nth)),
            "every" => value
                .parse()
                .ok()
                .map(|every| self.turn = Turn::Every(every)),
            "p" => value
                .parse()
                .ok()
                .filter(|share| (0.0..=1.0).contains(share))
                .map(|share| self.turn = Turn::Share(share)),
            _ => None,
        }
    }
}

/// Every condition there is.
const CONDITIONS: [&str; 9] = [
    "on", "id", "from", "until", "after", "nth", "every", "p", "count",
];

fn is_turn(key: &str) -> bool {
    matches!(key, "nth" | "every" | "p")
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut conditions = Vec::new();
        let mut add = |key: &str, value: String| conditions.push(format!("{key}={value}"));
        if let Some(kind) = self.on {
            add("on", kind.to_string());
        }
        if let Some(id) = self.id {
            add("id", id.to_string());
        }
        if let Some(from) = self.from {
            add("from", Span(from).to_string());
        }
        if let Some(until) = self.until {
            add("until", Span(until).to_string());
        }
        if self.after > 0 {
            add("after", self.after.to_string());
        }
        match self.turn {
            Turn::Each => {}
            Turn::Nth(nth) => add("nth", nth.to_string()),
            Turn::Every(every) => add("every", every.to_string()),
            Turn::Share(share) => add("p", share.to_string()),
        }
        if let Some(count) = self.count {
            add("count", count.to_string());
        }
        self.fault.fmt(f)?;
        if !conditions.is_empty() {
            write!(f, "@{}", conditions.join(","))?;
        }
        Ok(())
    }
}

/// A script of mishaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults(Vec<Rule>);

impl Faults {
    /// Nothing goes wrong.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Returns the rules, asked in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Reads a script; `none` and a blank text are the empty one.
    ///
    /// # Errors
    /// Returns the part that cannot be used.
    pub fn parse(text: &str) -> Result<Self, InvalidFaults> {
        if text.trim() == "none" {
            return Ok(Self::none());
        }
        text.split(';')
            .filter(|part| !part.trim().is_empty())
            .map(Rule::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns the rules, in the order in which they are asked.
    pub fn as_slice(&self) -> &[Rule] {
        &self.0
    }
}

impl FromStr for Faults {
    type Err = InvalidFaults;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (position, rule) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(";")?;
            }
            rule.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_prints_as_it_is_read() {
        for text in [
            "none",
            "503@every=7;hang@nth=12;applied-reset@p=0.05;429-storm@after=40,count=5",
            "401@on=list,id=7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2,from=10s,until=1m 5s,count=1",
        ] {
            assert_eq!(Faults::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Faults::parse(" 503 @ every = 7 ; ").unwrap().to_string(),
            "503@every=7"
        );
        assert_eq!(Faults::parse("").unwrap(), Faults::none());
    }

    #[test]
    fn the_error_names_the_part_that_is_wrong() {
        let error = |text: &str| Faults::parse(text).unwrap_err();
        assert_eq!(error("503;boom@nth=1"), InvalidFaults::Fault("boom".into()));
        assert_eq!(error("503@x=1"), InvalidFaults::Condition("x=1".into()));
        assert_eq!(error("503@"), InvalidFaults::Condition(String::new()));
        assert_eq!(error("503@nth=0"), InvalidFaults::Value("nth=0".into()));
        assert_eq!(error("503@p=1.5"), InvalidFaults::Value("p=1.5".into()));
        assert_eq!(error("503@p=NaN"), InvalidFaults::Value("p=NaN".into()));
        assert_eq!(
            error("503@nth=1,every=2"),
            InvalidFaults::Twice("every=2".into())
        );
        assert_eq!(
            error("503@on=get,on=list"),
            InvalidFaults::Twice("on=list".into())
        );
    }
}
