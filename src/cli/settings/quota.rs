//! What the `quota` command is to show.

use std::path::PathBuf;

use crate::cli::args::{CommonArgs, QuotaArgs, QuotaCommand, TableFormat};
use crate::model::{Scope, UNNAMED};
use crate::quota::Windows;

use super::allowance::Allowance;
use super::common;
use super::error::SettingsError;
use super::surroundings::Surroundings;

/// What the `quota` command is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaSettings {
    /// How it is printed.
    pub format: TableFormat,
    /// What is allowed for cancels, where that was said; else as the newest run of a scope was allowed.
    pub cancel: Option<Windows>,
    /// The same for reads.
    pub read: Option<Windows>,
    /// Whether what the service taught is forgotten.
    pub reset: bool,
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
        let [cancel, read] = Allowance::chosen(typed.allowance, around)?;
        let reset = typed.command.is_some();
        let scope = match typed.command {
            Some(QuotaCommand::Reset(scope)) => scope,
            None => typed.scope,
        };
        Ok(Self {
            format: typed.format,
            cancel,
            read,
            reset,
            filter: ScopeFilter {
                cloud: scope.cloud.map(|cloud| cloud.as_str().to_owned()),
                tenant: scope.tenant_id,
                app: scope.client_id,
            },
            state_dir: common::state_dir(common, around)?,
        })
    }
}
