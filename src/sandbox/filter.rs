//! The `$filter` language, as far as the service takes it on machine actions.
//!
//! `eq ne ge gt le lt`, `in (…)`, `and`, `or`, `not` and parentheses, over six fields; text in single quotes with a
//! quote doubled, times bare. Words of the language are read in any case, for ` AND ` is known to work in the field;
//! field names are not. Nothing here can recurse deeper than [`DEPTH`].

use super::field::{Comparison, Field, Value};

/// How deep parentheses and `not` may nest: deeper than any sensible filter, far from the end of a stack.
const DEPTH: usize = 40;

/// A filter, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    // Lists, not pairs: a chain of a thousand terms must not nest a thousand deep.
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Compare(Field, Comparison, Value),
    In(Field, Vec<Value>),
}

impl Filter {
    /// Reads a filter.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let tokens = split(text)?;
        let mut parser = Parser {
            tokens: &tokens,
            next: 0,
        };
        let filter = parser.any(0)?;
        match parser.peek() {
            None => Ok(filter),
            Some(token) => Err(format!("Syntax error: {token:?} was not expected.")),
        }
    }

    /// Returns whether the record whose fields `value_of` tells passes.
    pub(super) fn passes(&self, value_of: &impl Fn(Field) -> Value) -> bool {
        match self {
            Self::All(terms) => terms.iter().all(|term| term.passes(value_of)),
            Self::Any(terms) => terms.iter().any(|term| term.passes(value_of)),
            Self::Not(term) => !term.passes(value_of),
            Self::Compare(field, comparison, value) => comparison.holds(&value_of(*field), value),
            Self::In(field, values) => values.contains(&value_of(*field)),
        }
    }

    /// Returns the ids to which the filter confines itself, where it does.
    pub(super) fn ids(&self) -> Option<Vec<&str>> {
        let text = |value: &'_ Value| match value {
            Value::Text(_) => true,
            Value::Time(_) | Value::Null => false,
        };
        match self {
            Self::All(terms) => terms.iter().find_map(Self::ids),
            Self::Compare(Field::Id, Comparison::Equal, Value::Text(id)) => Some(vec![id]),
            Self::In(Field::Id, values) if values.iter().all(text) => Some(
                values
                    .iter()
                    .filter_map(|value| match value {
                        Value::Text(id) => Some(id.as_str()),
                        Value::Time(_) | Value::Null => None,
                    })
                    .collect(),
            ),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Comma,
    Quoted(String),
    Word(String),
}

fn split(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            ',' => tokens.push(Token::Comma),
            '\'' => {
                let mut quoted = String::new();
                loop {
                    match letters.next() {
                        Some('\'') if letters.next_if_eq(&'\'').is_some() => quoted.push('\''),
                        Some('\'') => break,
                        Some(other) => quoted.push(other),
                        None => {
                            return Err("There is an unterminated string literal.".to_owned());
                        }
                    }
                }
                tokens.push(Token::Quoted(quoted));
            }
            blank if blank.is_whitespace() => {}
            first => {
                let mut word = String::from(first);
                let inside = |letter: &char| !letter.is_whitespace() && !"(),'".contains(*letter);
                while let Some(letter) = letters.next_if(inside) {
                    word.push(letter);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

struct Parser<'tokens> {
    tokens: &'tokens [Token],
    next: usize,
}

impl<'tokens> Parser<'tokens> {
    fn peek(&self) -> Option<&'tokens Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<&'tokens Token> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn take_if(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next += 1;
        }
        found
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let found =
            matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        if found {
            self.next += 1;
        }
        found
    }

    fn any(&mut self, depth: usize) -> Result<Filter, String> {
        let mut terms = vec![self.all(depth)?];
        while self.take_word("or") {
            terms.push(self.all(depth)?);
        }
        Ok(one_or(terms, Filter::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Filter, String> {
        let mut terms = vec![self.term(depth)?];
        while self.take_word("and") {
            terms.push(self.term(depth)?);
        }
        Ok(one_or(terms, Filter::All))
    }

    fn term(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > DEPTH {
            return Err("The filter nests too deep.".to_owned());
        }
        if self.take_word("not") {
            return Ok(Filter::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.take_if(&Token::Open) {
            let inner = self.any(depth + 1)?;
            return if self.take_if(&Token::Close) {
                Ok(inner)
            } else {
                Err("A ')' is missing.".to_owned())
            };
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Filter, String> {
        let Some(Token::Word(name)) = self.take() else {
            return Err("A property name was expected.".to_owned());
        };
        let field = Field::parse(name).ok_or_else(|| {
            format!("Could not find a property named '{name}' on type 'MachineAction'.")
        })?;
        if self.take_word("in") {
            return self.list(field);
        }
        match self.take() {
            Some(Token::Word(word)) => {
                let comparison = Comparison::parse(word)
                    .ok_or_else(|| format!("'{word}' is not a comparison."))?;
                Ok(Filter::Compare(field, comparison, self.value(field)?))
            }
            _ => Err("A comparison was expected.".to_owned()),
        }
    }

    fn list(&mut self, field: Field) -> Result<Filter, String> {
        if !self.take_if(&Token::Open) {
            return Err("A '(' was expected after 'in'.".to_owned());
        }
        let mut values = vec![self.value(field)?];
        while self.take_if(&Token::Comma) {
            values.push(self.value(field)?);
        }
        if self.take_if(&Token::Close) {
            Ok(Filter::In(field, values))
        } else {
            Err("A ')' is missing.".to_owned())
        }
    }

    fn value(&mut self, field: Field) -> Result<Value, String> {
        let mismatch =
            || "The types of the property and of the literal are not compatible.".to_owned();
        match (self.take(), field) {
            (Some(Token::Quoted(_)), Field::Created) => Err(mismatch()),
            // A GUID has no case, and a record's is lower.
            (Some(Token::Quoted(text)), Field::Id) => Ok(Value::Text(text.to_ascii_lowercase())),
            (Some(Token::Quoted(text)), _) => Ok(Value::Text(text.clone())),
            (Some(Token::Word(word)), _) if word == "null" => Ok(Value::Null),
            (Some(Token::Word(word)), Field::Created) => word
                .parse()
                .map(Value::Time)
                .map_err(|_| format!("'{word}' is not a date and time.")),
            (Some(Token::Word(_)), _) => Err(mismatch()),
            _ => Err("A literal was expected.".to_owned()),
        }
    }
}

fn one_or(mut terms: Vec<Filter>, wrap: fn(Vec<Filter>) -> Filter) -> Filter {
    match terms.pop() {
        Some(only) if terms.is_empty() => only,
        Some(last) => {
            terms.push(last);
            wrap(terms)
        }
        None => wrap(terms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proptest_config::proptest_config;
    use proptest::prelude::*;

    fn sample(field: Field) -> Value {
        let text = |text: &str| Value::Text(text.to_owned());
        match field {
            Field::Id => text("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2"),
            Field::Status => text("Pending"),
            Field::MachineId => Value::Null,
            Field::Type => text("Isolate"),
            Field::Requestor => text("o'neil@corp.example"),
            Field::Created => Value::Time("2026-02-03T04:05:06.5Z".parse().unwrap()),
        }
    }

    #[test]
    fn filters_pass_and_refuse_as_odata_says() {
        for (text, expected) in [
            ("status eq 'Pending'", true),
            ("status eq 'pending'", false),
            ("status ne 'Pending'", false),
            ("requestor eq 'o''neil@corp.example'", true),
            (
                "machineId eq null and type in ('Unisolate','Isolate')",
                true,
            ),
            ("not (status eq 'Pending')", false),
            ("not status eq 'Failed' AND type eq 'Isolate'", true),
            (
                "status eq 'Failed' or status eq 'X' and type eq 'Isolate'",
                false,
            ),
            (
                "(status eq 'Failed' or status eq 'Pending') and type eq 'Isolate'",
                true,
            ),
            ("creationDateTimeUtc ge 2026-02-03T04:05:06.5Z", true),
            ("creationDateTimeUtc gt 2026-02-03T04:05:06.5Z", false),
            ("creationDateTimeUtc lt 2026-02-03T05:05:07+01:00", true),
            ("creationDateTimeUtc le 2026-02-03T04:05:06Z", false),
            ("id in ('7F3C2A10-5B1E-4A77-9A3D-0C5BE0A1D9F2')", true),
            ("machineId gt 'a'", false),
        ] {
            let filter = Filter::parse(text).unwrap();
            assert_eq!(filter.passes(&sample), expected, "{text}");
        }
    }

    #[test]
    fn what_the_service_does_not_take_is_refused() {
        for text in [
            "",
            "status",
            "status eq",
            "status eq Pending",
            "status is 'Pending'",
            "Status eq 'Pending'",
            "title eq 'x'",
            "status eq 'Pending",
            "(status eq 'Pending'",
            "status eq 'Pending')",
            "status eq 'a' 'b'",
            "id in ()",
            "id in 'a'",
            "id in ('a',)",
            "creationDateTimeUtc ge '2026-02-03T04:05:06Z'",
            "creationDateTimeUtc ge 2026-02-31T04:05:06Z",
            "status eq 5",
            "and status eq 'a'",
        ] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_filter_that_confines_itself_to_ids_names_them() {
        let ids = |text: &str| {
            let filter = Filter::parse(text).unwrap();
            filter
                .ids()
                .map(|ids| ids.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(ids("id in ('A','b')").unwrap(), ["a", "b"]);
        assert_eq!(ids("status eq 'x' and id eq 'a'").unwrap(), ["a"]);
        assert_eq!(ids("status eq 'x' or id eq 'a'"), None);
        assert_eq!(ids("not id eq 'a'"), None);
    }

    #[test]
    fn deep_nesting_is_refused_and_long_chains_are_not() {
        let deep = format!("{}status eq 'a'{}", "(".repeat(5000), ")".repeat(5000));
        assert!(Filter::parse(&deep).is_err());
        assert!(Filter::parse(&"not ".repeat(5000)).is_err());
        let long = vec!["status eq 'a'"; 20_000].join(" or ");
        assert!(!Filter::parse(&long).unwrap().passes(&sample));
    }

    proptest! {
        #![proptest_config(proptest_config(256))]

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            if let Ok(filter) = Filter::parse(&text) {
                filter.passes(&sample);
            }
        }

        #[test]
        fn no_heap_of_its_own_words_makes_it_panic(words in proptest::collection::vec(
            prop_oneof![
                Just("id"), Just("status"), Just("creationDateTimeUtc"), Just("eq"), Just("in"), Just("("),
                Just(")"), Just(","), Just("'a'"), Just("''"), Just("'"), Just("and"), Just("or"), Just("not"),
                Just("null"), Just("2026-02-03T04:05:06Z"),
            ],
            0..30,
        )) {
            if let Ok(filter) = Filter::parse(&words.join(" ")) {
                filter.passes(&sample);
                filter.ids();
            }
        }

        #[test]
        fn any_text_survives_being_quoted(text in ".{0,40}") {
            let filter = Filter::parse(&format!("requestor eq '{}'", text.replace('\'', "''"))).unwrap();
            prop_assert_eq!(filter, Filter::Compare(Field::Requestor, Comparison::Equal, Value::Text(text)));
        }
    }
}
