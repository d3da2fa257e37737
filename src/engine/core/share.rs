//! How much of the calls that all lanes together may have under way one lane may open.

/// One lane's part. Without a bound on all lanes it never says no.
#[derive(Debug)]
pub(super) struct Share {
    /// How many calls the lane may still open while it is its turn.
    pub(super) room: usize,
    /// Whether it would have opened one more.
    pub(super) is_crowded: bool,
    /// Whether it waits for its turn.
    pub(super) is_queued: bool,
    /// How many of its calls are counted among those of all lanes.
    pub(super) counted: usize,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            room: usize::MAX,
            is_crowded: false,
            is_queued: false,
            counted: 0,
        }
    }
}

impl Share {
    /// Says whether one more call may be opened, and remembers where none may.
    pub(super) fn has_room(&mut self) -> bool {
        self.is_crowded |= self.room == 0;
        self.room > 0
    }

    /// Notes that a call was opened.
    pub(super) fn take(&mut self) {
        self.room = self.room.saturating_sub(1);
    }
}
