//! What the terminal and the reports say alike about how a run ended.

use std::collections::BTreeMap;

use crate::model::{Count, FollowUp, Number, Outcome};

/// Whether an `accepted` row leaves something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Verification was wanted and did not come.
    IsLeft,
    /// Nobody asked for verification.
    IsEnough,
}

/// How much something that is left weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// A machine is cut off, or lost to the tenant, at this moment.
    Grave,
    /// Somebody should have a look.
    Some,
}

/// One thing that is left to do, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// How much it weighs.
    pub weight: Weight,
    /// Which machines it is about; none where it is about rows.
    pub follow_up: Option<FollowUp>,
    /// A line that begins with a number.
    pub text: String,
}

/// The statuses of an action that ended by itself, in the order in which they are counted; others come before them.
const FINAL: [&str; 3] = ["Succeeded", "Failed", "TimeOut"];

/// Says what is left, the gravest first: a machine that is cut off now outweighs any row.
pub fn left(
    outcomes: &BTreeMap<Outcome, u64>,
    accepted: Accepted,
    follow_ups: &[(FollowUp, u64)],
) -> Vec<Left> {
    let machines = follow_ups.iter().filter(|(_, count)| *count > 0);
    let mut left: Vec<_> = machines
        .map(|&(follow_up, count)| Left {
            weight: follow_up_weight(follow_up),
            follow_up: Some(follow_up),
            text: format!(
                "{} {}",
                Count::new(count, "machine"),
                follow_up_words(follow_up, count)
            ),
        })
        .collect();
    let some = |text| Left {
        weight: Weight::Some,
        follow_up: None,
        text,
    };
    let unsettled = rows_left(outcomes, accepted);
    if unsettled > 0 {
        let verb = if unsettled == 1 { "needs" } else { "need" };
        let kinds = outcomes
            .iter()
            .filter(|&(&outcome, &count)| count > 0 && needs_look(outcome, accepted));
        let kinds: Vec<_> = kinds
            .map(|(outcome, count)| format!("{} {outcome}", Number(*count)))
            .collect();
        let rows = Count::new(unsettled, "row");
        left.push(some(format!(
            "{rows} {verb} attention: {}",
            kinds.join(", ")
        )));
    }
    let waiting = outcomes.get(&Outcome::NotAttempted).copied();
    if let Some(waiting @ 1..) = waiting {
        let verb = if waiting == 1 { "was" } else { "were" };
        let rows = Count::new(waiting, "row");
        left.push(some(format!("{rows} {verb} not attempted")));
    }
    left
}

/// Counts the rows that ended so that somebody must look at them.
pub(super) fn rows_left(outcomes: &BTreeMap<Outcome, u64>, accepted: Accepted) -> u64 {
    outcomes
        .iter()
        .filter(|&(&outcome, _)| needs_look(outcome, accepted))
        .map(|(_, count)| count)
        .sum()
}

/// Returns whether a row that ended so needs a look.
pub(super) fn needs_look(outcome: Outcome, accepted: Accepted) -> bool {
    outcome.leaves_work() && (outcome != Outcome::Accepted || accepted == Accepted::IsLeft)
}

/// Says how so many machines are, and what they need.
fn follow_up_words(follow_up: FollowUp, count: u64) -> String {
    let (is, need) = if count == 1 {
        ("is", "needs")
    } else {
        ("are", "need")
    };
    match follow_up {
        FollowUp::Unisolate => format!("{is} isolated now and {need} release"),
        FollowUp::Unrestrict => format!("{is} restricted now and {need} release"),
        FollowUp::CheckDevice => "may have been changed before the cancel: check them".to_owned(),
        FollowUp::ManualOnboard => format!("{is} offboarded: onboard again by hand"),
        FollowUp::ManualRestoreFile => "had files quarantined: restore them by hand".to_owned(),
    }
}

fn follow_up_weight(follow_up: FollowUp) -> Weight {
    match follow_up {
        FollowUp::Unisolate | FollowUp::Unrestrict | FollowUp::ManualOnboard => Weight::Grave,
        FollowUp::CheckDevice | FollowUp::ManualRestoreFile => Weight::Some,
    }
}

/// Says what an outcome means; of the actions that had ended, also how: one that Failed did nothing, and one that
/// Succeeded did. The statuses are as the service spells them.
pub fn meaning(outcome: Outcome, final_statuses: &BTreeMap<String, u64>) -> String {
    let text = short_meaning(outcome);
    let statuses = final_statuses.iter().filter(|(_, count)| **count > 0);
    let mut statuses: Vec<_> = statuses.collect();
    if outcome != Outcome::AlreadyFinal || statuses.is_empty() {
        return text.to_owned();
    }
    // What succeeded first, for that is what may need a hand.
    statuses.sort_by_key(|(status, _)| FINAL.iter().position(|known| known == status));
    let statuses: Vec<_> = statuses
        .into_iter()
        .map(|(status, &count)| match status.as_str() {
            "" => format!("{} of unknown status", Number(count)),
            status => format!("{} {status}", Number(count)),
        })
        .collect();
    format!("{text}: {}", statuses.join(", "))
}

fn short_meaning(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Cancelled => "confirmed by the service",
        Outcome::Accepted => "accepted, but not seen as Cancelled",
        Outcome::AlreadyCancelled => "had already been cancelled",
        Outcome::AlreadyFinal => "had already ended",
        Outcome::TooLate => "accepted, but the action had completed",
        Outcome::NotFound => "no such action in this tenant",
        Outcome::Forbidden => "a permission is missing: see the reason column",
        Outcome::Skipped => "protected type, excluded, not selected or settled before",
        Outcome::Invalid => "unusable row: see the reason column",
        Outcome::Duplicate => "same id as another row",
        Outcome::Failed => "not applied: see the reason column",
        Outcome::Unknown => "may or may not have been applied",
        Outcome::NotAttempted => "the run stopped before their turn",
    }
}
