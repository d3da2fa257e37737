//! Credentials: where a token comes from, how long it lives and what its claims say.
//!
//! It never sends a token anywhere and never shows one: secrets live in types whose Debug hides them, and errors name
//! the place a token came from, not what stood there. Claims are read without being verified, so they may stop a lane
//! and may be shown, but permit nothing.

mod azure_cli;
mod certificate;
mod claims;
mod credential;
mod device_code;
mod entra;
mod login_client;
mod managed_identity;
mod oauth_error;
mod secret_file;
mod static_token;
mod token;

pub use certificate::Certificate;
pub use claims::Claims;
pub use credential::{CachePolicy, Credential, TokenSource};
pub use device_code::{DeviceCode, DevicePrompt, ShowPrompt};
pub use entra::{EntraSignIn, Grant, SecretOrigin, SignInMethod};
pub use login_client::LoginClient;
pub use managed_identity::ManagedIdentity;
pub use static_token::StaticToken;
pub use token::{AuthError, Token};
