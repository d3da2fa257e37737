//! Credentials: where tokens come from, when they expire, and what their claims say.
//!
//! Nothing here sends a token to the API or shows one: the `Debug` of secrets hides them, and errors name the origin of
//! a token, never its content. Claims are not verified, so they can stop a lane and be displayed, but never permit
//! anything.

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
pub use entra::{EntraSignIn, GrantType, SecretOrigin, SignInMethod};
pub use login_client::LoginClient;
pub use managed_identity::ManagedIdentity;
pub use static_token::StaticToken;
pub use token::{AuthError, Token};
