//! Parses when to retry: the `Retry-After` header, and the hints in the text of a 429.
//!
//! Values are returned as they are, even absurd ones; `retry.rs` decides which to honor.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::model::RetryAfter;

/// The longest gap between "maximum allowed", the number and "per". A number farther away means something else.
const MAX_GAP: usize = 24;

/// An invalid or unrepresentable date: longer than any wait that is honored, so that it is reported as ignored.
const BEYOND: RetryAfter = RetryAfter::Wait(Duration::from_secs(u64::MAX));

/// Returns the first valid `Retry-After`, or [`BEYOND`] if there is only an invalid date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<RetryAfter> {
    let told = || {
        headers
            .get_all(RETRY_AFTER)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .filter_map(parse_retry_after)
    };
    told()
        .find(|hint| *hint != BEYOND)
        .or_else(|| told().next())
}

fn parse_retry_after(text: &str) -> Option<RetryAfter> {
    let text = text.trim();
    if let Some(wait) = parse_seconds(text) {
        return Some(RetryAfter::Wait(wait));
    }
    httpdate::parse_http_date(text)
        .ok()
        .and_then(|date| Timestamp::try_from(date).ok())
        .or_else(|| text.parse::<Timestamp>().ok())
        .map(RetryAfter::At)
        .or_else(|| is_like_a_date(text).then_some(BEYOND))
}

/// Distinguishes an invalid date from a word or a number with a unit.
fn is_like_a_date(text: &str) -> bool {
    text.contains([',', ':']) && text.contains(|letter: char| letter.is_ascii_digit())
}

/// Parses seconds, rounding fractions up: a call that is sent too early is throttled again.
fn parse_seconds(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) {
        return None;
    }
    // All digits, so it can only be too large.
    let seconds = whole.parse::<u64>().unwrap_or(u64::MAX);
    let extra = u64::from(part.bytes().any(|byte| byte != b'0'));
    Some(Duration::from_secs(seconds.saturating_add(extra)))
}

/// Finds "in N seconds" (or minutes, or hours). Prefers one after "again", then the last one, because the first often
/// describes the limit.
pub(super) fn body_wait(text: &str) -> Option<Duration> {
    let lower = text.to_ascii_lowercase();
    lower
        .match_indices("in ")
        .filter(|(at, _)| !lower[..*at].ends_with(|before: char| before.is_alphanumeric()))
        .filter_map(|(at, word)| {
            let wait = parse_span(&lower[at + word.len()..])?;
            let is_ours = lower[..at].trim_end().ends_with("again");
            Some(((is_ours, at), wait))
        })
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, wait)| wait)
}

/// Parses "8 seconds", "1.5 minutes" or "2 hours" at the start of `text`.
fn parse_span(text: &str) -> Option<Duration> {
    let text = text.trim_start();
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let number = parse_seconds(&text[..end])?.as_secs();
    let unit = text[end..].trim_start();
    let factor = [("second", 1), ("minute", 60), ("hour", 3600)]
        .into_iter()
        .find_map(|(name, factor)| unit.starts_with(name).then_some(factor))?;
    Some(Duration::from_secs(number.saturating_mul(factor)))
}

pub(super) fn allowance(text: &str) -> Option<(u32, Duration)> {
    let lower = text.to_ascii_lowercase();
    lower
        .match_indices("maximum allowed")
        .find_map(|(at, words)| parse_allowance(&lower[at + words.len()..]))
}

fn parse_allowance(text: &str) -> Option<(u32, Duration)> {
    let start = text.find(|letter: char| letter.is_ascii_digit())?;
    let end =
        start + text[start..].find(|letter: char| !letter.is_ascii_digit() && letter != ',')?;
    let number: u32 = text[start..end].replace(',', "").parse().ok()?;
    let rest = &text[end..];
    let per = rest.find("per ")?;
    if start > MAX_GAP || per > MAX_GAP || number == 0 {
        return None;
    }
    let period = rest[per + 4..].trim_start();
    let end = period
        .find(|letter: char| !letter.is_ascii_digit() && letter != ':' && letter != '.')
        .unwrap_or(period.len());
    Some((number, parse_period(period[..end].trim_end_matches('.'))?))
}

/// Parses `HH:MM:SS`, optionally with days (`D.HH:MM:SS`); drops a fraction.
fn parse_period(text: &str) -> Option<Duration> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let seconds = seconds.split_once('.').map_or(seconds, |(whole, _)| whole);
    let total = [(days, 86_400), (hours, 3600), (minutes, 60), (seconds, 1)]
        .into_iter()
        .try_fold(0_u64, |total, (text, factor)| {
            let part = text.parse::<u64>().ok()?.checked_mul(factor)?;
            total.checked_add(part)
        })?;
    (total > 0).then(|| Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let at = |text: &str| Some(RetryAfter::At(text.parse().unwrap()));
        let beyond = Some(RetryAfter::Wait(secs(u64::MAX)));
        let cases = [
            ("30", Some(RetryAfter::Wait(secs(30)))),
            (" 0 ", Some(RetryAfter::Wait(Duration::ZERO))),
            ("1.2", Some(RetryAfter::Wait(secs(2)))),
            ("2.0", Some(RetryAfter::Wait(secs(2)))),
            (
                "99999999999999999999999",
                Some(RetryAfter::Wait(secs(u64::MAX))),
            ),
            ("Tue, 03 Feb 2026 04:05:06 GMT", at("2026-02-03T04:05:06Z")),
            (
                "Tuesday, 03-Feb-26 04:05:06 GMT",
                at("2026-02-03T04:05:06Z"),
            ),
            ("2026-02-03T04:05:06Z", at("2026-02-03T04:05:06Z")),
            ("Fri, 31 Dec 9999 23:59:59 GMT", beyond),
            ("Fri, 31 Dec 10000 23:59:59 GMT", beyond),
            ("+010000-01-01T00:00:00Z", beyond),
            ("Tue, 31 Feb 2026 04:05:06 GMT", beyond),
            ("Di, 03 Feb 2026 04:05:06 GMT", beyond),
            ("Tue, 03 Feb 2026", beyond),
            ("-5", None),
            ("soon", None),
            ("", None),
            ("1.", Some(RetryAfter::Wait(secs(1)))),
            (".5", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_retry_after(text), expected, "{text}");
        }
    }

    #[test]
    fn the_first_readable_header_counts() {
        let mut headers = HeaderMap::new();
        headers.append(RETRY_AFTER, "later".parse().unwrap());
        headers.append(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(RetryAfter::Wait(secs(7))));
        let mut headers = HeaderMap::new();
        headers.append(
            RETRY_AFTER,
            "Tue, 31 Feb 2026 04:05:06 GMT".parse().unwrap(),
        );
        headers.append(RETRY_AFTER, "later".parse().unwrap());
        let beyond = RetryAfter::Wait(secs(u64::MAX));
        assert_eq!(retry_after(&headers), Some(beyond));
        headers.append(RETRY_AFTER, "8".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(RetryAfter::Wait(secs(8))));
    }

    #[test]
    fn the_wait_in_a_text_is_the_one_meant_for_us() {
        let cases = [
            ("You can send requests again in 8 seconds.", Some(8)),
            ("TRY AGAIN IN 1 SECOND", Some(1)),
            ("100 calls in 60 seconds. Send again in 8 seconds", Some(8)),
            ("again in 8 seconds: 100 calls in 60 seconds", Some(8)),
            ("try in 2 minutes", Some(120)),
            ("wait and come back in 1.5 seconds", Some(2)),
            ("answer within 8 seconds", None),
            ("in a few seconds", None),
            ("again in 99999999999999999999999 hours", Some(u64::MAX)),
            ("again in", None),
            ("again in 8", None),
        ];
        for (text, expected) in cases {
            assert_eq!(body_wait(text), expected.map(secs), "{text}");
        }
    }

    #[test]
    fn the_allowance_in_a_text_names_calls_and_period() {
        let cases = [
            (
                "API calls quota exceeded! maximum allowed 45 per 00:01:00",
                Some((45, 60)),
            ),
            (
                "Maximum Allowed 1500 PER 01:00:00. You can",
                Some((1500, 3600)),
            ),
            (
                "maximum allowed is 1,500 calls per 1.00:00:00.0",
                Some((1500, 86_400)),
            ),
            ("maximum allowed 0 per 00:01:00", None),
            ("maximum allowed 45 per 00:00:00", None),
            ("maximum allowed 45 per minute", None),
            ("maximum allowed 99999999999 per 00:01:00", None),
            ("maximum allowed 45 per 99999999999999999999:00:00", None),
            ("maximum allowed", None),
            ("maximum allowed é 45 é per é", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(number, seconds)| (number, secs(seconds)));
            assert_eq!(allowance(text), expected, "{text}");
        }
    }
}
