//! A selection as the service's filter language says it (MDE `exposed-apis-odata-samples.md`).
//!
//! Text stands in single quotes, with a quote in it doubled; times stand bare. Nothing is escaped for a URL here: that is
//! done once, where the URL is made.

use jiff::Timestamp;

use crate::model::{ActionStatus, ActionType, Selection};

/// Returns the filter that asks for what is selected; `None` where everything is.
///
/// The service compares text with regard to its case, so a requestor must be written as the record has it; types,
/// statuses and machine ids are written as the service does.
pub fn filter_of(selection: &Selection) -> Option<String> {
    let types = selection.types.iter().map(ActionType::as_str);
    let statuses = selection.statuses.iter().map(ActionStatus::as_str);
    let requestors = selection.requestors.iter().map(String::as_str);
    let machine_ids: Vec<_> = selection
        .machine_ids
        .iter()
        .map(|id| id.to_ascii_lowercase())
        .collect();
    let terms = [
        any_of("type", types),
        any_of("status", statuses),
        any_of("requestor", requestors),
        any_of("machineId", machine_ids.iter().map(String::as_str)),
        selection.since.map(|since| created("ge", since)),
        selection.until.map(|until| created("le", until)),
    ];
    let terms: Vec<_> = terms.into_iter().flatten().collect();
    (!terms.is_empty()).then(|| terms.join(" and "))
}

fn any_of<'a>(field: &str, values: impl Iterator<Item = &'a str>) -> Option<String> {
    let terms: Vec<_> = values
        .map(|value| format!("{field} eq '{}'", value.replace('\'', "''")))
        .collect();
    match terms.len() {
        0 => None,
        1 => terms.into_iter().next(),
        _ => Some(format!("({})", terms.join(" or "))),
    }
}

fn created(comparison: &str, at: Timestamp) -> String {
    format!("creationDateTimeUtc {comparison} {at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_put_in_parentheses_and_quotes_are_doubled() {
        let selection = Selection {
            types: vec![ActionType::Isolate, ActionType::LiveResponse],
            statuses: vec![ActionStatus::Pending],
            requestors: vec!["o'neil@x".to_owned()],
            machine_ids: vec!["ABC".to_owned()],
            since: Some("2026-01-31T00:00:00Z".parse().unwrap()),
            until: Some("2026-01-31T01:00:00.5+01:00".parse().unwrap()),
        };
        assert_eq!(
            filter_of(&selection).unwrap(),
            "(type eq 'Isolate' or type eq 'LiveResponse') and status eq 'Pending' and requestor eq 'o''neil@x' and \
             machineId eq 'abc' and creationDateTimeUtc ge 2026-01-31T00:00:00Z and creationDateTimeUtc le \
             2026-01-31T00:00:00.5Z"
        );
        assert_eq!(filter_of(&Selection::default()), None);
    }
}
