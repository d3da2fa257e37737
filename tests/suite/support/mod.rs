//! What several subjects need: models of the service, and the best that a rule can do.
//!
//! Nothing here uses the code that it judges. A model reads [`Windows`](mde_cancel::quota::Windows) for their numbers
//! only, and counts for itself.

mod model_server;
mod naive_governor;
mod queued;
mod t_opt;

mod judge;
mod mortal;
mod scenario;

mod history;
mod live_sandbox;
mod story;
mod virtual_loop;
mod world;

pub(crate) use history::History;
pub(crate) use judge::Told;
pub(crate) use judge::assert_agrees;
pub(crate) use judge::assert_quotas_kept;
pub(crate) use judge::repeated;
pub(crate) use live_sandbox::LiveSandbox;
pub(crate) use model_server::Allowance;
pub(crate) use model_server::FixedWindows;
pub(crate) use model_server::RollingWindows;
pub(crate) use model_server::TokenBuckets;
pub(crate) use model_server::allowances;
pub(crate) use model_server::first_refused;
pub(crate) use model_server::most_in_any;
pub(crate) use mortal::End;
pub(crate) use mortal::GRACE;
pub(crate) use mortal::Schedule;
pub(crate) use mortal::Seen;
pub(crate) use mortal::play;
pub(crate) use naive_governor::naive_governor;
pub(crate) use queued::queued;
pub(crate) use scenario::GoneOn;
pub(crate) use scenario::Hangs;
pub(crate) use scenario::Played;
pub(crate) use scenario::Scenario;
pub(crate) use scenario::nth_id;
pub(crate) use story::Journey;
pub(crate) use story::any_pace;
pub(crate) use story::any_story;
pub(crate) use story::any_windows;
pub(crate) use t_opt::Departure;
pub(crate) use t_opt::best_departures;
pub(crate) use t_opt::t_opt;
pub(crate) use virtual_loop::VirtualLoop;
pub(crate) use world::Fault;
pub(crate) use world::World;
pub(crate) use world::id_of;
pub(crate) use world::reply;
pub(crate) use world::row_of;
