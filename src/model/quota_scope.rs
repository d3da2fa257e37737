//! Quota scopes, and the ids of runs and lanes.

use std::fmt;

use uuid::Uuid;

/// A kind of endpoint. We assume that each has a quota of its own.
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

    pub fn is_read(self) -> bool {
        match self {
            Self::Cancel | Self::Release => false,
            Self::Get | Self::List => true,
        }
    }

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

/// Stands for tenant and app if a run has several.
pub const SEVERAL: &str = "several";

/// Stands for an unknown tenant or app.
pub const UNNAMED: &str = "-";

/// What a quota applies to: cloud, tenant, app and destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The name of the cloud, or `host:port` of a custom API address.
    pub cloud: String,
    /// The tenant id, or [`UNNAMED`] if neither the settings nor the token name it.
    pub tenant: String,
    /// The client id, or [`UNNAMED`].
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

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Uuid);

impl RunId {
    /// Takes a version 7 UUID, so that run ids sort by age.
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }

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

/// The part of a run for one tenant, by its position in the list of lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u16);
