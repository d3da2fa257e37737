//! How the `sandbox` command serves.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::cli::args::SandboxArgs;
use crate::input::Input;
use crate::sandbox::SandboxSettings;

/// How the `sandbox` command serves.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// Where it listens: always a loopback address.
    pub address: SocketAddr,
    /// Which actions there are at the start.
    pub seed: Seed,
    /// How the imitation behaves.
    pub sandbox: SandboxSettings,
    /// Where calls are written down.
    pub log: Option<PathBuf>,
}

/// Which actions a sandbox has at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seed {
    /// Those that an input names.
    Input(Input),
    /// So many, made up.
    Generated(u32),
}

impl ServeSettings {
    pub(super) fn resolve(typed: SandboxArgs) -> Self {
        let mut sandbox = SandboxSettings {
            quota: typed.quota,
            latency: typed.latency,
            faults: typed.faults.unwrap_or_default(),
            keeps_calls: false,
            ..SandboxSettings::default()
        };
        sandbox.tokens.lifetime = typed.token_lifetime;
        sandbox.tokens.strict = typed.strict_tokens;
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, typed.port)),
            seed: match typed.seed {
                Some(path) => Seed::Input(Input::parse(path.as_os_str())),
                None => Seed::Generated(typed.actions),
            },
            sandbox,
            log: typed.log,
        }
    }
}
