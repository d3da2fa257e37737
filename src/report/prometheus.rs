//! Writes the metrics of a run in Prometheus' text format, for the textfile collector of node_exporter.
//!
//! Label values are escaped, and every metric has a help text and a type. The file is replaced atomically, because the
//! collector may read it at any time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Outcome, RunId, RunStatus};
use crate::quota::Window;

use super::output::{OutputError, replace};

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waited {
    Quota,
    /// The service answered 429.
    Cooldown,
    /// The service did not respond properly.
    Outage,
    /// Only retries were left, and none was due.
    Retry,
    /// Records had to be read first.
    Reads,
    /// Accepted cancels had to take effect.
    Verify,
}

impl Waited {
    const ALL: [Waited; 6] = [
        Self::Quota,
        Self::Cooldown,
        Self::Outage,
        Self::Retry,
        Self::Reads,
        Self::Verify,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Quota => "quota",
            Self::Cooldown => "cooldown",
            Self::Outage => "outage",
            Self::Retry => "retry",
            Self::Reads => "reads",
            Self::Verify => "verify",
        }
    }
}

/// A snapshot of a run. Call and wait counters start when this process started or resumed the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    pub run: RunId,
    pub sandbox: bool,
    pub standing: RunStatus,
    /// When this process started or resumed the run.
    pub started_at: Timestamp,
    /// When it stopped or finished.
    pub ended_at: Option<Timestamp>,
    pub exit_code: Option<u8>,
    pub written_at: Timestamp,
    /// The number of rows read.
    pub rows: u64,
    pub outcomes: BTreeMap<Outcome, u64>,
    /// The number of machines that need manual work.
    pub follow_ups: u64,
    /// Cancels or releases by HTTP status; `None` without a response.
    pub cancels: BTreeMap<Option<u16>, u64>,
    /// The number of reads sent.
    pub reads: u64,
    /// The number of 429 responses, including reads.
    pub throttled: u64,
    /// The number of cancels or releases sent again.
    pub retries: u64,
    /// The slots taken in each window for cancels or releases.
    pub quota: Vec<(Window, u32)>,
    pub waited: BTreeMap<Waited, Duration>,
}

impl Metrics {
    /// Returns the metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Exposition(String::new());
        let (run, version) = (self.run.to_string(), env!("CARGO_PKG_VERSION"));
        let sandbox = if self.sandbox { "true" } else { "false" };
        let labels = [("run", &*run), ("version", version), ("sandbox", sandbox)];
        text.family("run_info", "Information about the run.");
        text.sample("run_info", &labels, 1.0);
        let states = [
            RunStatus::Running,
            RunStatus::Stopped,
            RunStatus::Crashed,
            RunStatus::Finished,
        ];
        let states = states.map(|state| (state.as_str(), u64::from(state == self.standing)));
        let help = "1 for the current state of the run, 0 for the others.";
        text.each("run_state", help, "state", states);
        let seconds = |at: Timestamp| at.as_duration().as_secs_f64();
        let help = "Start time of this process.";
        text.one(
            "run_started_timestamp_seconds",
            help,
            seconds(self.started_at),
        );
        if let Some(ended) = self.ended_at {
            text.one(
                "run_ended_timestamp_seconds",
                "End time of the run.",
                seconds(ended),
            );
        }
        if let Some(code) = self.exit_code {
            text.one("exit_code", "Exit code.", code.into());
        }
        let help = "Time of these figures.";
        text.one("written_timestamp_seconds", help, seconds(self.written_at));
        text.one("rows", "Rows read.", number(self.rows));
        let outcomes = Outcome::ALL.map(|outcome| {
            let rows = self.outcomes.get(&outcome).copied().unwrap_or(0);
            (outcome.as_str(), rows)
        });
        text.each("actions", "Rows by outcome.", "outcome", outcomes);
        let help = "Machines that need manual work.";
        text.one("follow_ups", help, number(self.follow_ups));
        let sent = self.cancels.iter().map(|(answer, sent)| {
            let answer = answer.map_or("none".to_owned(), |status| status.to_string());
            (answer, *sent)
        });
        let help =
            "Cancels or releases sent, by the answer's HTTP status; `none` without an answer.";
        text.each("cancels_total", help, "status", sent);
        text.one("reads_total", "Reads sent.", number(self.reads));
        let help = "Calls answered by 429, reads included.";
        text.one("throttled_total", help, number(self.throttled));
        let help = "Cancels or releases sent again for a row.";
        text.one("retries_total", help, number(self.retries));
        let windows = self.quota.iter();
        let used = windows
            .clone()
            .map(|(window, used)| (window.to_string(), (*used).into()));
        let help = "Slots taken of each window for cancels.";
        text.each("quota_used", help, "window", used);
        let limits = windows.map(|(window, _)| (window.to_string(), window.limit.get().into()));
        let help = "Slots of each window for cancels.";
        text.each("quota_limit", help, "window", limits);
        text.family("waited_seconds_total", "Time in which nothing was sent.");
        for cause in Waited::ALL {
            let waited = self.waited.get(&cause).copied().unwrap_or_default();
            let labels = [("cause", cause.as_str())];
            text.sample("waited_seconds_total", &labels, waited.as_secs_f64());
        }
        text.0
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows no other numbers, and counts stay below 2^53"
)]
fn number(count: u64) -> f64 {
    count as f64
}

/// Samples in Prometheus' text format.
struct Exposition(String);

impl Exposition {
    /// Begins a metric: a counter if its name ends in `_total`, as Prometheus wants it.
    fn family(&mut self, name: &str, help: &str) {
        let kind = if name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        // Writing to a String cannot fail, here and below.
        writeln!(
            self.0,
            "# HELP mde_cancel_{name} {help}\n# TYPE mde_cancel_{name} {kind}"
        )
        .ok();
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, text)| format!("{label}=\"{}\"", escaped(text)))
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        writeln!(self.0, "mde_cancel_{name}{labels} {value}").ok();
    }

    /// Writes a metric without labels.
    fn one(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, help);
        self.sample(name, &[], value);
    }

    /// Writes a metric with a count for each value of a label.
    fn each(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: impl IntoIterator<Item = (impl AsRef<str>, u64)>,
    ) {
        self.family(name, help);
        for (value, count) in counts {
            self.sample(name, &[(label, value.as_ref())], number(count));
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Replaces the file at `path` atomically.
pub fn write_metrics(path: &Path, text: &str) -> Result<(), OutputError<Infallible>> {
    replace(path, |out| Ok(out.write_all(text.as_bytes())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        let at = |second: i64| Timestamp::from_second(1_795_430_000 + second).unwrap();
        Metrics {
            run: RunId::parse("0199f3c2-10aa-7b1e-8a77-9a3d0c5be0a1").unwrap(),
            sandbox: false,
            standing: RunStatus::Finished,
            started_at: at(0),
            ended_at: Some(at(60)),
            exit_code: Some(3),
            written_at: at(60),
            rows: 5,
            outcomes: BTreeMap::from([(Outcome::Cancelled, 3), (Outcome::Failed, 2)]),
            follow_ups: 1,
            cancels: BTreeMap::from([(Some(200), 3), (Some(429), 1), (None, 2)]),
            reads: 1,
            throttled: 1,
            retries: 1,
            quota: vec![("100/1m".parse().unwrap(), 6)],
            waited: BTreeMap::from([(Waited::Cooldown, Duration::from_millis(1500))]),
        }
    }

    #[test]
    fn the_file_reads_as_prometheus_wants_it() {
        insta::assert_snapshot!(metrics().render(), @r#"
        # HELP mde_cancel_run_info Information about the run.
        # TYPE mde_cancel_run_info gauge
        mde_cancel_run_info{run="0199f3c2-10aa-7b1e-8a77-9a3d0c5be0a1",version="0.1.0",sandbox="false"} 1
        # HELP mde_cancel_run_state 1 for the current state of the run, 0 for the others.
        # TYPE mde_cancel_run_state gauge
        mde_cancel_run_state{state="running"} 0
        mde_cancel_run_state{state="stopped"} 0
        mde_cancel_run_state{state="crashed"} 0
        mde_cancel_run_state{state="finished"} 1
        # HELP mde_cancel_run_started_timestamp_seconds Start time of this process.
        # TYPE mde_cancel_run_started_timestamp_seconds gauge
        mde_cancel_run_started_timestamp_seconds 1795430000
        # HELP mde_cancel_run_ended_timestamp_seconds End time of the run.
        # TYPE mde_cancel_run_ended_timestamp_seconds gauge
        mde_cancel_run_ended_timestamp_seconds 1795430060
        # HELP mde_cancel_exit_code Exit code.
        # TYPE mde_cancel_exit_code gauge
        mde_cancel_exit_code 3
        # HELP mde_cancel_written_timestamp_seconds Time of these figures.
        # TYPE mde_cancel_written_timestamp_seconds gauge
        mde_cancel_written_timestamp_seconds 1795430060
        # HELP mde_cancel_rows Rows read.
        # TYPE mde_cancel_rows gauge
        mde_cancel_rows 5
        # HELP mde_cancel_actions Rows by outcome.
        # TYPE mde_cancel_actions gauge
        mde_cancel_actions{outcome="cancelled"} 3
        mde_cancel_actions{outcome="accepted"} 0
        mde_cancel_actions{outcome="already_cancelled"} 0
        mde_cancel_actions{outcome="already_final"} 0
        mde_cancel_actions{outcome="too_late"} 0
        mde_cancel_actions{outcome="released"} 0
        mde_cancel_actions{outcome="already_released"} 0
        mde_cancel_actions{outcome="not_found"} 0
        mde_cancel_actions{outcome="forbidden"} 0
        mde_cancel_actions{outcome="skipped"} 0
        mde_cancel_actions{outcome="invalid"} 0
        mde_cancel_actions{outcome="duplicate"} 0
        mde_cancel_actions{outcome="failed"} 2
        mde_cancel_actions{outcome="unknown"} 0
        mde_cancel_actions{outcome="not_attempted"} 0
        # HELP mde_cancel_follow_ups Machines that need manual work.
        # TYPE mde_cancel_follow_ups gauge
        mde_cancel_follow_ups 1
        # HELP mde_cancel_cancels_total Cancels or releases sent, by the answer's HTTP status; `none` without an answer.
        # TYPE mde_cancel_cancels_total counter
        mde_cancel_cancels_total{status="none"} 2
        mde_cancel_cancels_total{status="200"} 3
        mde_cancel_cancels_total{status="429"} 1
        # HELP mde_cancel_reads_total Reads sent.
        # TYPE mde_cancel_reads_total counter
        mde_cancel_reads_total 1
        # HELP mde_cancel_throttled_total Calls answered by 429, reads included.
        # TYPE mde_cancel_throttled_total counter
        mde_cancel_throttled_total 1
        # HELP mde_cancel_retries_total Cancels or releases sent again for a row.
        # TYPE mde_cancel_retries_total counter
        mde_cancel_retries_total 1
        # HELP mde_cancel_quota_used Slots taken of each window for cancels.
        # TYPE mde_cancel_quota_used gauge
        mde_cancel_quota_used{window="100/1m"} 6
        # HELP mde_cancel_quota_limit Slots of each window for cancels.
        # TYPE mde_cancel_quota_limit gauge
        mde_cancel_quota_limit{window="100/1m"} 100
        # HELP mde_cancel_waited_seconds_total Time in which nothing was sent.
        # TYPE mde_cancel_waited_seconds_total counter
        mde_cancel_waited_seconds_total{cause="quota"} 0
        mde_cancel_waited_seconds_total{cause="cooldown"} 1.5
        mde_cancel_waited_seconds_total{cause="outage"} 0
        mde_cancel_waited_seconds_total{cause="retry"} 0
        mde_cancel_waited_seconds_total{cause="reads"} 0
        mde_cancel_waited_seconds_total{cause="verify"} 0
        "#);
    }

    #[test]
    fn a_run_that_goes_on_has_neither_end_nor_exit_code() {
        let going = Metrics {
            standing: RunStatus::Running,
            ended_at: None,
            exit_code: None,
            ..metrics()
        };
        let text = going.render();
        assert!(text.contains("mde_cancel_run_state{state=\"running\"} 1\n"));
        assert!(!text.contains("exit_code") && !text.contains("run_ended"));
    }

    #[test]
    fn no_value_breaks_out_of_its_label() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
