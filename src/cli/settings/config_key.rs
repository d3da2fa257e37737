//! The keys of the config file, each with the variable that it stands in for and the default that holds without it.

use std::ffi::OsStr;

use clap::CommandFactory as _;

use crate::cli::args::{Cli, value};

/// What kind of value a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One text, number or yes/no.
    Text,
    /// A path, meant from the config file's folder.
    Path,
    /// One text, or several.
    List,
    /// The name of a variable that holds a secret.
    SecretVariable,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) variable: &'static str,
    /// In words where it is no value.
    pub(super) default: &'static str,
    pub(super) kind: Kind,
}

const fn key(name: &'static str, variable: &'static str, default: &'static str) -> Key {
    Key {
        name,
        variable,
        default,
        kind: Kind::Text,
    }
}

const fn of(kind: Kind, key: Key) -> Key {
    Key { kind, ..key }
}

/// Names the variable that a key of the config file stands in for, although nobody is to set it.
pub(super) const SECRET_VARIABLE: &str = "(client-secret-env)";

/// The same for a ready token.
pub(super) const TOKEN_VARIABLE: &str = "(token-env)";

/// Every key there is.
pub(super) const KEYS: &[Key] = &[
    key("tenant-id", "AZURE_TENANT_ID", "the token's"),
    key("client-id", "AZURE_CLIENT_ID", "the token's"),
    key("credential", "MDE_CANCEL_CREDENTIAL", "auto"),
    of(
        Kind::Path,
        key(
            "client-secret-file",
            "MDE_CANCEL_CLIENT_SECRET_FILE",
            "none",
        ),
    ),
    of(
        Kind::SecretVariable,
        key("client-secret-env", SECRET_VARIABLE, "AZURE_CLIENT_SECRET"),
    ),
    of(
        Kind::Path,
        key(
            "client-certificate-file",
            "AZURE_CLIENT_CERTIFICATE_PATH",
            "none",
        ),
    ),
    of(
        Kind::Path,
        key("federated-token-file", "AZURE_FEDERATED_TOKEN_FILE", "none"),
    ),
    of(
        Kind::Path,
        key("token-file", "MDE_CANCEL_TOKEN_FILE", "none"),
    ),
    of(
        Kind::SecretVariable,
        key("token-env", TOKEN_VARIABLE, "MDE_CANCEL_TOKEN"),
    ),
    key("cloud", "MDE_CANCEL_CLOUD", "commercial"),
    key("region", "MDE_CANCEL_REGION", "none"),
    key("api-url", "MDE_CANCEL_API_URL", "the cloud's"),
    key("api-scope", "MDE_CANCEL_API_SCOPE", "the cloud's"),
    key("login-url", "AZURE_AUTHORITY_HOST", "the cloud's"),
    of(Kind::Path, key("ca-file", "MDE_CANCEL_CA_FILE", "none")),
    key("input-format", "MDE_CANCEL_INPUT_FORMAT", "auto"),
    key(
        "comment",
        "MDE_CANCEL_COMMENT",
        "the row's own, or one that names the run",
    ),
    key("no-verify", "MDE_CANCEL_NO_VERIFY", "no"),
    key("verify-timeout", "MDE_CANCEL_VERIFY_TIMEOUT", "2m"),
    of(
        Kind::List,
        key("quota", "MDE_CANCEL_QUOTA", "100/1m,1500/1h"),
    ),
    of(
        Kind::List,
        key("read-quota", "MDE_CANCEL_READ_QUOTA", "50/1m,750/1h"),
    ),
    key("stop-after", "MDE_CANCEL_STOP_AFTER", "none"),
    key("max-failures", "MDE_CANCEL_MAX_FAILURES", "none"),
    of(
        Kind::Path,
        key("report", "MDE_CANCEL_REPORT", "./mde-cancel-<run id>.csv"),
    ),
    of(Kind::Path, key("follow-up", "MDE_CANCEL_FOLLOW_UP", "none")),
    of(
        Kind::Path,
        key("metrics-file", "MDE_CANCEL_METRICS_FILE", "none"),
    ),
    of(
        Kind::Path,
        key(
            "state-dir",
            "MDE_CANCEL_STATE_DIR",
            "the platform's state folder",
        ),
    ),
    key("log-format", "MDE_CANCEL_LOG_FORMAT", "text"),
    of(Kind::Path, key("log-file", "MDE_CANCEL_LOG_FILE", "none")),
    key("log", "MDE_CANCEL_LOG", "by -v and -q"),
    key("progress", "MDE_CANCEL_PROGRESS", "auto"),
    key("color", "MDE_CANCEL_COLOR", "auto"),
];

/// Returns whether a name is a flag that is typed or does not hold: what arms the tool, chooses what is sent, decides
/// which world is touched, or is there for those who measure.
pub(super) fn is_flag_only(name: &str) -> bool {
    let root = Cli::command();
    let mut commands = root.get_subcommands();
    commands.any(|command| {
        let mut flags = command.get_arguments();
        flags.any(|flag| flag.get_long() == Some(name))
    })
}

/// Names under which people write secrets down.
pub(super) const SECRETS: &[&str] = &[
    "client-secret",
    "token",
    "secret",
    "password",
    "access-token",
];

/// Returns whether what should name a file looks like the secret that was to stand in it.
pub(super) fn is_secret_itself(key: &str, text: &OsStr) -> bool {
    let read = match key {
        "client-secret-file" => value::secret_path,
        "token-file" | "federated-token-file" => value::token_path,
        "client-certificate-file" => value::certificate_path,
        _ => return false,
    };
    read(text).is_err()
}

/// Returns the key that was probably meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let plain = name.to_ascii_lowercase().replace('_', "-");
    KEYS.iter()
        .map(|key| (strsim::damerau_levenshtein(&plain, key.name), key.name))
        .min()
        // Beyond a third of the word it is another word.
        .filter(|(far, near)| *far <= near.len().div_ceil(3))
        .map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_word_of_another_kind_is_not() {
        for (typed, meant) in [
            ("tenant_id", Some("tenant-id")),
            ("tenantid", Some("tenant-id")),
            ("Client-Id", Some("client-id")),
            ("stop-afetr", Some("stop-after")),
            ("qouta", Some("quota")),
            ("colour", Some("color")),
            ("xyzzy", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed), meant, "{typed}");
        }
    }

    #[test]
    fn no_key_arms_anything_or_holds_a_secret_and_none_stands_twice() {
        let mut names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        let mut variables: Vec<_> = KEYS.iter().map(|key| key.variable).collect();
        let flags = [
            "yes",
            "type",
            "exclude-from",
            "id-column",
            "timeout",
            "sandbox",
        ];
        for name in flags.iter().chain(SECRETS) {
            assert!(!names.contains(name), "{name}");
        }
        assert!(flags.iter().all(|name| is_flag_only(name)));
        assert!(!is_flag_only("xyzzy") && !is_flag_only(""));
        names.sort_unstable();
        names.dedup();
        variables.sort_unstable();
        variables.dedup();
        assert_eq!((names.len(), variables.len()), (KEYS.len(), KEYS.len()));
    }
}
