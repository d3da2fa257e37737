//! The config file: settings at the top, and named profiles that override them.
//!
//! ```toml
//! verify-timeout = "5m"
//!
//! [profile.contoso]
//! tenant-id = "contoso.onmicrosoft.com"
//! client-id = "11111111-2222-3333-4444-555555555555"
//! client-secret-file = "contoso.secret"
//! ```
//!
//! Each key is the name of a flag that also has a variable. Secrets are given by file or variable.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Arg, Command, CommandFactory as _, ValueHint};
use toml::{Table, Value};

use crate::cli::args::{Cli, variable_of};
use crate::cli::failure::Failure;
use crate::cli::flag_values::is_secret_itself;
use crate::platform::{Exposure, exposure, foreign_link};

use super::{ALL_PROFILES, Origin};

/// The file's name in the user's config folder.
pub(super) const CONFIG_FILE: &str = "mde-cancel.toml";

/// Keys for the variable of a secret. They have no flag.
pub(super) const SECRET_KEYS: [&str; 2] = ["client-secret-env", "token-env"];

/// Keys that people may try for a secret.
const SECRETS: [&str; 5] = [
    "client-secret",
    "token",
    "secret",
    "password",
    "access-token",
];

const PROFILES: &str = "profile";

/// Real files have a few kilobytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Values by key, in the form of variables.
type Values = BTreeMap<String, OsString>;

#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    top: Values,
    profiles: BTreeMap<String, Values>,
}

impl ConfigFile {
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let read = read(path).and_then(|text| Self::parse(&text, path));
        read.map_err(|failure| Failure {
            error: anyhow!("{}: {}", path.display(), failure.error),
            ..failure
        })
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let mut top: Table = text.trim_start_matches('\u{feff}').parse().map_err(
            // The parser's own report repeats the line, which may contain a secret.
            |error: toml::de::Error| {
                let start = error.span().map_or(0, |span| span.start.min(text.len()));
                let line = 1 + text[..start].matches('\n').count();
                fault(format!("not TOML: line {line}: {}", error.message()))
            },
        )?;
        let not_a_table = |name: &str| fault(format!("`{name}` is not a table"));
        let tables = match top.remove(PROFILES) {
            None => Table::new(),
            Some(Value::Table(profiles)) => profiles,
            Some(_) => return Err(not_a_table(PROFILES)),
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let root = Cli::command();
        let flags = flags_by_name(&root);
        let mut profiles = BTreeMap::new();
        for (name, table) in tables {
            let Value::Table(table) = table else {
                return Err(not_a_table(&format!("{PROFILES}.{name}")));
            };
            profiles.insert(name, values(&table, &flags, folder)?);
        }
        check_names(&profiles)?;
        Ok(Self {
            path: path.to_owned(),
            top: values(&top, &flags, folder)?,
            profiles,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn profiles(&self) -> Vec<String> {
        self.profiles.keys().cloned().collect()
    }

    pub fn check_profile(&self, name: &str) -> Result<(), Failure> {
        match self.profiles.get(name) {
            Some(_) => Ok(()),
            None => Err(no_profile(&self.path, name, &self.profiles())),
        }
    }

    /// Returns a key's value from the profile, or else from the top of the file.
    pub(super) fn get(&self, key: &str, profile: Option<&str>) -> Option<(OsString, Origin)> {
        let path = self.path.display();
        let in_profile = profile.and_then(|name| {
            let value = self.profiles.get(name)?.get(key)?;
            let place = format!("{key} of profile {name} in {path}");
            Some((value.clone(), Origin::Config(place, true)))
        });
        in_profile.or_else(|| {
            let place = format!("{key} in {path}");
            Some((self.top.get(key)?.clone(), Origin::Config(place, false)))
        })
    }
}

/// `problem` must not repeat a value of the file, which may be a secret.
fn fault(problem: impl fmt::Display) -> Failure {
    Failure::refused(anyhow!("{problem}"))
}

pub(super) fn no_profile(path: &Path, name: &str, known: &[String]) -> Failure {
    let hint = if known.is_empty() {
        format!("add a table [profile.{name}], or leave out --profile")
    } else {
        format!("it has: {}", known.join(", "))
    };
    fault(format!("{}: there is no profile {name}", path.display())).hint(hint)
}

fn read(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| fault(format!("cannot be read: {error}"));
    if let Some(link) = foreign_link(path) {
        let link = link.display();
        return Err(fault(format!("the link {link} belongs to another user"))
            .hint("name the file itself with --config"));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    match exposure(&file, path).map_err(unreadable)? {
        // It contains no secret, but it decides where tokens are sent.
        None | Some(Exposure::Readable) => {}
        Some(exposed) => {
            return Err(fault(format!("it {exposed}")).hint(exposed.public_hint()));
        }
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(fault(format!("it has more than {MAX_FILE} bytes")));
    }
    Ok(text)
}

/// Refuses names that differ only in case, or equal another profile's tenant: a row's tenant must select one profile.
fn check_names(profiles: &BTreeMap<String, Values>) -> Result<(), Failure> {
    let word = |name: &str| name.trim().to_lowercase();
    let tenant = |values: &Values| Some(word(&values.get("tenant-id")?.to_string_lossy()));
    let words: Vec<_> = profiles
        .iter()
        .map(|(name, values)| (name, word(name), tenant(values)))
        .collect();
    for (position, (name, word, _)) in words.iter().enumerate() {
        if word == ALL_PROFILES {
            let all = fault("no profile can be called `all`, which means every profile");
            return Err(all.hint("rename it"));
        }
        for (other_position, (other, other_word, tenant)) in words.iter().enumerate() {
            let is_same_name = other_position < position && other_word == word;
            let is_tenant = other_position != position && tenant.as_ref() == Some(word);
            if is_same_name || is_tenant {
                let both = fault(format!(
                    "the name of profile {name} could mean profile {other}, too"
                ));
                return Err(both.hint("rename one of them"));
            }
        }
    }
    Ok(())
}

/// Returns every flag of every command; names may repeat.
fn flags(command: &Command) -> Vec<&Arg> {
    let inner = command.get_subcommands().flat_map(flags);
    command.get_arguments().chain(inner).collect()
}

/// Flags, and whether the file may set them.
type FlagsByName<'a> = BTreeMap<&'a str, (&'a Arg, bool)>;

fn flags_by_name(root: &Command) -> FlagsByName<'_> {
    let mut known = FlagsByName::new();
    for flag in flags(root) {
        let Some(name) = flag.get_long() else {
            continue;
        };
        let is_key = variable_of(flag).is_some() && !["config", "profile"].contains(&name);
        // Commands may differ in whether the file may set a flag.
        if is_key || !known.contains_key(name) {
            known.insert(name, (flag, is_key));
        }
    }
    known
}

fn values(table: &Table, flags: &FlagsByName<'_>, folder: &Path) -> Result<Values, Failure> {
    let mut values = Values::new();
    for (key, value) in table {
        let value = match flags.get(key.as_str()) {
            Some((flag, true)) => written(flag, value, folder),
            None if SECRET_KEYS.contains(&key.as_str()) => variable_name(value),
            _ => return Err(unknown_key(key, flags)),
        };
        let value = value.ok_or_else(|| fault(format!("`{key}` has no usable value")))?;
        let is_secret_file = ["-secret-file", "token-file", "-certificate-file"];
        if is_secret_file.iter().any(|ending| key.ends_with(ending)) && is_secret_itself(&value) {
            let secret = fault(format!(
                "`{key}` must name a file, but holds the secret itself"
            ));
            return Err(
                secret.hint("write the secret to a file that only you can read, and name that")
            );
        }
        values.insert(key.clone(), value);
    }
    Ok(values)
}

fn unknown_key(key: &str, flags: &FlagsByName<'_>) -> Failure {
    if SECRETS.contains(&key) {
        return fault(format!("`{key}`: a secret can't be written here")).hint(format!(
            "name a file that only you can read with {key}-file, or a variable with {key}-env"
        ));
    }
    if flags.contains_key(key) {
        return fault(format!("`{key}` can't be set in a file"))
            .hint(format!("type --{key} where you want it"));
    }
    let plain = key.to_ascii_lowercase().replace('_', "-");
    let keys = flags.iter().filter(|(_, (_, is_key))| *is_key);
    let nearest = keys
        .map(|(key, _)| *key)
        .chain(SECRET_KEYS)
        .map(|key| (strsim::damerau_levenshtein(&plain, key), key))
        .min()
        // A word with more than a third changed is another word.
        .filter(|(distance, near)| *distance <= near.len().div_ceil(3));
    let unknown = fault(format!("unknown setting `{key}`"));
    match nearest {
        Some((_, near)) => unknown.hint(format!("did you mean `{near}`?")),
        None => unknown,
    }
}

/// Returns a value in the form of a variable: lists with commas, paths relative to the file's folder.
fn written(flag: &Arg, value: &Value, folder: &Path) -> Option<OsString> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        Value::Array(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(Value::as_str).collect();
            parts?.join(",")
        }
        _ => return None,
    };
    if text.trim().is_empty() {
        return None;
    }
    let is_path = matches!(
        flag.get_value_hint(),
        ValueHint::AnyPath | ValueHint::FilePath
    );
    Some(
        if is_path && text != "-" && !is_secret_itself(text.as_ref()) {
            folder.join(text).into_os_string()
        } else {
            text.into()
        },
    )
}

/// Anything but a name may be the secret itself.
fn variable_name(value: &Value) -> Option<OsString> {
    let name = value.as_str()?;
    let mut bytes = name.bytes();
    let is_name =
        !name.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then(|| name.into())
}
