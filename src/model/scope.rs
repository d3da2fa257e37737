//! What the service counts by, and the names of a run and its lanes.

use std::fmt;

use uuid::Uuid;

/// The kind of endpoint a call goes to; each is believed to have an allowance of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// `POST …/machineactions/{id}/cancel`.
    Cancel,
    /// `POST …/machines/{id}/unisolate` and `…/unrestrictCodeExecution`.
    Release,
    /// `GET …/machineactions/{id}`.
    Get,
    /// `GET …/machineactions?$filter=…`.
    List,
}

impl Destination {
    pub const ALL: [Destination; 4] = [Self::Cancel, Self::Release, Self::Get, Self::List];

    /// Returns whether a call there changes nothing.
    pub fn is_read(self) -> bool {
        match self {
            Self::Cancel | Self::Release => false,
            Self::Get | Self::List => true,
        }
    }

    /// Returns the word used in scopes, reports and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Release => "release",
            Self::Get => "get",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What stands in place of tenant and app where a run has several.
pub const SEVERAL: &str = "several";

/// What stands in place of a tenant or an app that nobody names.
pub const UNNAMED: &str = "-";

/// What one allowance belongs to: cloud (or host and port), tenant, app and destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The cloud preset's name, or `host:port` of a custom API address.
    pub cloud: String,
    /// The tenant id, or `-` where neither settings nor token name it.
    pub tenant: String,
    /// The app (client) id, or `-`.
    pub app: String,
    pub destination: Destination,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.cloud, self.tenant, self.app, self.destination
        )
    }
}

/// Names one execution of a plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Uuid);

impl RunId {
    /// Wraps a version 7 UUID, so that run ids sort by age.
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// Reads a run id back.
    ///
    /// # Errors
    /// Returns the text's fault where it is no UUID.
    pub fn parse(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text.trim()).map(Self)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One tenant's share of a run, by its position in the run's list of lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u16);
