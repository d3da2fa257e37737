//! Values as they are written in flags and in the environment: one reader each, used for both.
//!
//! The readers look at nothing but the text. Their errors say what is wanted and leave out what was written, for both
//! layers show that themselves, and an address or a path may hold a secret.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::core::MaxFailures;
use crate::input::InputFormat;
use crate::model::{ActionType, parse_duration};
use crate::quota::{InvalidPace, InvalidWindow, Pace, Window};

/// The longest wait that any flag takes: a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The longest comment, in characters. The service names no bound; intake refuses rows by the same one.
const LONGEST_COMMENT: usize = 4096;

/// The most calls of one lane at once. More would only wait for the quota.
const MOST_AT_ONCE: u32 = 1024;

/// The most attempts on one row; with full backoff between them, a hundred take over an hour.
const MOST_ATTEMPTS: u32 = 100;

/// Why a text is not the value that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// A blank where words are wanted.
    #[error("it is empty")]
    Blank,
    /// No client id.
    #[error("an application (client) id is a GUID")]
    Client,
    /// None of the words of a list.
    #[error("it is none of: {}", .0.join(", "))]
    Choice(&'static [&'static str]),
    /// A comment that the service might cut or refuse.
    #[error("it has more than {LONGEST_COMMENT} characters")]
    CommentLength,
    /// No number between two bounds.
    #[error("it is not a whole number from {least} to {most}")]
    Count {
        /// The smallest that will do.
        least: u32,
        /// The largest that will do.
        most: u32,
    },
    /// No length of time.
    #[error("it is not a duration, for example 30s, 1h30m, 7d or 2w")]
    Duration,
    /// A length of time that makes no sense here.
    #[error("it must be between {} and 24 h", .least)]
    DurationBounds {
        /// The shortest that will do.
        least: &'static str,
    },
    /// A length of time after which no run could sensibly stop.
    #[error("it must be between 1 s and 7 days")]
    BoundBounds,
    /// Neither a number nor a share.
    #[error("it is neither a number, for example 20, nor a share below 100%, for example 5%")]
    MaxFailures,
    /// A pace that cannot be read.
    #[error(transparent)]
    Pace(#[from] InvalidPace),
    /// No scope.
    #[error("a scope is the service's address or id with /.default behind it")]
    ApiScope,
    /// A secret on the command line, where every user of the machine can read it.
    #[error(
        "a path is wanted, not the secret itself; write the secret to a file or set AZURE_CLIENT_SECRET"
    )]
    SecretItself,
    /// A certificate with its key where the name of its file should stand.
    #[error("a path is wanted, not the certificate itself; write certificate and key to a file")]
    CertificateItself,
    /// No tenant.
    #[error("a tenant is a GUID or a domain name such as contoso.onmicrosoft.com")]
    Tenant,
    /// A secret on the command line, where every user of the machine can read it.
    #[error(
        "a path is wanted, not the token itself; write the token to a file or set MDE_CANCEL_TOKEN"
    )]
    TokenItself,
    /// Not a protected type. Whoever names another one may believe that this narrows the run.
    #[error(
        "protected types are Unisolate, UnrestrictCodeExecution and unknown; all others are cancelled without this flag, \
         and --type narrows a run"
    )]
    NotProtected,
    /// An allowance that cannot be read.
    #[error(transparent)]
    Window(#[from] InvalidWindow),
}

/// Text as typed that may hold a secret by mistake: a password in an address, a token where a path is wanted. Its Debug
/// shows nothing, and the parser of the command line takes any of it, for its errors would repeat it.
#[derive(Clone, PartialEq, Eq)]
pub struct Veiled(OsString);

impl Veiled {
    /// Returns the text, secrets and all.
    pub(in crate::cli) fn expose(&self) -> &OsStr {
        &self.0
    }
}

impl From<OsString> for Veiled {
    fn from(text: OsString) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Veiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Veiled(..)")
    }
}

/// One `--quota` as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaChoice {
    /// `none`: no bound at all.
    Unbounded,
    /// One window.
    Window(Window),
}

impl QuotaChoice {
    /// Reads `none` or `N/DURATION`.
    ///
    /// # Errors
    /// Returns what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if text.trim().eq_ignore_ascii_case("none") {
            return Ok(Self::Unbounded);
        }
        Ok(Self::Window(Window::parse(text)?))
    }
}

/// A `--rate` as typed; `none` holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceChoice(pub Option<Pace>);

impl PaceChoice {
    /// Reads `none` or a rate.
    ///
    /// # Errors
    /// Returns what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        Ok(Self(Pace::parse(text)?))
    }
}

/// Reads text that must say something.
///
/// # Errors
/// Returns that it is blank.
pub fn words(text: &str) -> Result<String, InvalidValue> {
    if text.trim().is_empty() {
        return Err(InvalidValue::Blank);
    }
    Ok(text.to_owned())
}

/// Reads the comment that goes out with each cancel.
///
/// # Errors
/// Returns that it is blank, which the service may refuse, or too long.
pub fn comment(text: &str) -> Result<String, InvalidValue> {
    if text.chars().count() > LONGEST_COMMENT {
        return Err(InvalidValue::CommentLength);
    }
    words(text)
}

/// Reads a time that may pass before a call is given up.
///
/// # Errors
/// Returns that it is none, or too short or too long to make sense.
pub fn timeout(text: &str) -> Result<Duration, InvalidValue> {
    let span = duration(text)?;
    if span < Duration::from_millis(100) || span > LONGEST {
        return Err(InvalidValue::DurationBounds { least: "100 ms" });
    }
    Ok(span)
}

/// Reads a time after which a run stops.
///
/// # Errors
/// Returns that it is none, or too short or too long to make sense.
pub fn bound(text: &str) -> Result<Duration, InvalidValue> {
    let span = duration(text)?;
    if span < Duration::from_secs(1) || span > Duration::from_secs(7 * 24 * 3600) {
        return Err(InvalidValue::BoundBounds);
    }
    Ok(span)
}

/// Reads how many rows may end badly: `N` or `N%`.
///
/// # Errors
/// Returns what is wanted.
pub fn max_failures(text: &str) -> Result<MaxFailures, InvalidValue> {
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
    read.ok_or(InvalidValue::MaxFailures)
}

/// Reads a time that may be zero.
///
/// # Errors
/// Returns that it is none, or too long to make sense.
pub fn grace(text: &str) -> Result<Duration, InvalidValue> {
    let span = duration(text)?;
    if span > LONGEST {
        return Err(InvalidValue::DurationBounds { least: "0 s" });
    }
    Ok(span)
}

/// Reads a duration of any length.
///
/// # Errors
/// Returns that it is none.
pub fn duration(text: &str) -> Result<Duration, InvalidValue> {
    parse_duration(text).ok_or(InvalidValue::Duration)
}

/// Reads how many calls of one lane may be under way at once.
///
/// # Errors
/// Returns the bounds.
pub fn concurrency(text: &str) -> Result<u32, InvalidValue> {
    count(text, MOST_AT_ONCE)
}

/// Reads how many attempts a row gets.
///
/// # Errors
/// Returns the bounds.
pub fn attempts(text: &str) -> Result<u32, InvalidValue> {
    count(text, MOST_ATTEMPTS)
}

fn count(text: &str, most: u32) -> Result<u32, InvalidValue> {
    let number: Option<u32> = text.trim().parse().ok();
    number
        .filter(|number| (1..=most).contains(number))
        .ok_or(InvalidValue::Count { least: 1, most })
}

/// Reads the name of a protected action type; `unknown` stands for every type that isn't known.
pub fn protected_type(text: &str) -> Result<ActionType, InvalidValue> {
    let action_type = ActionType::parse(text);
    if action_type.is_protected() || action_type == ActionType::Unknown {
        Ok(action_type)
    } else {
        Err(InvalidValue::NotProtected)
    }
}

/// The words of [`input_format`].
pub const INPUT_FORMATS: [&str; 6] = ["auto", "csv", "tsv", "jsonl", "json", "lines"];

/// Reads how an input is written.
///
/// # Errors
/// Returns the words there are.
pub fn input_format(text: &str) -> Result<InputFormat, InvalidValue> {
    Ok(match text.trim().to_ascii_lowercase().as_str() {
        "auto" => InputFormat::Auto,
        "csv" => InputFormat::Csv,
        "tsv" => InputFormat::Tsv,
        "jsonl" => InputFormat::Jsonl,
        "json" => InputFormat::Json,
        "lines" => InputFormat::Lines,
        _ => return Err(InvalidValue::Choice(&INPUT_FORMATS)),
    })
}

/// Returns the word by which [`input_format`] reads a format back.
pub fn input_format_name(format: InputFormat) -> &'static str {
    match format {
        InputFormat::Auto => "auto",
        InputFormat::Csv => "csv",
        InputFormat::Tsv => "tsv",
        InputFormat::Jsonl => "jsonl",
        InputFormat::Json => "json",
        InputFormat::Lines => "lines",
    }
}

/// Reads a tenant: a GUID, which is then in lower case, or a domain name.
///
/// # Errors
/// Returns that it is neither.
pub fn tenant(text: &str) -> Result<String, InvalidValue> {
    let name = text.trim().to_ascii_lowercase();
    let is_id = name.len() == 36 && uuid::Uuid::try_parse(&name).is_ok();
    let is_domain = name.contains('.')
        && name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
    if is_id || is_domain {
        Ok(name)
    } else {
        Err(InvalidValue::Tenant)
    }
}

/// Reads an application's id, which is then in lower case, as the claims of a token have it.
///
/// # Errors
/// Returns that it is none.
pub fn client(text: &str) -> Result<String, InvalidValue> {
    let id = text.trim().to_ascii_lowercase();
    if id.len() == 36 && uuid::Uuid::try_parse(&id).is_ok() {
        Ok(id)
    } else {
        Err(InvalidValue::Client)
    }
}

/// Reads the path of a token file.
///
/// # Errors
/// Returns that it is blank or looks like a token, which then must not be shown.
pub fn token_path(text: &OsStr) -> Result<PathBuf, InvalidValue> {
    if text.is_empty() {
        return Err(InvalidValue::Blank);
    }
    // A signed token has three parts, the first of which is `{"` in base64.
    let text_seen = text.to_string_lossy();
    if text_seen.starts_with("eyJ") && text_seen.matches('.').count() >= 2 {
        return Err(InvalidValue::TokenItself);
    }
    Ok(PathBuf::from(text))
}

/// Reads the path of a file that holds a client secret.
///
/// # Errors
/// Returns that it is blank or looks like a secret, which then must not be shown.
pub fn secret_path(text: &OsStr) -> Result<PathBuf, InvalidValue> {
    if text.is_empty() {
        return Err(InvalidValue::Blank);
    }
    // Entra's secrets have 40 characters or so, a `~` among the first five, and hardly ever exist as a file.
    let seen = text.to_string_lossy();
    let looks_secret = (34..=44).contains(&seen.len())
        && seen.chars().take(6).skip(3).any(|letter| letter == '~')
        && !seen.contains(['/', '\\']);
    if looks_secret {
        return Err(InvalidValue::SecretItself);
    }
    Ok(PathBuf::from(text))
}

/// Reads the path of a file that holds a certificate with its key.
///
/// # Errors
/// Returns that it is blank or looks like a certificate or a key, which then must not be shown.
pub fn certificate_path(text: &OsStr) -> Result<PathBuf, InvalidValue> {
    if text.is_empty() {
        return Err(InvalidValue::Blank);
    }
    if text.to_string_lossy().contains("-----BEGIN") {
        return Err(InvalidValue::CertificateItself);
    }
    Ok(PathBuf::from(text))
}

/// Reads the scope that tokens are asked for; `/.default` is added where it is missing.
///
/// # Errors
/// Returns that it is none.
pub fn api_scope(text: &str) -> Result<String, InvalidValue> {
    let bare = text.trim().trim_end_matches('/');
    let bare = bare.strip_suffix("/.default").unwrap_or(bare);
    let is_plain = bare
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_:/".contains(&byte));
    if bare.is_empty() || !is_plain {
        return Err(InvalidValue::ApiScope);
    }
    Ok(format!("{bare}/.default"))
}

/// Reads yes or no, as people write them in variables.
///
/// # Errors
/// Returns the words there are.
pub fn yes_or_no(text: &str) -> Result<bool, InvalidValue> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(InvalidValue::Choice(&[
            "1", "true", "yes", "0", "false", "no",
        ])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_stay_between_their_bounds() {
        assert_eq!(timeout("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(timeout("30"), Err(InvalidValue::Duration));
        for text in ["0s", "99ms", "25h", "2d"] {
            let bounds = InvalidValue::DurationBounds { least: "100 ms" };
            assert_eq!(timeout(text), Err(bounds), "{text}");
        }
        assert_eq!(bound("1w"), Ok(Duration::from_secs(7 * 24 * 3600)));
        assert_eq!(bound("8d"), Err(InvalidValue::BoundBounds));
        assert_eq!(grace("0s"), Ok(Duration::ZERO));
        assert!(grace("25h").is_err());
    }

    #[test]
    fn counts_stay_between_their_bounds() {
        assert_eq!(concurrency("1024"), Ok(1024));
        assert_eq!(attempts(" 1 "), Ok(1));
        for text in ["0", "1025", "-1", "x", "", "1.5", "99999999999"] {
            assert!(concurrency(text).is_err(), "{text}");
        }
        assert!(attempts("101").is_err());
    }

    #[test]
    fn only_protected_types_can_be_allowed() {
        assert_eq!(protected_type(" unisolate"), Ok(ActionType::Unisolate));
        assert_eq!(protected_type("unknown"), Ok(ActionType::Unknown));
        for text in ["Isolate", "LiveResponse", "all", "", "unknwon"] {
            assert_eq!(
                protected_type(text),
                Err(InvalidValue::NotProtected),
                "{text}"
            );
        }
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
            assert_eq!(tenant(text), Err(InvalidValue::Tenant), "{text}");
        }
        assert!(client("contoso.onmicrosoft.com").is_err());
    }

    #[test]
    fn every_word_of_an_input_format_is_read() {
        for word in INPUT_FORMATS {
            assert_eq!(input_format(word).map(input_format_name), Ok(word));
        }
        assert!(input_format("xlsx").is_err());
    }
}
