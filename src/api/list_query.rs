//! One page of a list: what is asked for, and how it is said to the service.

use std::num::NonZeroU32;

/// The most records that the service takes as a page (MDE `get-machineactions-collection.md`).
pub const MAX_TOP: NonZeroU32 = NonZeroU32::new(10_000).expect("it is not zero");

/// Newest first, which no document promises without it. A second key would make the order of equals repeatable, but
/// nobody has seen the service take one; equals to a tenth of a microsecond are rare, and pages overlap.
pub(super) const ORDER: &str = "creationDateTimeUtc desc";

/// One page of the tenant's machine actions, newest first.
///
/// The service keeps no cursor: a page is counted off from the newest action at the moment of the call. What comes in
/// or drops out between two calls moves the edges, so pages should overlap, and their records be told apart by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// The OData filter, as people write it; all actions are meant where there is none.
    pub filter: Option<String>,
    /// How many records at most; more than [`MAX_TOP`] is asked for as that.
    pub top: NonZeroU32,
    /// How many of the newest are left out.
    pub skip: u32,
}
