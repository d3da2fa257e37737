//! Several tenants in one run: a connection for each profile.

use crate::cli::args::ConnectionArgs;

use super::config_file::{ConfigFault, ConfigLayer};
use super::connection::ConnectionSettings;
use super::error::SettingsError;
use super::surroundings::Surroundings;

/// The connections that the config file's profiles name. One that cannot be used is no fault until it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    all: Vec<(String, Result<ConnectionSettings, SettingsError>)>,
}

impl Profiles {
    /// Resolves all of them.
    pub(super) fn resolve(typed: &ConnectionArgs, around: &Surroundings<'_>) -> Self {
        let names = around.config.iter().flat_map(ConfigLayer::profiles);
        let of = |name: String| {
            let connection = Self::connection(&name, typed, around);
            (name, connection)
        };
        Self {
            all: names.map(of).collect(),
        }
    }

    fn connection(
        name: &str,
        typed: &ConnectionArgs,
        around: &Surroundings<'_>,
    ) -> Result<ConnectionSettings, SettingsError> {
        let config = around.config.as_ref();
        let layer = config.map(|config| config.with_profile(name));
        let layer = layer.transpose().map_err(SettingsError::Config)?;
        ConnectionSettings::resolve(typed.clone(), &around.with_config(layer))
    }

    /// Returns those that can be used.
    pub(super) fn connections(&self) -> impl Iterator<Item = &ConnectionSettings> {
        self.all
            .iter()
            .filter_map(|(_, connection)| connection.as_ref().ok())
    }

    /// Returns a profile's connection.
    ///
    /// # Errors
    /// Returns that there is no such profile, or what is wrong with it.
    pub fn of(&self, name: &str) -> Result<ConnectionSettings, SettingsError> {
        let found = self.all.iter().find(|(known, _)| known == name);
        match found {
            Some((_, connection)) => connection.clone(),
            None => Err(SettingsError::Config(ConfigFault::no_file(None, name))),
        }
    }
}

/// Resolves the connections of several profiles, each of a tenant of its own.
pub(super) fn several(
    names: &[String],
    typed: &ConnectionArgs,
    around: &Surroundings<'_>,
) -> Result<Vec<ConnectionSettings>, SettingsError> {
    if typed.scope.tenant_id.is_some() {
        return Err(SettingsError::OneOfSeveral {
            what: "--tenant-id",
        });
    }
    let connections = names
        .iter()
        .map(|name| Profiles::connection(name, typed, around));
    apart(connections.collect::<Result<_, _>>()?)
}

/// Refuses profiles that lead to one tenant: a row that names it would belong to both.
///
/// # Errors
/// Returns two of them.
fn apart(connections: Vec<ConnectionSettings>) -> Result<Vec<ConnectionSettings>, SettingsError> {
    let mut tenants: Vec<ConnectionSettings> = Vec::new();
    for connection in connections {
        let is_same = |other: &&ConnectionSettings| {
            other.tenant.is_some()
                && (&other.tenant, &other.cloud) == (&connection.tenant, &connection.cloud)
        };
        if let Some(other) = tenants.iter().find(is_same) {
            return Err(SettingsError::SameTenant {
                one: other.profile.clone().unwrap_or_default(),
                other: connection.profile.clone().unwrap_or_default(),
                tenant: connection.tenant.clone().unwrap_or_default(),
            });
        }
        tenants.push(connection);
    }
    Ok(tenants)
}
