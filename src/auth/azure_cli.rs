//! Gets tokens from the Azure CLI, with `az account get-access-token` in a minimal environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::entra::seconds;
use super::oauth_error::OAuthError;
use super::token::{AuthError, Token};

const NAME: &str = "the Azure CLI";

/// Generous, because the CLI signs in itself; a slower one hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// In bytes; a token is a few KB.
const MAX_OUTPUT: u64 = 256 * 1024;

/// The only variables that the CLI inherits; some of our others are secrets.
const ENVIRONMENT: &[&str] = &[
    // Files and locale.
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TEMP",
    "TMP",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "AZURE_CONFIG_DIR",
    "AZURE_CLOUD_NAME",
    "AZURE_EXTENSION_DIR",
    // Network.
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "all_proxy",
    "no_proxy",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SystemRoot",
    "SystemDrive",
    "windir",
    "ComSpec",
    "PATHEXT",
    "USERPROFILE",
    "HOMEDRIVE",
    "HOMEPATH",
    "APPDATA",
    "LOCALAPPDATA",
    "ProgramData",
    "ProgramFiles",
    "ProgramFiles(x86)",
    "USERNAME",
    "USERDOMAIN",
    // Cloud Shell's sign-in.
    "ACC_CLOUD",
    "MSI_ENDPOINT",
    "AZUREPS_HOST_ENVIRONMENT",
];

/// Asks the CLI for a token. Cancel safe: the CLI is killed.
pub(super) async fn token(scope: &str, tenant: Option<&str>) -> Result<Token, AuthError> {
    let Some(program) = find() else {
        return Err(refused(OAuthError::new(
            "it is not on PATH",
            "install the Azure CLI, or choose another --credential",
        )));
    };
    // A batch script would split arguments at blanks and quotes.
    for (word, name) in [(Some(scope), "--api-scope"), (tenant, "--tenant-id")] {
        if let Some(word) = word
            && !word
                .chars()
                .all(|letter| letter.is_alphanumeric() || ".-_:/".contains(letter))
        {
            return Err(AuthError::InvalidArgument {
                name,
                value: word.to_owned(),
            });
        }
    }
    let mut command = Command::new(program);
    command
        .args([
            "account",
            "get-access-token",
            "--output",
            "json",
            "--scope",
            scope,
        ])
        .env_clear()
        .envs(
            ENVIRONMENT
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .env("AZURE_CORE_NO_COLOR", "1")
        // Python would import modules from the working directory.
        .current_dir(std::env::var_os("SystemRoot").unwrap_or_else(|| OsString::from("/")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if let Some(tenant) = tenant {
        command.args(["--tenant", tenant]);
    }
    match tokio::time::timeout(TIMEOUT, output(command)).await {
        Ok(Ok((status, out, complaint))) => read(status, &out, &complaint),
        Ok(Err(error)) => Err(refused(OAuthError::new(
            format!("it could not be run: {error}"),
            "check that `az version` works, or choose another --credential",
        ))),
        Err(_) => Err(AuthError::Unavailable {
            place: NAME.to_owned(),
            what: format!("no answer within {} s", TIMEOUT.as_secs()),
        }),
    }
}

/// Searches the absolute folders of PATH, never the working directory.
fn find() -> Option<PathBuf> {
    let names: &[&str] = if cfg!(windows) {
        &["az.cmd", "az.exe"]
    } else {
        &["az"]
    };
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|program| program.is_file())
}

async fn output(mut command: Command) -> std::io::Result<(ExitStatus, String, String)> {
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (out, complaint) = tokio::try_join!(read_all(stdout), read_all(stderr))?;
    Ok((child.wait().await?, out, complaint))
}

async fn read_all(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(MAX_OUTPUT + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > MAX_OUTPUT {
        return Err(std::io::Error::other("its output has no end"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Parses the token from the first JSON object in `out`. Other output is never shown, because it may contain a token.
fn read(status: ExitStatus, out: &str, complaint: &str) -> Result<Token, AuthError> {
    if !status.success() {
        let does_not_run = matches!(status.code(), Some(126 | 127 | 9009))
            || complaint.contains("is not recognized");
        let hint = if does_not_run {
            "check that `az version` works, or choose another --credential"
        } else {
            "run `az login` (for this tenant: `az login --tenant`), and try again"
        };
        return Err(refused(OAuthError::of_program(complaint, hint)));
    }
    let answer = out.match_indices('{').find_map(|(at, _)| {
        let mut values = serde_json::Deserializer::from_str(&out[at..]).into_iter::<Value>();
        values
            .next()?
            .ok()
            .filter(|json| json["accessToken"].is_string())
    });
    let Some(answer) = answer else {
        return Err(refused(OAuthError::new(
            "it printed no token",
            "check that `az account get-access-token` prints JSON with an accessToken",
        )));
    };
    let end = seconds(&answer["expires_on"]).and_then(|end| Timestamp::from_second(end).ok());
    Token::received(
        answer["accessToken"].as_str().unwrap_or_default(),
        end,
        NAME,
    )
}

fn refused(error: OAuthError) -> AuthError {
    AuthError::Refused {
        place: NAME.to_owned(),
        error,
    }
}
