//! A run's configuration, set by its command line and reused by a resume.
//!
//! The journal stores it as JSON, and reports show it. Its names are those of the flags; names stored by earlier
//! versions are read, too. It contains no secret and nothing about the sign-in, which each resume gets anew.

use std::fmt::Display;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::engine::core::MaxFailures;
use crate::engine::{PlanId, Precheck, SkipRules};
use crate::input::{InputFormat, InputSettings};
use crate::model::{ActionStatus, ActionType, ExclusionList, Operation, Selection};
use crate::quota::{Pace, Window, Windows};
use crate::retry::RetrySettings;

use super::args::{OutputPaths, QuotaWindowArgs, ReleaseArgs, RunArgs, SendArgs};
use super::flag_values;
use super::settings::time_scale;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunConfig {
    #[serde(default, with = "OperationText")]
    pub(super) operation: Operation,
    pub(super) comment: Option<String>,
    #[serde(
        alias = "include_types",
        serialize_with = "texts",
        deserialize_with = "types"
    )]
    pub(super) allow_protected: Vec<ActionType>,
    #[serde(rename = "no_precheck", alias = "no_triage", with = "NoPrecheck")]
    pub(super) precheck: Precheck,
    /// Ages are stored as times.
    #[serde(
        default,
        skip_serializing_if = "Selection::is_all",
        with = "StoredSelection"
    )]
    pub(super) selection: Selection,
    #[serde(flatten, with = "StoredExclusions")]
    pub(super) exclude: ExclusionList,
    #[serde(with = "WindowTexts")]
    pub(super) quota: Windows,
    #[serde(with = "WindowTexts")]
    pub(super) read_quota: Windows,
    #[serde(alias = "pace", with = "RateText")]
    pub(super) rate: Option<Pace>,
    pub(super) concurrency: u32,
    /// Like the tenants, absent from runs of versions that knew only one tenant.
    #[serde(alias = "max_in_flight", default = "total_concurrency")]
    pub(super) total_concurrency: u32,
    /// Empty if the run has one tenant.
    #[serde(alias = "lanes", default)]
    pub(super) tenants: Vec<StoredTenant>,
    pub(super) max_attempts: u32,
    #[serde(rename = "timeout_ms", with = "Millis")]
    pub(super) timeout: Duration,
    #[serde(rename = "timeout_grace_ms", alias = "fate_grace_ms", with = "Millis")]
    pub(super) timeout_grace: Duration,
    #[serde(rename = "give_up_after_ms", with = "Millis")]
    pub(super) give_up_after: Duration,
    #[serde(with = "FailuresText")]
    pub(super) max_failures: Option<MaxFailures>,
    /// Also checked on a resume, because a run may have died before its plan was confirmed.
    #[serde(default)]
    pub(super) max_actions: Option<u64>,
    /// How long accepted cancels are watched; `None` means not at all.
    #[serde(rename = "verify_ms", with = "OptionalMillis")]
    pub(super) verify: Option<Duration>,
    /// Divides quota periods and waits; one outside the sandbox.
    #[serde(deserialize_with = "at_least_one")]
    pub(super) time_scale: u32,
    /// Whether the plan still has to be counted and confirmed. Absent once it is.
    #[serde(
        alias = "to_agree",
        default,
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub(super) needs_confirmation: bool,
    /// The id of the confirmed plan or, until then, of the approved one.
    #[serde(default)]
    pub(super) plan: Option<String>,
    pub(super) id_column: Option<String>,
    #[serde(with = "InputFormatWord")]
    pub(super) input_format: InputFormat,
    #[serde(default)]
    pub(super) outputs: OutputPaths,
}

/// A resume gets the sign-in anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredTenant {
    pub(super) profile: String,
    pub(super) cloud: String,
    pub(super) tenant: String,
    pub(super) app: String,
}

impl RunConfig {
    pub(super) fn new(args: &RunArgs, now: Timestamp, exclude: ExclusionList) -> Self {
        let plan = &args.plan;
        Self {
            comment: plan.comment.clone(),
            allow_protected: plan.allow_protected.clone(),
            precheck: plan.precheck(),
            selection: plan.selection(now),
            exclude,
            max_actions: args.max_actions,
            needs_confirmation: args.asks()
                || args.max_actions.is_some()
                || args.approved.is_some(),
            plan: args.approved.map(|plan| plan.to_string()),
            id_column: plan.input.id_column.clone(),
            input_format: plan.input.input_format,
            ..Self::sending(&args.send, &plan.quota, args.sandbox)
        }
    }

    pub(super) fn to_release(args: &ReleaseArgs, exclude: ExclusionList, is_sandbox: bool) -> Self {
        Self {
            operation: Operation::Release,
            comment: args.comment.clone(),
            selection: Selection {
                requestors: args.requestors.clone(),
                ..Selection::default()
            },
            exclude,
            needs_confirmation: true,
            ..Self::sending(&args.send, &args.quota, is_sandbox)
        }
    }

    /// Sets how calls are sent, and defaults for the rest.
    fn sending(args: &SendArgs, quota: &QuotaWindowArgs, is_sandbox: bool) -> Self {
        Self {
            operation: Operation::Cancel,
            comment: None,
            allow_protected: Vec::new(),
            precheck: Precheck::ReadFirst,
            selection: Selection::default(),
            exclude: ExclusionList::default(),
            quota: quota.cancels(),
            read_quota: quota.reads.reads(),
            rate: args.tuning.rate.0,
            concurrency: args.tuning.concurrency,
            total_concurrency: args.tuning.total_concurrency,
            tenants: Vec::new(),
            max_attempts: args.tuning.max_attempts,
            timeout: args.tuning.timeout,
            timeout_grace: args.tuning.timeout_grace,
            give_up_after: args.tuning.give_up_after,
            max_failures: args.max_failures,
            max_actions: None,
            verify: (!args.no_verify).then_some(args.verify_timeout),
            time_scale: time_scale(is_sandbox),
            needs_confirmation: false,
            plan: None,
            id_column: None,
            input_format: InputFormat::Auto,
            outputs: args.output.clone(),
        }
    }

    /// Returns the plan that was approved elsewhere, if it isn't yet compared with this run's.
    pub(super) fn approved(&self) -> Option<PlanId> {
        let plan = self.plan.as_deref().filter(|_| self.needs_confirmation)?;
        PlanId::parse(plan)
    }

    pub(super) fn rules(&self) -> SkipRules {
        SkipRules {
            allow_protected: self.allow_protected.clone(),
            precheck: self.precheck,
            selection: self.selection.clone(),
            exclude: self.exclude.clone(),
        }
    }

    /// Scaled to the run's clock.
    pub(super) fn verify_for(&self) -> Option<Duration> {
        self.verify.map(|timeout| timeout / self.time_scale)
    }

    /// Scaled to the run's clock.
    pub(super) fn retry(&self) -> RetrySettings {
        RetrySettings {
            max_attempts: self.max_attempts,
            timeout_grace: self.timeout_grace,
            ..RetrySettings::default()
        }
        .scaled_down(self.time_scale)
    }

    pub(super) fn input_settings(&self) -> InputSettings {
        InputSettings {
            id_column: self.id_column.clone(),
            format: self.input_format,
            checkpoints: true,
        }
    }

    pub(super) fn to_json(&self) -> String {
        let stored = Self {
            outputs: self.outputs.to_store(),
            ..self.clone()
        };
        // Every value has a JSON form.
        serde_json::to_string(&stored).unwrap_or_default()
    }

    pub(super) fn from_json(text: &str) -> anyhow::Result<Self> {
        serde_json::from_str(text).context("the journal's settings of the run cannot be read")
    }
}

/// Returns the configuration to store once the plan is confirmed, otherwise unchanged. A run keeps its first plan,
/// because a resume only sends what is left of it.
pub(super) fn confirmed(stored: &str, plan: Option<PlanId>) -> String {
    let Ok(mut config) = serde_json::from_str::<serde_json::Value>(stored) else {
        return stored.to_owned();
    };
    if let Some(config) = config.as_object_mut() {
        config.remove("needs_confirmation");
        config.remove("to_agree");
    }
    if let Some(plan) = plan
        && config["plan"].is_null()
    {
        config["plan"] = plan.to_string().into();
    }
    config.to_string()
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Selection")]
struct StoredSelection {
    #[serde(default, serialize_with = "texts", deserialize_with = "types")]
    types: Vec<ActionType>,
    #[serde(default, serialize_with = "texts", deserialize_with = "statuses")]
    statuses: Vec<ActionStatus>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    with_succeeded: bool,
    #[serde(default)]
    requestors: Vec<String>,
    #[serde(default)]
    machine_ids: Vec<String>,
    #[serde(default)]
    since: Option<Timestamp>,
    #[serde(default)]
    until: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct StoredExclusions {
    #[serde(rename = "exclude", alias = "keep", default)]
    lines: Vec<String>,
    #[serde(default)]
    exclude_file: Option<String>,
}

impl StoredExclusions {
    fn serialize<S: Serializer>(list: &ExclusionList, to: S) -> Result<S::Ok, S::Error> {
        let stored = Self {
            lines: list.lines().to_vec(),
            exclude_file: list.file().map(str::to_owned),
        };
        Serialize::serialize(&stored, to)
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ExclusionList, D::Error> {
        let stored = <Self as Deserialize>::deserialize(from)?;
        let mut list = ExclusionList::default().named(stored.exclude_file);
        stored.lines.iter().for_each(|line| list.add(line));
        Ok(list)
    }
}

fn texts<S: Serializer>(items: &[impl Display], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(items.iter().map(ToString::to_string))
}

fn types<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ActionType>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    Ok(texts.iter().map(|text| ActionType::parse(text)).collect())
}

fn statuses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ActionStatus>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    Ok(texts.iter().map(|text| ActionStatus::parse(text)).collect())
}

fn total_concurrency() -> u32 {
    256
}

fn at_least_one<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    Ok(u32::deserialize(from)?.max(1))
}

/// Defines a type that makes serde store a value as another type.
macro_rules! kept_as {
    ($name:ident: $value:ty as $kept:ty, $to:expr, $from:expr) => {
        struct $name;

        impl $name {
            fn serialize<S: Serializer>(value: &$value, to: S) -> Result<S::Ok, S::Error> {
                let keep: fn(&$value) -> $kept = $to;
                keep(value).serialize(to)
            }

            fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$value, D::Error> {
                let read: fn($kept) -> Result<$value, String> = $from;
                read(<$kept>::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

kept_as!(
    OperationText: Operation as String,
    |operation| operation.to_string(),
    |word| Operation::parse(&word).ok_or_else(|| format!("unknown operation `{word}`"))
);
kept_as!(NoPrecheck: Precheck as bool, |precheck| *precheck == Precheck::Skip, |skip| {
    Ok(if skip { Precheck::Skip } else { Precheck::ReadFirst })
});
kept_as!(Millis: Duration as u64, |span| to_millis(*span), |span| Ok(Duration::from_millis(span)));
kept_as!(
    OptionalMillis: Option<Duration> as Option<u64>,
    |span| span.map(to_millis),
    |span| Ok(span.map(Duration::from_millis))
);
kept_as!(
    WindowTexts: Windows as Vec<String>,
    |windows| windows.as_slice().iter().map(Window::to_string).collect(),
    |texts| {
        let windows: Result<Vec<_>, _> = texts.iter().map(|text| Window::parse(text)).collect();
        windows.map(Windows::new).map_err(|error| error.to_string())
    }
);
kept_as!(
    RateText: Option<Pace> as Option<String>,
    |rate| rate.as_ref().map(ToString::to_string),
    |text| match text {
        Some(text) => Pace::parse(&text).map_err(|error| error.to_string()),
        None => Ok(None),
    }
);
kept_as!(
    FailuresText: Option<MaxFailures> as Option<String>,
    |most| most.map(|most| match most {
        MaxFailures::Count(count) => count.to_string(),
        MaxFailures::Percent(share) => format!("{share}%"),
    }),
    |text| Ok(text.map(|text| flag_values::max_failures(&text)).transpose()?)
);
kept_as!(
    InputFormatWord: InputFormat as String,
    |format| {
        let mut known = flag_values::INPUT_FORMATS.iter();
        let found = known.find(|(_, known)| known == format);
        found.map(|(word, _)| (*word).to_owned()).unwrap_or_default()
    },
    |word| Ok(flag_values::input_format(&word)?)
);

fn to_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = r#"{
        "operation": "cancel", "comment": "CHG-4711", "allow_protected": ["Unisolate"], "no_precheck": true,
        "selection": {
            "types": ["Isolate"], "statuses": ["Pending"], "with_succeeded": true, "requestors": ["o'neil@x"],
            "machine_ids": ["0000000000000000000000000000000000000000"], "since": "1970-01-01T00:00:00Z", "until": null
        },
        "exclude": ["dc-01"], "exclude_file": "keep.txt", "quota": ["100/1m", "1500/1h"], "read_quota": [],
        "rate": "50/1s", "concurrency": 16, "total_concurrency": 300,
        "tenants": [{"profile": "contoso", "cloud": "commercial", "tenant": "contoso.example", "app": "-"}],
        "max_attempts": 6, "timeout_ms": 30000, "timeout_grace_ms": 120000, "give_up_after_ms": 5400000,
        "max_failures": "5%", "max_actions": 500, "verify_ms": 90000, "time_scale": 10, "needs_confirmation": true,
        "plan": "961c-2524-c3ed-07b1-4e02", "id_column": "Action", "input_format": "tsv",
        "outputs": {"reports": ["-"]}
    }"#;

    #[test]
    fn what_is_stored_is_read_back_and_an_agreement_changes_nothing_else() {
        let config = RunConfig::from_json(STORED).unwrap();
        let stored: serde_json::Value = serde_json::from_str(&config.to_json()).unwrap();
        let expected: serde_json::Value = serde_json::from_str(STORED).unwrap();
        assert_eq!(stored, expected);
        assert_eq!(config.exclude.lines(), ["dc-01"]);
        assert_eq!(config.verify_for(), Some(Duration::from_secs(9)));
        let agreed = RunConfig::from_json(&confirmed(STORED, None)).unwrap();
        let config = RunConfig {
            needs_confirmation: false,
            ..config
        };
        assert_eq!(format!("{agreed:?}"), format!("{config:?}"));
    }

    #[test]
    fn names_that_version_0_1_0_stored_are_read() {
        let old = [
            ("allow_protected", "include_types"),
            ("no_precheck", "no_triage"),
            ("exclude\"", "keep\""),
            ("\"rate", "\"pace"),
            ("total_concurrency", "max_in_flight"),
            ("tenants", "lanes"),
            ("timeout_grace", "fate_grace"),
            ("needs_confirmation", "to_agree"),
        ];
        let stored = old.iter().fold(STORED.to_owned(), |text, (now, then)| {
            text.replace(now, then)
        });
        let config = RunConfig::from_json(&stored).unwrap();
        assert_eq!(
            format!("{config:?}"),
            format!("{:?}", RunConfig::from_json(STORED).unwrap())
        );
        assert!(
            !RunConfig::from_json(&confirmed(&stored, None))
                .unwrap()
                .needs_confirmation
        );
    }

    #[test]
    fn what_older_versions_did_not_store_has_its_default() {
        let mut stored: serde_json::Value = serde_json::from_str(STORED).unwrap();
        for name in [
            "operation",
            "selection",
            "exclude",
            "exclude_file",
            "total_concurrency",
            "tenants",
            "max_actions",
            "needs_confirmation",
            "plan",
            "outputs",
        ] {
            stored.as_object_mut().unwrap().remove(name);
        }
        let config = RunConfig::from_json(&stored.to_string()).unwrap();
        assert!(config.selection.is_all() && config.exclude.is_empty());
        assert_eq!(config.total_concurrency, 256);
        assert!(!config.needs_confirmation);
        assert!(RunConfig::from_json("{}").is_err());
    }
}
