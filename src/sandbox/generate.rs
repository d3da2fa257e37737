//! Generates actions from their ids. The same seed always gives the same records, in any order of access.
//!
//! Streamed inputs therefore work too: a record is generated on first access, as if it had always existed.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{ActionId, RowContext};

use super::actions::{Cancellation, FAILED, MockAction, Status, TIMED_OUT};
use super::random;

/// A random generator of actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generator {
    pub seed: u64,
    /// The weight of each status.
    pub statuses: Vec<(Status, u32)>,
    /// The weight of ids that the service doesn't know.
    pub missing: u32,
}

/// The weight of each type, if the input has none.
const TYPES: [(&str, u32); 7] = [
    ("Isolate", 45),
    ("RunAntiVirusScan", 20),
    ("LiveResponse", 15),
    ("CollectInvestigationPackage", 10),
    ("RestrictCodeExecution", 5),
    ("Unisolate", 3),
    ("StopAndQuarantineFile", 2),
];

const REQUESTORS: [(&str, u32); 4] = [
    ("soc-automation", 70),
    ("analyst1@corp.example", 15),
    ("analyst2@corp.example", 10),
    ("o'neil@corp.example", 5),
];

/// Requestors and comments of earlier cancels: people, other tools, and no comment.
const CANCELS: [((&str, &str), u32); 4] = [
    (("analyst1@corp.example", "cancelled in the portal"), 40),
    (
        (
            "6b1f6c1e-5d0a-4b7e-9c3f-2f1f0e8d7a55",
            "Automated clean-up of stale live response sessions",
        ),
        40,
    ),
    (
        (
            "e2c0a4d7-90b4-4d53-8f0b-1c6a7e5b3d21",
            "isolated by mistake\n(\"wave 2\"), see INC0012345",
        ),
        15,
    ),
    (("e2c0a4d7-90b4-4d53-8f0b-1c6a7e5b3d21", ""), 5),
];

/// The service times out an action after three days and some minutes.
const TIME_OUT: Duration = Duration::from_secs((3 * 24 * 60 + 14) * 60);

/// The salt of each random value.
#[derive(Clone, Copy)]
enum Draw {
    Status = 1,
    Type,
    Requestor,
    Age,
    Duration,
    Machine,
    File,
    Generated,
    Cancel,
}

impl Generator {
    /// Returns a realistic mix: mostly open, some final, very few unknown.
    pub fn realistic(seed: u64) -> Self {
        Self {
            seed,
            statuses: vec![
                (Status::Pending, 800),
                (Status::InProgress, 120),
                (Status::Succeeded, 35),
                (Status::Failed, 12),
                (Status::TimeOut, 8),
                (Status::Cancelled, 20),
            ],
            missing: 5,
        }
    }

    /// Returns a mix in which every action is Pending.
    pub fn all_pending(seed: u64) -> Self {
        Self {
            seed,
            statuses: vec![(Status::Pending, 1)],
            missing: 0,
        }
    }

    /// Returns the id of the `number`th generated action.
    pub(super) fn id(&self, number: u64) -> Option<ActionId> {
        let guid = random::guid(self.seed, Draw::Generated as u64, &number.to_le_bytes());
        ActionId::from_bytes(guid.into_bytes())
    }

    /// Generates the record of `id` as of `now`; `None` if the service doesn't know it.
    pub(super) fn make(
        &self,
        id: ActionId,
        context: &RowContext,
        now: Timestamp,
    ) -> Option<MockAction> {
        let draw = |draw: Draw| random::roll(self.seed, draw as u64, id.as_bytes());
        let status = self.status(draw(Draw::Status))?;
        let action_type = match &context.action_type {
            Some(known) => known.as_str(),
            None => pick(&TYPES, draw(Draw::Type)),
        };
        let mut age = age(status).mul_f64(0.02 + 0.98 * random::fraction(draw(Draw::Age)));
        if status == Status::TimeOut {
            age += TIME_OUT;
        }
        let created_at = earlier(now, age);
        let mut record = MockAction::new(id, action_type, status, created_at);
        record.updated_at = match status {
            Status::Pending => created_at,
            Status::TimeOut => earlier(now, age.saturating_sub(TIME_OUT)),
            _ => earlier(now, age.mul_f64(random::fraction(draw(Draw::Duration)))),
        };
        record.requestor = context
            .requestor
            .clone()
            .unwrap_or_else(|| pick(&REQUESTORS, draw(Draw::Requestor)).to_owned());
        record.request_source = Some(source_of(&record.requestor).to_owned());
        record.requestor_comment = Some("opened by the playbook".to_owned());
        record.scope = scope_of(action_type).map(str::to_owned);
        let machine = draw(Draw::Machine);
        record.machine_id = Some(
            context
                .machine_id
                .clone()
                .unwrap_or_else(|| hex40(self.seed, Draw::Machine, id)),
        );
        record.computer_dns_name = Some(
            context
                .computer_dns_name
                .clone()
                .unwrap_or_else(|| format!("ws-{:05}.corp.example", machine % 100_000)),
        );
        if action_type == "StopAndQuarantineFile" {
            record.file_sha1 = Some(hex40(self.seed, Draw::File, id));
        }
        record.command_done = status == Status::Succeeded;
        record.error_hresult = match status {
            Status::Failed => FAILED,
            Status::TimeOut => TIMED_OUT,
            _ => 0,
        };
        if status == Status::Cancelled {
            let (requestor, comment) = choose(&CANCELS, draw(Draw::Cancel)).unwrap_or_default();
            record.cancel(Cancellation {
                requestor: requestor.to_owned(),
                comment: comment.to_owned(),
                at: record.updated_at,
            });
        }
        Some(record)
    }

    fn status(&self, bits: u64) -> Option<Status> {
        let mut shares: Vec<(Option<Status>, u32)> = self
            .statuses
            .iter()
            .map(|&(status, share)| (Some(status), share))
            .collect();
        shares.push((None, self.missing));
        choose(&shares, bits).unwrap_or(Some(Status::Pending))
    }
}

/// Returns the choice for `bits` by weight; `None` if all weights are zero.
fn choose<T: Copy>(shares: &[(T, u32)], bits: u64) -> Option<T> {
    let total: u64 = shares.iter().map(|(_, share)| u64::from(*share)).sum();
    let mut left = bits.checked_rem(total)?;
    for (choice, share) in shares {
        match left.checked_sub(u64::from(*share)) {
            None => return Some(*choice),
            Some(rest) => left = rest,
        }
    }
    None
}

fn pick(shares: &[(&'static str, u32)], bits: u64) -> &'static str {
    choose(shares, bits).unwrap_or_default()
}

/// Returns the maximum age by status: days for open actions, weeks for final ones.
fn age(status: Status) -> Duration {
    let hours = match status {
        Status::Pending => 60,
        Status::InProgress => 2,
        _ => 24 * 20,
    };
    Duration::from_secs(hours * 3600)
}

fn earlier(now: Timestamp, span: Duration) -> Timestamp {
    now.checked_sub(span).unwrap_or(now)
}

fn source_of(requestor: &str) -> &'static str {
    if requestor.contains('@') {
        "Portal"
    } else {
        "PublicApi"
    }
}

fn scope_of(action_type: &str) -> Option<&'static str> {
    match action_type {
        "Isolate" => Some("Full"),
        "RunAntiVirusScan" => Some("Quick"),
        _ => None,
    }
}

fn hex40(seed: u64, draw: Draw, id: ActionId) -> String {
    let [one, two, three] =
        [0, 1, 2].map(|round| random::roll(seed + round, draw as u64, id.as_bytes()));
    format!("{one:016x}{two:016x}{:08x}", three >> 32)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::model::ActionType;

    fn records(mix: &Generator, count: u64) -> Vec<Option<MockAction>> {
        (0..count)
            .map(|number| {
                let id = mix.id(number).unwrap();
                mix.make(id, &RowContext::default(), Timestamp::UNIX_EPOCH)
            })
            .collect()
    }

    #[test]
    fn a_believable_world_is_mostly_open_with_a_few_of_everything_else() {
        let records = records(&Generator::realistic(1), 5000);
        let share = |status: Status| {
            let found = records
                .iter()
                .flatten()
                .filter(|record| record.status == status);
            found.count()
        };
        assert!((3700..4300).contains(&share(Status::Pending)));
        assert!((400..800).contains(&share(Status::InProgress)));
        for status in [
            Status::Succeeded,
            Status::Failed,
            Status::TimeOut,
            Status::Cancelled,
        ] {
            assert!((5..400).contains(&share(status)), "{status:?}");
        }
        let missing = records.iter().filter(|record| record.is_none()).count();
        assert!((5..80).contains(&missing), "{missing}");
    }

    #[test]
    fn final_records_are_as_the_service_writes_them() {
        let ended = records(&Generator::realistic(1), 5000);
        let of = |status: Status| {
            let all = ended.iter().flatten();
            all.filter(move |record| record.status == status)
        };
        for record in of(Status::Cancelled) {
            let by = record.cancellation.as_ref().unwrap();
            let later = record.updated_at.duration_since(by.at);
            assert_eq!(later, SignedDuration::from_nanos(100));
            assert_eq!(record.error_hresult, -2_147_467_260);
        }
        let is_app = |record: &&MockAction| {
            let by = record.cancellation.as_ref().unwrap();
            uuid::Uuid::parse_str(&by.requestor).is_ok()
        };
        assert!(of(Status::Cancelled).filter(is_app).count() > 10);
        for record in of(Status::TimeOut) {
            let lasted = record.updated_at.duration_since(record.created_at);
            assert_eq!(lasted.as_mins(), 3 * 24 * 60 + 14);
            assert_eq!(record.error_hresult, -2_145_844_840);
        }
    }

    #[test]
    fn what_the_input_tells_is_taken_over() {
        let context = RowContext {
            action_type: Some(ActionType::Offboard),
            machine_id: Some("m".to_owned()),
            computer_dns_name: Some("srv-1".to_owned()),
            requestor: Some("bot".to_owned()),
            ..RowContext::default()
        };
        let mix = Generator::all_pending(3);
        let record = mix
            .make(mix.id(0).unwrap(), &context, Timestamp::UNIX_EPOCH)
            .unwrap();
        assert_eq!(record.action_type, "Offboard");
        assert_eq!(record.machine_id.as_deref(), Some("m"));
        assert_eq!(record.computer_dns_name.as_deref(), Some("srv-1"));
        assert_eq!(
            (record.requestor.as_str(), record.status),
            ("bot", Status::Pending)
        );
    }

    #[test]
    fn a_mix_without_shares_makes_pending_actions_and_machines_have_forty_digits() {
        let mix = Generator {
            seed: 0,
            statuses: vec![],
            missing: 0,
        };
        let record = records(&mix, 1).remove(0).unwrap();
        assert_eq!(record.status, Status::Pending);
        assert_eq!(record.machine_id.unwrap().len(), 40);
    }
}
