//! The eyes of a run: progress, log, metrics.

use crate::model::{LaneId, Moment, Uptime};
use crate::quota::Usage;

use super::core::{LaneView, RunEvent};

/// What can be seen of a run at one moment.
#[derive(Clone, Debug)]
pub struct RunView {
    /// When.
    pub now: Moment,
    /// Whether the input was read to its end, so that the number of rows is known.
    pub input_ended: bool,
    /// Each lane.
    pub lanes: Vec<LaneView>,
    /// How far each lane's windows for cancels are used; nothing of lanes that have little left where others have more.
    pub usage: Vec<Vec<Usage>>,
    /// When the last cancel may leave at the earliest, where that can be told.
    pub finish: Option<Uptime>,
}

/// Watches a run. Neither call may fail or wait: a run goes on whether anybody sees it or not.
pub trait Observer {
    /// Something happened in a lane; where it is about a row, the journal holds it already.
    fn happened(&mut self, now: Moment, lane: LaneId, event: &RunEvent);

    /// Some time has passed.
    fn looked(&mut self, view: &RunView);
}
