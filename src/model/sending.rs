//! One cancel on the time line of a run.

use jiff::Timestamp;

/// One attempt as the journal knows it, for whoever draws how the quota windows were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// When its slot was taken.
    pub sent_at: Timestamp,
    /// When its answer was read or it was given up; none where neither happened.
    pub replied_at: Option<Timestamp>,
    /// Whether we gave it up, so that it may have reached the service later still.
    pub is_given_up: bool,
    /// The status of the answer.
    pub http_status: Option<u16>,
    /// Whether it belongs to the run that is looked at, and not to another one that shares its quota.
    pub is_own: bool,
}
