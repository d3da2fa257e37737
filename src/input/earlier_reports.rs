//! Files that this program wrote: reports, frozen plans and lists.
//!
//! A row of a report or plan is sent again only if the file says so explicitly.

use crate::model::{LISTED_BY, Outcome};

use super::row::{CELL_CHARS, bounded, context_text, quoted};

/// How the reason starts for a row that one of our files skips.
const PLAN_SAYS: &str = "the plan says ";
const REPORT_SAYS: &str = "was ";
const REPORT_SAYS_OTHER: &str = "its outcome in ";

/// Which program wrote the input, and how its rows say whether to send them again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FileOrigin {
    /// Another program: always.
    #[default]
    Foreign,
    /// Our list of a tenant's actions: always.
    List,
    /// Our report: by outcome.
    Report { outcome: usize, run: Option<usize> },
    /// A frozen plan: by verdict.
    Plan {
        verdict: usize,
        reason: Option<usize>,
    },
}

impl FileOrigin {
    /// Recognizes our files by their combination of columns, in any order.
    pub(super) fn read<N: AsRef<str>>(names: &[N]) -> Self {
        let find = |wanted: &str| {
            names
                .iter()
                .position(|name| name.as_ref().trim().eq_ignore_ascii_case(wanted))
        };
        let reason = find("reason");
        match (find("action_id"), find("verdict"), find("outcome"), reason) {
            (Some(_), Some(verdict), _, _) => Self::Plan { verdict, reason },
            (Some(_), None, Some(outcome), Some(_)) => Self::Report {
                outcome,
                run: find("run_id"),
            },
            _ if find(LISTED_BY).is_some() => Self::List,
            _ => Self::Foreign,
        }
    }

    /// Returns whether [`FileOrigin::read`] uses a name.
    pub(super) fn uses(name: &str) -> bool {
        [
            "action_id",
            "verdict",
            "outcome",
            "reason",
            "run_id",
            LISTED_BY,
        ]
        .iter()
        .any(|known| name.trim().eq_ignore_ascii_case(known))
    }

    /// Returns whether this is one of our files, whose CSV cells are encoded.
    pub(super) fn is_ours(self) -> bool {
        self != Self::Foreign
    }

    /// Returns why a row is not sent again.
    pub(super) fn skipped<'cells>(
        self,
        cell: impl Fn(usize) -> Option<&'cells str>,
    ) -> Option<String> {
        let word = |at: Option<usize>| at.and_then(&cell).map(str::trim).unwrap_or_default();
        match self {
            Self::Foreign | Self::List => None,
            Self::Report { outcome, run } => {
                let outcome = word(Some(outcome));
                let run = match word(run) {
                    "" => "an earlier run".to_owned(),
                    run => format!("run {}", bounded(run, CELL_CHARS)),
                };
                match Outcome::parse(outcome) {
                    Some(
                        Outcome::Failed
                        | Outcome::Unknown
                        | Outcome::Accepted
                        | Outcome::NotAttempted
                        | Outcome::Forbidden,
                    ) => None,
                    Some(settled) => Some(format!("{REPORT_SAYS}{settled} in {run}")),
                    None => Some(format!(
                        "{REPORT_SAYS_OTHER}{run}, {}, is not an outcome to try again",
                        quoted(outcome)
                    )),
                }
            }
            Self::Plan { verdict, reason } => {
                let verdict = word(Some(verdict));
                if verdict.eq_ignore_ascii_case("send") {
                    return None;
                }
                let said = format!("{PLAN_SAYS}{}", quoted(verdict));
                Some(match context_text(word(reason)) {
                    None => said,
                    Some(reason) => format!("{said}: {reason}"),
                })
            }
        }
    }
}

/// Returns whether the reason of a skipped row comes from one of our plans or reports.
pub fn is_skipped_by_earlier_report(reason: &str) -> bool {
    [PLAN_SAYS, REPORT_SAYS, REPORT_SAYS_OTHER]
        .iter()
        .any(|start| reason.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(header: &[&str], cells: &[&str]) -> Option<String> {
        FileOrigin::read(header).skipped(|at| cells.get(at).copied())
    }

    #[test]
    fn a_row_of_our_files_says_why_it_does_not_go_again() {
        let report = ["action_id", "outcome", "reason", "run_id"];
        let plan = ["action_id", "verdict", "reason", "outcome"];
        for (header, cells, expected) in [
            (report, ["x", "failed", "", "R"], None),
            (
                report,
                ["x", "released", "", "R"],
                Some("was released in run R"),
            ),
            (
                report,
                ["x", "new", "", "R"],
                Some("its outcome in run R, `new`, is not an outcome to try again"),
            ),
            (plan, ["x", " SEND ", "y", ""], None),
            (plan, ["x", "", "", ""], Some("the plan says ``")),
            (
                plan,
                ["x", "skipped", "guarded", ""],
                Some("the plan says `skipped`: guarded"),
            ),
        ] {
            assert_eq!(skipped(&header, &cells).as_deref(), expected, "{cells:?}");
        }
    }

    #[test]
    fn a_list_of_somebody_elses_says_nothing() {
        for header in [
            ["id", "outcome", "reason"],
            ["action_id", "outcome", "result"],
        ] {
            assert!(!FileOrigin::read(&header).is_ours());
            assert_eq!(skipped(&header, &["x", "cancelled", "y"]), None);
        }
    }
}
