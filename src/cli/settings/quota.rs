//! What the `quota` command is to show.

use std::path::PathBuf;

use crate::cli::args::{CommonArgs, QuotaArgs, TableFormat};
use crate::model::{Scope, UNNAMED};

use super::allowance::Allowance;
use super::common;
use super::error::SettingsError;
use super::surroundings::Surroundings;

/// What the `quota` command is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaSettings {
    /// How it is printed.
    pub format: TableFormat,
    /// What is allowed, where the service named nothing smaller.
    pub allowance: Allowance,
    /// Which scopes are shown.
    pub filter: ScopeFilter,
    /// Where the ledger lies.
    pub state_dir: PathBuf,
}

/// Which scopes are shown: all that agree with what is named here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeFilter {
    /// The cloud.
    pub cloud: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The application.
    pub app: Option<String>,
}

impl ScopeFilter {
    /// Returns whether a scope is shown. One of opaque tokens may be of any tenant and app.
    pub fn admits(&self, scope: &Scope) -> bool {
        let agrees = |asked: &Option<String>, is: &str| {
            is == UNNAMED
                || asked
                    .as_ref()
                    .is_none_or(|asked| asked.eq_ignore_ascii_case(is))
        };
        agrees(&self.cloud, &scope.cloud)
            && agrees(&self.tenant, &scope.tenant)
            && agrees(&self.app, &scope.app)
    }
}

impl QuotaSettings {
    pub(super) fn resolve(
        typed: QuotaArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            format: typed.format,
            allowance: Allowance::resolve(typed.allowance, around)?,
            filter: ScopeFilter {
                cloud: typed.cloud.map(|cloud| cloud.as_str().to_owned()),
                tenant: typed.tenant_id,
                app: typed.client_id,
            },
            state_dir: common::state_dir(common, around)?,
        })
    }
}
