//! Rows without an outcome: why a report says that they were not attempted, or may have been.

use super::{Outcome, times};

/// What the journal has on a row without an outcome.
#[derive(Clone, Debug, Default)]
pub struct UnsettledRow {
    /// Whether its run has ended.
    pub is_stopped: bool,
    /// Whether its run isn't confirmed.
    pub is_planned: bool,
    pub attempts: u32,
    /// Status and class of the last answer.
    pub http_status: Option<u16>,
    pub class: Option<String>,
    /// Why it was left for later, or its lane stopped.
    pub why: Option<String>,
}

impl UnsettledRow {
    /// Explains why the row has no outcome; `outcome` is the one it counts as.
    pub fn reason(&self, outcome: Outcome) -> String {
        let pick = |gone: &str, going: &str| {
            let text = if self.is_stopped { gone } else { going };
            text.to_owned()
        };
        match outcome {
            Outcome::Accepted => pick(
                "the run stopped before it could be verified",
                "not verified yet",
            ),
            Outcome::Unknown => pick(
                "the run stopped before it could be read again",
                "not read again yet",
            ),
            _ if self.attempts == 0 => match &self.why {
                // In a run that goes on, the reason is from an earlier stop.
                Some(why) if self.is_stopped || self.is_planned => why.clone(),
                _ => pick(
                    "the run stopped before its turn",
                    "its turn has not come yet",
                ),
            },
            _ => {
                let times = times(self.attempts);
                let status = self.http_status.map(|status| status.to_string());
                let answer: Vec<_> = status.into_iter().chain(self.class.clone()).collect();
                let answer = if answer.is_empty() {
                    "none".to_owned()
                } else {
                    answer.join(" ")
                };
                let next = pick(
                    "the run stopped before it was sent again",
                    "to be sent again",
                );
                format!("sent {times}, last answer {answer}; {next}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_an_outcome_says_how_the_run_left_it() {
        use Outcome as O;
        for (is_stopped, attempts, outcome, text) in [
            (true, 0, O::NotAttempted, "the run stopped before its turn"),
            (false, 0, O::NotAttempted, "its turn has not come yet"),
            (
                true,
                1,
                O::Accepted,
                "the run stopped before it could be verified",
            ),
            (
                true,
                1,
                O::Unknown,
                "the run stopped before it could be read again",
            ),
            (
                true,
                3,
                O::NotAttempted,
                "sent 3 times, last answer 429 throttled; the run stopped before it was sent again",
            ),
            (
                false,
                1,
                O::NotAttempted,
                "sent once, last answer 429 throttled; to be sent again",
            ),
        ] {
            let row = UnsettledRow {
                is_stopped,
                attempts,
                http_status: Some(429),
                class: Some("throttled".to_owned()),
                ..UnsettledRow::default()
            };
            assert_eq!(row.reason(outcome), text);
        }
    }
}
