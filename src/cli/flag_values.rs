//! Parses the values of flags; each error says what is expected.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};
use jiff::Timestamp;

use crate::engine::PlanId;
use crate::engine::core::MaxFailures;
use crate::input::{Input, InputFormat};
use crate::model::{ActionStatus, ActionType, parse_duration};
use crate::quota::{InvalidPace, Pace};

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// The service documents no limit, but may refuse or cut a longer comment.
const LONGEST_COMMENT: usize = 4096;

/// Further back than the service lists actions.
const OLDEST: Duration = Duration::from_secs(10 * 366 * DAY);

/// Text that may contain a secret by mistake: a password in an address, or a token instead of its file. Its Debug
/// output is hidden, and clap accepts any text, because clap's errors would repeat it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sensitive(OsString);

impl Sensitive {
    pub(super) fn expose(&self) -> &OsStr {
        &self.0
    }
}

impl From<OsString> for Sensitive {
    fn from(text: OsString) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sensitive(..)")
    }
}

/// Returns whether a value that should name a file looks like the secret itself.
pub(super) fn is_secret_itself(text: &OsStr) -> bool {
    let text = text.to_string_lossy();
    // A signed token has three parts, and the first starts with `{"` in base64. Entra's secrets have about 40
    // characters, with a `~` among the first.
    let is_token = text.starts_with("eyJ") && text.matches('.').count() >= 2;
    let is_secret = (34..=44).contains(&text.len())
        && text.chars().take(6).skip(3).any(|letter| letter == '~')
        && !text.contains(['/', '\\']);
    is_token || is_secret || text.contains("-----BEGIN")
}

/// A `--rate`; `None` for `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateChoice(pub Option<Pace>);

pub(super) fn rate(text: &str) -> Result<RateChoice, InvalidPace> {
    Pace::parse(text).map(RateChoice)
}

/// A time, or an age before the start of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    At(Timestamp),
    Ago(Duration),
}

impl When {
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(age) => now.checked_sub(age).unwrap_or(Timestamp::MIN),
        }
    }
}

pub(super) fn when(text: &str) -> Result<When, &'static str> {
    let text = text.trim();
    if let Ok(at) = text.parse() {
        return Ok(When::At(at));
    }
    let age = parse_duration(text).filter(|age| *age <= OLDEST);
    age.map(When::Ago)
        .ok_or("expected a time such as 2026-01-31T08:00:00Z or an age such as 30m, 2h, 7d or 2w")
}

pub(super) fn action_type(text: &str) -> Result<ActionType, &'static str> {
    match ActionType::parse(text) {
        ActionType::Other(_) => Err(
            "expected RunAntiVirusScan, Offboard, LiveResponse, CollectInvestigationPackage, Isolate, Unisolate, \
             StopAndQuarantineFile, RestrictCodeExecution, UnrestrictCodeExecution or RequestSample (--filter takes any word)",
        ),
        known => Ok(known),
    }
}

pub(super) fn status(text: &str) -> Result<ActionStatus, &'static str> {
    match ActionStatus::parse(text.trim()) {
        ActionStatus::Other(_) => Err(
            "expected Pending, InProgress, Succeeded, Failed, TimeOut or Cancelled (--filter takes any word)",
        ),
        known => Ok(known),
    }
}

pub(super) fn plan_id(text: &str) -> Result<PlanId, &'static str> {
    PlanId::parse(text)
        .ok_or("expected the id of a plan, such as 961c-2524-c3ed-07b1-4e02; `preview` prints it")
}

/// Parses a protected action type; `unknown` means every unknown type.
pub(super) fn protected_type(text: &str) -> Result<ActionType, &'static str> {
    let action_type = ActionType::parse(text);
    if action_type.is_protected() || action_type == ActionType::Unknown {
        return Ok(action_type);
    }
    // The user may believe that this flag narrows the run.
    Err(
        "the protected types are Unisolate, UnrestrictCodeExecution and unknown; all others need no flag, and --type \
         narrows a run",
    )
}

pub(super) fn machine_id(text: &str) -> Result<String, &'static str> {
    let id = text.trim().to_ascii_lowercase();
    let is_id = id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id
        .then_some(id)
        .ok_or("a machine id is 40 hexadecimal digits")
}

pub(super) fn not_blank(text: &str) -> Result<String, &'static str> {
    let is_blank = text.trim().is_empty();
    (!is_blank).then(|| text.to_owned()).ok_or("it is empty")
}

pub(super) fn trimmed(text: &str) -> Result<String, &'static str> {
    not_blank(text.trim())
}

pub(super) fn comment(text: &str) -> Result<String, String> {
    if text.chars().count() > LONGEST_COMMENT {
        return Err(format!("it has more than {LONGEST_COMMENT} characters"));
    }
    Ok(trimmed(text)?)
}

pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("expected a duration such as 30s, 1h30m, 7d or 2w")
}

fn between(
    text: &str,
    least: Duration,
    most: Duration,
    wanted: &'static str,
) -> Result<Duration, &'static str> {
    let span = duration(text)?;
    (least..=most).contains(&span).then_some(span).ok_or(wanted)
}

/// The timeout of one call.
pub(super) fn timeout(text: &str) -> Result<Duration, &'static str> {
    let wanted = "expected a duration between 100 ms and 24 h";
    between(
        text,
        Duration::from_millis(100),
        Duration::from_secs(DAY),
        wanted,
    )
}

/// How long a call that was given up may still arrive.
pub(super) fn grace(text: &str) -> Result<Duration, &'static str> {
    let wanted = "expected a duration between 0 s and 24 h";
    between(text, Duration::ZERO, Duration::from_secs(DAY), wanted)
}

/// The time after which a run, or a part of it, stops.
pub(super) fn bound(text: &str) -> Result<Duration, &'static str> {
    let wanted = "expected a duration between 1 s and 7 days";
    between(
        text,
        Duration::from_secs(1),
        Duration::from_secs(7 * DAY),
        wanted,
    )
}

pub(super) fn max_failures(text: &str) -> Result<MaxFailures, &'static str> {
    let text = text.trim();
    let read = match text.strip_suffix('%') {
        Some(share) => share
            .trim()
            .parse()
            .ok()
            .filter(|share| *share < 100)
            .map(MaxFailures::Percent),
        None => text.parse().ok().map(MaxFailures::Count),
    };
    read.ok_or("expected a number such as 20, or a share below 100% such as 5%")
}

pub(super) const INPUT_FORMATS: [(&str, InputFormat); 6] = [
    ("auto", InputFormat::Auto),
    ("csv", InputFormat::Csv),
    ("tsv", InputFormat::Tsv),
    ("jsonl", InputFormat::Jsonl),
    ("json", InputFormat::Json),
    ("lines", InputFormat::Lines),
];

/// Reads the name of an input: a path, or `-` for standard input.
pub(super) fn input() -> impl TypedValueParser<Value = Input> {
    PathBufValueParser::new().map(|path| Input::parse(path.as_os_str()))
}

pub(super) fn input_format(text: &str) -> Result<InputFormat, &'static str> {
    let found = INPUT_FORMATS.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, format)| *format)
        .ok_or("unknown input format")
}

fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// Parses a tenant, in lower case.
pub(super) fn tenant(text: &str) -> Result<String, &'static str> {
    let name = text.trim().to_ascii_lowercase();
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_domain = name.contains('.') && name.split('.').all(is_label);
    (is_guid(&name) || is_domain)
        .then_some(name)
        .ok_or("a tenant is a GUID or a domain name such as contoso.onmicrosoft.com")
}

/// Parses an application's id, in lower case as in a token's claims.
pub(super) fn client(text: &str) -> Result<String, &'static str> {
    let id = text.trim().to_ascii_lowercase();
    is_guid(&id)
        .then_some(id)
        .ok_or("an application (client) id is a GUID")
}

/// Parses the scope to request tokens for; adds `/.default` if missing.
pub(super) fn api_scope(text: &str) -> Result<String, &'static str> {
    let bare = text.trim().trim_end_matches('/');
    let bare = bare.strip_suffix("/.default").unwrap_or(bare);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:/".contains(&byte);
    if bare.is_empty() || !bare.bytes().all(is_plain) {
        return Err("a scope is the service's address or id, followed by /.default");
    }
    Ok(format!("{bare}/.default"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_stay_between_their_bounds() {
        assert_eq!(timeout("30s"), Ok(Duration::from_secs(30)));
        for text in ["30", "0s", "99ms", "25h", "2d"] {
            assert!(timeout(text).is_err(), "{text}");
        }
        assert_eq!(bound("1w"), Ok(Duration::from_secs(7 * DAY)));
        assert!(bound("8d").is_err());
        assert_eq!(grace("0s"), Ok(Duration::ZERO));
        assert!(grace("25h").is_err());
    }

    #[test]
    fn a_tenant_is_a_guid_or_a_domain_name() {
        for text in [
            "11111111-2222-3333-4444-55555555555A",
            "contoso.onmicrosoft.com",
        ] {
            assert_eq!(tenant(text), Ok(text.to_ascii_lowercase()));
        }
        for text in ["", "contoso", "a..b", "a/b.c", "tenant id.x", "é.com"] {
            assert!(tenant(text).is_err(), "{text}");
        }
        assert!(client("contoso.onmicrosoft.com").is_err());
    }

    #[test]
    fn times_and_ages_are_read_as_people_write_them() {
        let now: Timestamp = "2026-02-10T12:00:00Z".parse().unwrap();
        for (text, meant) in [
            ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00Z"),
            ("2026-01-31T09:00:00+01:00", "2026-01-31T08:00:00Z"),
            (" 1h30m ", "2026-02-10T10:30:00Z"),
            ("1d12h", "2026-02-09T00:00:00Z"),
            ("2w", "2026-01-27T12:00:00Z"),
            ("0s", "2026-02-10T12:00:00Z"),
        ] {
            assert_eq!(when(text).unwrap().at(now).to_string(), meant, "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2",
            "-2h",
            "d",
            "99999d",
            "2026-01-31",
            "99999999999999999999d",
        ] {
            assert!(when(text).is_err(), "{text}");
        }
    }
}
