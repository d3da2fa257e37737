//! Our own reports and frozen plans among the inputs: which of their rows go again.
//!
//! Invariant: a row goes again only where its file says so; a word that is not known never does.

use crate::model::{LISTED_BY, Outcome};

use super::cells;

/// What the rows of an input say about whether they go again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing: a list of somebody else's.
    Unsaid,
    /// Our own list of a tenant's actions: all go.
    List,
    /// Our own report: by outcome.
    Report { outcome: usize, run: Option<usize> },
    /// A frozen plan: by verdict.
    Plan {
        verdict: usize,
        reason: Option<usize>,
    },
}

impl Standing {
    /// Recognises our own files by columns nobody else has together, wherever a spreadsheet has moved them.
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
            _ => Self::Unsaid,
        }
    }

    /// Returns whether this is a file of ours, whose cells are defused.
    pub(super) fn is_ours(self) -> bool {
        self != Self::Unsaid
    }

    /// Says why a row does not go again.
    pub(super) fn skipped<'cells>(
        self,
        cell: impl Fn(usize) -> Option<&'cells str>,
    ) -> Option<String> {
        let word = |at: Option<usize>| at.and_then(&cell).map(str::trim).unwrap_or_default();
        match self {
            Self::Unsaid | Self::List => None,
            Self::Report { outcome, run } => {
                let outcome = word(Some(outcome));
                let run = match word(run) {
                    "" => "an earlier run".to_owned(),
                    run => format!("run {}", cells::id_text(run)),
                };
                match Outcome::parse(outcome) {
                    Some(
                        Outcome::Failed
                        | Outcome::Unknown
                        | Outcome::Accepted
                        | Outcome::NotAttempted
                        | Outcome::Forbidden,
                    ) => None,
                    Some(settled) => Some(format!("was {settled} in {run}")),
                    None => Some(format!(
                        "its outcome in {run}, {}, is none that goes again",
                        cells::visible(outcome)
                    )),
                }
            }
            Self::Plan { verdict, reason } => {
                let verdict = word(Some(verdict));
                if verdict.eq_ignore_ascii_case("send") {
                    return None;
                }
                let said = format!("the plan says {}", cells::visible(verdict));
                Some(match cells::context_text(word(reason)) {
                    None => said,
                    Some(reason) => format!("{said}: {reason}"),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(header: &[&str], cells: &[&str]) -> Option<String> {
        Standing::read(header).skipped(|at| cells.get(at).copied())
    }

    #[test]
    fn of_our_report_only_what_is_unsettled_goes_again() {
        let header = ["action_id", "outcome", "reason", "run_id"];
        let skipped = |outcome: &str| skipped(&header, &["x", outcome, "", "R"]);
        for outcome in Outcome::ALL {
            let expected = match outcome.as_str() {
                "failed" | "unknown" | "accepted" | "not_attempted" | "forbidden" => None,
                word => Some(format!("was {word} in run R")),
            };
            assert_eq!(skipped(outcome.as_str()), expected);
        }
        assert_eq!(
            skipped("new").unwrap(),
            "its outcome in run R, `new`, is none that goes again"
        );
    }

    #[test]
    fn of_a_frozen_plan_only_send_rows_go() {
        let header = ["verdict", "action_id", "outcome", "reason"];
        let skipped = |verdict, reason| skipped(&header, &[verdict, "x", "", reason]);
        assert_eq!(skipped("send", "x"), None);
        assert_eq!(skipped(" SEND ", ""), None);
        assert_eq!(skipped("", "").unwrap(), "the plan says ``");
        assert_eq!(
            skipped("skipped", "guarded").unwrap(),
            "the plan says `skipped`: guarded"
        );
    }

    #[test]
    fn a_list_of_somebody_elses_says_nothing() {
        for header in [
            ["id", "outcome", "reason"],
            ["action_id", "outcome", "result"],
        ] {
            assert!(!Standing::read(&header).is_ours());
            assert_eq!(skipped(&header, &["x", "cancelled", "y"]), None);
        }
    }
}
