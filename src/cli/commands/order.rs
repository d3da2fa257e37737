//! How a run is carried out: what its settings say once and a resume says again.
//!
//! The journal keeps an order as JSON. No secret is among it, and nothing that says where to sign in: that is given
//! anew each time.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cli::settings::{Consent, OutputPaths, RunSettings, Verify, World};
use crate::engine::core::MaxFailures;
use crate::engine::{PlanId, Precheck, Rules};
use crate::model::{ActionStatus, ActionType, ExclusionList, Selection};
use crate::quota::{Pace, Window, Windows};
use crate::retry::RetrySettings;

/// How a run is carried out.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) comment: Option<String>,
    pub(super) include_types: Vec<ActionType>,
    pub(super) triage: Precheck,
    pub(super) selection: Selection,
    pub(super) keep: ExclusionList,
    pub(super) windows: Windows,
    pub(super) read_windows: Windows,
    pub(super) pace: Option<Pace>,
    pub(super) concurrency: u32,
    pub(super) total_concurrency: u32,
    /// The tenants of a run of several; none where it has one.
    pub(super) lanes: Vec<KeptLane>,
    pub(super) max_attempts: u32,
    pub(super) timeout: Duration,
    pub(super) timeout_grace: Duration,
    pub(super) give_up_after: Duration,
    pub(super) max_failures: Option<MaxFailures>,
    /// Held against what is left, too: a run may have died before anybody looked at its plan.
    pub(super) max_actions: Option<u64>,
    pub(super) verify: Verify,
    /// By what quota periods and waits are divided; one but in the sandbox.
    pub(super) time_scale: u32,
    pub(super) agreement: Agreement,
    /// The id of the plan that was agreed to.
    pub(super) plan: Option<String>,
    /// Where it writes.
    pub(super) outputs: OutputPaths,
}

/// Whether somebody agreed to what a run sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// Somebody did, or nobody needs to.
    Reached,
    /// Its plan is to be counted first, and shown to whoever is asked.
    Open,
}

/// One of several tenants as the journal keeps it: how to sign in is given anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptLane {
    pub(super) profile: String,
    pub(super) cloud: String,
    pub(super) tenant: String,
    pub(super) app: String,
}

/// An order as the journal keeps it. Unknown fields are ignored, so that an older program can resume a newer one's run.
#[derive(Serialize, Deserialize)]
struct Kept {
    comment: Option<String>,
    include_types: Vec<String>,
    #[serde(rename = "no_triage")]
    no_precheck: bool,
    /// Absent in runs of versions that selected nothing.
    #[serde(default)]
    selection: KeptSelection,
    #[serde(default)]
    keep: Vec<String>,
    #[serde(default)]
    exclude_file: Option<String>,
    quota: Vec<String>,
    read_quota: Vec<String>,
    pace: Option<String>,
    concurrency: u32,
    /// Absent, as the tenants, in runs of versions that knew one tenant alone.
    #[serde(default = "most_in_flight", rename = "max_in_flight")]
    total_concurrency: u32,
    #[serde(default)]
    lanes: Vec<KeptLane>,
    max_attempts: u32,
    timeout_ms: u64,
    fate_grace_ms: u64,
    give_up_after_ms: u64,
    max_failures: Option<String>,
    #[serde(default)]
    max_actions: Option<u64>,
    /// Nothing for no verifying.
    verify_ms: Option<u64>,
    time_scale: u32,
    /// Absent in runs that nobody needs to agree to, once somebody did, and in those of versions that did not say.
    #[serde(default)]
    to_agree: bool,
    #[serde(default)]
    plan: Option<String>,
    /// How the inputs are read, for a reading that is taken up again.
    id_column: Option<String>,
    input_format: String,
    #[serde(default)]
    outputs: OutputPaths,
}

/// A selection as the journal keeps it; ages have become times.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct KeptSelection {
    types: Vec<String>,
    statuses: Vec<String>,
    with_succeeded: bool,
    requestors: Vec<String>,
    machine_ids: Vec<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl KeptSelection {
    fn of(selection: &Selection) -> Self {
        Self {
            types: selection.types.iter().map(ToString::to_string).collect(),
            statuses: selection.statuses.iter().map(ToString::to_string).collect(),
            with_succeeded: selection.with_succeeded,
            requestors: selection.requestors.clone(),
            machine_ids: selection.machine_ids.clone(),
            since: selection.since,
            until: selection.until,
        }
    }

    fn recall(self) -> Selection {
        let types = self.types.iter().map(|text| ActionType::parse(text));
        let statuses = self.statuses.iter().map(|text| ActionStatus::parse(text));
        Selection {
            types: types.collect(),
            statuses: statuses.collect(),
            with_succeeded: self.with_succeeded,
            requestors: self.requestors,
            machine_ids: self.machine_ids,
            since: self.since,
            until: self.until,
        }
    }
}

impl Order {
    /// Takes over what the settings say; what a clock or a file tells is given with them.
    pub(super) fn of(
        settings: &RunSettings,
        (selection, keep): (Selection, ExclusionList),
    ) -> Self {
        Self {
            comment: settings.comment.clone(),
            include_types: settings.include_types.clone(),
            triage: settings.triage,
            selection,
            keep,
            windows: settings.allowance.cancel.clone(),
            read_windows: settings.allowance.read.clone(),
            pace: settings.pace.rate.0,
            concurrency: settings.pace.concurrency,
            total_concurrency: settings.pace.total_concurrency,
            lanes: Vec::new(),
            max_attempts: settings.pace.max_attempts,
            timeout: settings.pace.timeout,
            timeout_grace: settings.pace.timeout_grace,
            give_up_after: settings.pace.give_up_after,
            max_failures: settings.max_failures,
            max_actions: settings.max_actions,
            verify: settings.verify,
            time_scale: match settings.world {
                World::Sandbox { time_scale } => time_scale,
                World::Service(_) | World::Tenants(_) => 1,
            },
            agreement: if settings.consent == Consent::Ask || settings.max_actions.is_some() {
                Agreement::Open
            } else {
                Agreement::Reached
            },
            outputs: settings.outputs.clone(),
            plan: None,
        }
    }

    /// Returns what must not be sent.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            allow_protected: self.include_types.clone(),
            precheck: self.triage,
            selection: self.selection.clone(),
            exclude: self.keep.clone(),
        }
    }

    /// Returns for how long accepted cancels are watched, on the order's clock.
    pub(super) fn verify_for(&self) -> Option<Duration> {
        match self.verify {
            Verify::ReadAgain(timeout) => Some(timeout / self.time_scale),
            Verify::Skip => None,
        }
    }

    /// Returns the rules of retrying, on the order's clock.
    pub(super) fn retry(&self) -> RetrySettings {
        RetrySettings {
            max_attempts: self.max_attempts,
            timeout_grace: self.timeout_grace,
            ..RetrySettings::default()
        }
        .scaled_down(self.time_scale)
    }

    /// Returns the order as the journal keeps it, with how the inputs are read.
    pub(super) fn keep(&self, intake: &crate::input::InputSettings) -> String {
        let texts = |windows: &Windows| windows.as_slice().iter().map(Window::to_string).collect();
        let kept = Kept {
            comment: self.comment.clone(),
            include_types: self.include_types.iter().map(ToString::to_string).collect(),
            no_precheck: self.triage == Precheck::Skip,
            selection: KeptSelection::of(&self.selection),
            keep: self.keep.lines().to_vec(),
            exclude_file: self.keep.file().map(str::to_owned),
            quota: texts(&self.windows),
            read_quota: texts(&self.read_windows),
            pace: self.pace.map(|pace| pace.to_string()),
            concurrency: self.concurrency,
            total_concurrency: self.total_concurrency,
            lanes: self.lanes.clone(),
            max_attempts: self.max_attempts,
            timeout_ms: millis(self.timeout),
            fate_grace_ms: millis(self.timeout_grace),
            give_up_after_ms: millis(self.give_up_after),
            max_failures: self.max_failures.map(|most| match most {
                MaxFailures::Count(count) => count.to_string(),
                MaxFailures::Percent(share) => format!("{share}%"),
            }),
            max_actions: self.max_actions,
            verify_ms: match self.verify {
                Verify::ReadAgain(timeout) => Some(millis(timeout)),
                Verify::Skip => None,
            },
            time_scale: self.time_scale,
            to_agree: self.agreement == Agreement::Open,
            plan: self.plan.clone(),
            id_column: intake.id_column.clone(),
            input_format: crate::cli::args::value::input_format_name(intake.format).to_owned(),
            outputs: self.outputs.to_store(),
        };
        // A struct of texts and numbers has no shape that JSON lacks.
        serde_json::to_string(&kept).unwrap_or_default()
    }

    /// Reads an order back, with how the inputs are read.
    pub(super) fn recall(text: &str) -> anyhow::Result<(Self, crate::input::InputSettings)> {
        use crate::cli::args::value;
        let kept: Kept = serde_json::from_str(text)
            .context("the journal's settings of the run cannot be read")?;
        let windows = |texts: &[String]| -> anyhow::Result<Windows> {
            let windows: Result<Vec<_>, _> = texts.iter().map(|text| Window::parse(text)).collect();
            Ok(Windows::new(windows?))
        };
        let intake = crate::input::InputSettings {
            id_column: kept.id_column,
            format: value::input_format(&kept.input_format)?,
            checkpoints: true,
        };
        let order = Self {
            comment: kept.comment,
            include_types: kept
                .include_types
                .iter()
                .map(|text| ActionType::parse(text))
                .collect(),
            triage: if kept.no_precheck {
                Precheck::Skip
            } else {
                Precheck::ReadFirst
            },
            selection: kept.selection.recall(),
            keep: exclusions(&kept.keep, kept.exclude_file),
            windows: windows(&kept.quota)?,
            read_windows: windows(&kept.read_quota)?,
            pace: match kept.pace {
                Some(text) => Pace::parse(&text)?,
                None => None,
            },
            concurrency: kept.concurrency,
            total_concurrency: kept.total_concurrency,
            lanes: kept.lanes,
            max_attempts: kept.max_attempts,
            timeout: Duration::from_millis(kept.timeout_ms),
            timeout_grace: Duration::from_millis(kept.fate_grace_ms),
            give_up_after: Duration::from_millis(kept.give_up_after_ms),
            max_failures: kept
                .max_failures
                .map(|text| value::max_failures(&text))
                .transpose()?,
            max_actions: kept.max_actions,
            verify: kept.verify_ms.map_or(Verify::Skip, |timeout| {
                Verify::ReadAgain(Duration::from_millis(timeout))
            }),
            time_scale: kept.time_scale.max(1),
            agreement: if kept.to_agree {
                Agreement::Open
            } else {
                Agreement::Reached
            },
            outputs: kept.outputs,
            plan: kept.plan,
        };
        Ok((order, intake))
    }
}

/// Returns kept settings as they are once somebody agreed to the plan; nothing else of them is touched. The first plan of
/// a run stays its plan: a resume only sends what is left of it.
pub(super) fn agreed(kept: &str, plan: Option<PlanId>) -> String {
    let Ok(mut settings) = serde_json::from_str::<serde_json::Value>(kept) else {
        return kept.to_owned();
    };
    if let Some(settings) = settings.as_object_mut() {
        settings.remove("to_agree");
        if let Some(plan) = plan {
            let known = settings.entry("plan").or_insert(serde_json::Value::Null);
            if known.is_null() {
                *known = plan.to_string().into();
            }
        }
    }
    settings.to_string()
}

fn exclusions(lines: &[String], file: Option<String>) -> ExclusionList {
    let mut list = ExclusionList::default().named(file);
    for line in lines {
        list.add(line);
    }
    list
}

fn most_in_flight() -> u32 {
    256
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::InputSettings;

    #[test]
    fn an_order_reads_back_as_it_was_kept() {
        let order = Order {
            comment: Some("CHG-4711".to_owned()),
            include_types: vec![ActionType::Unisolate],
            triage: Precheck::ReadFirst,
            selection: Selection {
                types: vec![ActionType::Isolate],
                statuses: vec![ActionStatus::Pending],
                with_succeeded: true,
                requestors: vec!["o'neil@x".to_owned()],
                machine_ids: vec!["0".repeat(40)],
                since: Some(Timestamp::UNIX_EPOCH),
                until: None,
            },
            keep: exclusions(&["dc-01".to_owned()], Some("keep.txt".to_owned())),
            windows: Windows::documented(),
            read_windows: Windows::none(),
            pace: Pace::parse("50/s").unwrap(),
            concurrency: 16,
            total_concurrency: 256,
            lanes: vec![KeptLane {
                profile: "contoso".to_owned(),
                cloud: "commercial".to_owned(),
                tenant: "contoso.example".to_owned(),
                app: "-".to_owned(),
            }],
            max_attempts: 6,
            timeout: Duration::from_secs(30),
            timeout_grace: Duration::from_secs(120),
            give_up_after: Duration::from_secs(5400),
            max_failures: Some(MaxFailures::Percent(5)),
            max_actions: Some(500),
            verify: Verify::ReadAgain(Duration::from_secs(90)),
            time_scale: 10,
            agreement: Agreement::Open,
            plan: Some("961c-2524-c3ed-07b1-4e02".to_owned()),
            outputs: OutputPaths {
                reports: vec![std::path::absolute("r.csv").unwrap(), "-".into()],
                follow_up: Some(std::path::absolute("f.csv").unwrap()),
                metrics_file: None,
            },
        };
        let intake = InputSettings {
            id_column: Some("Action".to_owned()),
            format: crate::input::InputFormat::Tsv,
            checkpoints: true,
        };
        let (back, reading) = Order::recall(&order.keep(&intake)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{order:?}"));
        assert_eq!(reading, intake);
        let (agreed_to, _) = Order::recall(&agreed(&order.keep(&intake), None)).unwrap();
        let order = Order {
            agreement: Agreement::Reached,
            ..order
        };
        assert_eq!(format!("{agreed_to:?}"), format!("{order:?}"));
        assert!(Order::recall("{}").is_err());
    }
}
