//! The config file: settings at its top, and named profiles that beat them.
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
//! Each key is a flag's name and stands in for the flag's variable, so that values are read in one place whichever layer
//! they come from. What arms the tool has no key, and a secret is named by its file or its variable, never written down.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::{Table, Value};

use crate::platform::{Exposure, exposure, foreign_link};

use super::config_key::{KEYS, Key, Kind, SECRETS, is_flag_only, is_secret_itself, nearest};

/// How the file is called in the platform's config folder.
pub(super) const CONFIG_FILE: &str = "mde-cancel.toml";

/// The table that holds the profiles.
const PROFILES: &str = "profile";

/// The largest file that is read. A real one has some kilobytes.
const MAX_FILE: u64 = 1024 * 1024;

/// What the config file says, with one profile laid over its top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigLayer {
    tables: Arc<Tables>,
    profile: Option<String>,
    /// Whether that was typed, and not left in a variable.
    is_typed: bool,
    values: Vec<Entry>,
}

/// What stands in the file.
#[derive(Debug, PartialEq, Eq)]
struct Tables {
    path: PathBuf,
    top: Vec<Entry>,
    profiles: Vec<(String, Vec<Entry>)>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: &'static Key,
    /// As a variable would hold it.
    value: String,
    /// Whether it stands in the profile.
    in_profile: bool,
}

/// What is wrong with a config file. It holds no value of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    path: PathBuf,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    Unreadable(String),
    /// Others may write what it says.
    Exposed(Exposure),
    ForeignLink(PathBuf),
    TooLong,
    Syntax(String),
    UnknownKey(String),
    FlagOnly(String),
    Secret(String),
    SecretItself(&'static str),
    NoValue(String),
    NoProfile(String, Vec<String>),
    NotATable(String),
    /// A word that could mean either of two profiles.
    Ambiguous(String, String),
    Reserved,
}

impl ConfigLayer {
    /// Reads a file and lays `profile` over it.
    ///
    /// # Errors
    /// Returns what the file must not or cannot say; the whole of it is checked, other profiles too.
    pub fn load(path: &Path, profile: Option<&str>) -> Result<Self, ConfigFault> {
        let fault = |problem| ConfigFault {
            path: path.to_owned(),
            problem,
        };
        let text = read(path).map_err(fault)?;
        Self::parse(&text, path, profile).map_err(fault)
    }

    fn parse(text: &str, path: &Path, profile: Option<&str>) -> Result<Self, Problem> {
        let mut top: Table = text.trim_start_matches('\u{feff}').parse().map_err(
            // The parser's own report repeats the line, in which a secret may stand.
            |error: toml::de::Error| {
                let line = error.span().map_or(1, |span| {
                    1 + text[..span.start.min(text.len())].matches('\n').count()
                });
                Problem::Syntax(format!("line {line}: {}", error.message()))
            },
        )?;
        let profiles = match top.remove(PROFILES) {
            None => Table::new(),
            Some(Value::Table(profiles)) => profiles,
            Some(_) => return Err(Problem::NotATable(PROFILES.to_owned())),
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let top = entries(&top, folder, false)?;
        let mut tables = Vec::new();
        for (name, content) in &profiles {
            let Value::Table(content) = content else {
                return Err(Problem::NotATable(format!("{PROFILES}.{name}")));
            };
            tables.push((name.clone(), entries(content, folder, true)?));
        }
        check_names(&tables)?;
        let bare = Self {
            values: top.clone(),
            tables: Arc::new(Tables {
                path: path.to_owned(),
                top,
                profiles: tables,
            }),
            profile: None,
            is_typed: false,
        };
        match profile {
            None => Ok(bare),
            Some(name) => bare.under(name),
        }
    }

    /// Returns the file's top with another profile laid over it.
    fn under(&self, profile: &str) -> Result<Self, Problem> {
        let tables = &self.tables;
        let found = tables.profiles.iter().find(|(name, _)| name == profile);
        let Some((_, content)) = found else {
            return Err(Problem::NoProfile(profile.to_owned(), self.profiles()));
        };
        let kept = tables
            .top
            .iter()
            .filter(|entry| content.iter().all(|other| other.key != entry.key));
        Ok(Self {
            values: kept.chain(content).cloned().collect(),
            tables: Arc::clone(tables),
            profile: Some(profile.to_owned()),
            is_typed: self.is_typed,
        })
    }

    /// Returns the file's top with another profile laid over it.
    ///
    /// # Errors
    /// Returns that the file has no such profile.
    pub(super) fn with_profile(&self, profile: &str) -> Result<Self, ConfigFault> {
        self.under(profile).map_err(|problem| ConfigFault {
            path: self.tables.path.clone(),
            problem,
        })
    }

    /// Returns the names of all profiles of the file.
    pub(super) fn profiles(&self) -> Vec<String> {
        let names = self.tables.profiles.iter();
        names.map(|(name, _)| name.clone()).collect()
    }

    /// Returns what stands in for a variable.
    pub(super) fn value_for(&self, variable: &str) -> Option<&str> {
        self.entry(variable).map(|entry| entry.value.as_str())
    }

    /// Names the place where a variable's stand-in is written.
    pub(super) fn place_of(&self, variable: &str) -> String {
        let path = self.tables.path.display();
        match (self.entry(variable), &self.profile) {
            (Some(entry), Some(profile)) if entry.in_profile => {
                format!("{} of profile {profile} in {path}", entry.key.name)
            }
            (Some(entry), _) => format!("{} in {path}", entry.key.name),
            (None, _) => path.to_string(),
        }
    }

    /// Notes that the profile was typed.
    #[must_use]
    pub(super) fn typed(self) -> Self {
        Self {
            is_typed: true,
            ..self
        }
    }

    /// Returns whether it is a profile that was typed, and not the top of the file, that stands in for a variable.
    pub(super) fn is_of_typed_profile(&self, variable: &str) -> bool {
        let entry = self.entry(variable);
        self.is_typed && entry.is_some_and(|entry| entry.in_profile)
    }

    /// Returns where the file lies.
    pub fn path(&self) -> &Path {
        &self.tables.path
    }

    /// Returns which profile is laid over it.
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    fn entry(&self, variable: &str) -> Option<&Entry> {
        self.values
            .iter()
            .find(|entry| entry.key.variable == variable)
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| Problem::Unreadable(error.to_string());
    if let Some(link) = foreign_link(path) {
        return Err(Problem::ForeignLink(link));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    match exposure(&file, path).map_err(unreadable)? {
        // It holds no secret, but says where tokens go.
        None | Some(Exposure::Readable) => {}
        Some(exposure) => return Err(Problem::Exposed(exposure)),
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Problem::TooLong);
    }
    Ok(text)
}

/// Refuses profiles that a word could mix up: by case alone, or because one is called like another's tenant. A row goes to
/// the tenant that its word means, so that there must be one.
fn check_names(profiles: &[(String, Vec<Entry>)]) -> Result<(), Problem> {
    let tenant = |entries: &[Entry]| {
        let mut entries = entries.iter();
        let tenant = entries.find(|entry| entry.key.name == "tenant-id");
        tenant.map(|entry| entry.value.trim().to_lowercase())
    };
    for (position, (name, _)) in profiles.iter().enumerate() {
        let word = name.trim().to_lowercase();
        if word == super::ALL_PROFILES {
            return Err(Problem::Reserved);
        }
        for (other_position, (other, entries)) in profiles.iter().enumerate() {
            let is_other = other_position != position;
            let is_same_name = other_position < position && other.trim().to_lowercase() == word;
            if is_same_name || is_other && tenant(entries).as_ref() == Some(&word) {
                return Err(Problem::Ambiguous(name.clone(), other.clone()));
            }
        }
    }
    Ok(())
}

/// Reads the settings of one table.
fn entries(table: &Table, folder: &Path, in_profile: bool) -> Result<Vec<Entry>, Problem> {
    table
        .iter()
        .map(|(name, value)| {
            let key = known(name)?;
            if value
                .as_str()
                .is_some_and(|text| is_secret_itself(key.name, text.as_ref()))
            {
                return Err(Problem::SecretItself(key.name));
            }
            let value =
                written(key, value, folder).ok_or_else(|| Problem::NoValue(name.clone()))?;
            Ok(Entry {
                key,
                value,
                in_profile,
            })
        })
        .collect()
}

fn known(name: &str) -> Result<&'static Key, Problem> {
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return Ok(key);
    }
    Err(if SECRETS.contains(&name) {
        Problem::Secret(name.to_owned())
    } else if is_flag_only(name) {
        Problem::FlagOnly(name.to_owned())
    } else {
        Problem::UnknownKey(name.to_owned())
    })
}

/// Writes a value as the variable would hold it; the parts of a list stand between commas there.
fn written(key: &Key, value: &Value, folder: &Path) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        Value::Array(parts) if key.kind == Kind::List => {
            let parts: Option<Vec<_>> = parts.iter().map(Value::as_str).collect();
            parts?.join(",")
        }
        _ => return None,
    };
    if text.trim().is_empty() {
        return None;
    }
    if key.kind == Kind::SecretVariable {
        // Anything else may be the secret itself, and must not be shown.
        let is_name = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return is_name.then_some(text);
    }
    if key.kind != Kind::Path || text == "-" {
        return Some(text);
    }
    // A path is meant from where the file lies, not from wherever the program happens to be started.
    folder.join(text).to_str().map(str::to_owned)
}

impl ConfigFault {
    /// Makes the fault of a profile that is asked for where no file is.
    pub(super) fn no_file(path: Option<&Path>, profile: &str) -> Self {
        Self {
            path: path.map_or_else(|| PathBuf::from(CONFIG_FILE), Path::to_owned),
            problem: Problem::NoProfile(profile.to_owned(), Vec::new()),
        }
    }

    /// Returns what helps.
    pub fn hint(&self) -> Option<String> {
        match &self.problem {
            Problem::FlagOnly(name) => Some(format!("type --{name} where it is wanted")),
            Problem::Secret(name) => Some(format!(
                "name a file that only its owner can read with {name}-file, or a variable with {name}-env"
            )),
            Problem::SecretItself(_) => {
                Some("write it to a file that only its owner can read, and name that".to_owned())
            }
            Problem::UnknownKey(name) => nearest(name).map(|near| format!("did you mean {near}?")),
            Problem::NoProfile(_, names) if names.is_empty() => {
                Some("write a table [profile.NAME] for it, or leave out --profile".to_owned())
            }
            Problem::NoProfile(_, names) => Some(format!("it has: {}", names.join(", "))),
            Problem::Exposed(Exposure::Writable) => {
                Some("check what is in it, then let nobody else change it (chmod go-w)".to_owned())
            }
            Problem::Exposed(exposure) => Some(exposure.hint().to_owned()),
            Problem::ForeignLink(_) => Some("name the file itself".to_owned()),
            Problem::Ambiguous(..) | Problem::Reserved => Some("rename one of them".to_owned()),
            Problem::Unreadable(_)
            | Problem::TooLong
            | Problem::Syntax(_)
            | Problem::NoValue(_)
            | Problem::NotATable(_) => None,
        }
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Unreadable(why) => write!(f, "config file {path} cannot be read: {why}"),
            Problem::Exposed(exposure) => write!(f, "config file {path} {exposure}"),
            Problem::ForeignLink(link) => write!(
                f,
                "config file {path}: the link {} belongs to somebody else",
                link.display()
            ),
            Problem::TooLong => write!(f, "config file {path} has more than {MAX_FILE} bytes"),
            Problem::Syntax(what) => write!(f, "config file {path} is no TOML: {what}"),
            Problem::UnknownKey(name) => {
                write!(f, "config file {path}: there is no setting {name}")
            }
            Problem::FlagOnly(name) => {
                write!(f, "config file {path}: {name} is never read from a file")
            }
            Problem::Secret(name) => {
                write!(
                    f,
                    "config file {path}: no secret may stand there, as in {name}"
                )
            }
            Problem::SecretItself(name) => {
                write!(
                    f,
                    "config file {path}: {name} is to name a file, and holds the secret itself"
                )
            }
            Problem::NoValue(name) => write!(f, "config file {path}: {name} holds no value for it"),
            Problem::NoProfile(name, _) => write!(f, "config file {path} has no profile {name}"),
            Problem::Ambiguous(name, other) => write!(
                f,
                "config file {path}: the name of profile {name} could mean profile {other}, too"
            ),
            Problem::Reserved => write!(
                f,
                "config file {path}: no profile can be called `all`, which means every profile"
            ),
            Problem::NotATable(name) => write!(f, "config file {path}: {name} is no table"),
        }
    }
}
