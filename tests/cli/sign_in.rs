//! Sign-in at a sandbox: its messages and its ends, and that no secret or token stays anywhere.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mde_cancel::sandbox::{CallKind, Status, TokenSettings};

use crate::support::{Done, FakeService, Place, done, nth_id, write_ids};

pub(super) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const OTHER: &str = "22222222-2222-3333-4444-555555555555";
pub(super) const APP: &str = "99999999-2222-3333-4444-555555555555";
pub(super) const SECRET: &str = "s3cr3t~marker/with+odd=letters&more";

/// The start of every sandbox token.
const TOKEN_START: &str = r#"{"typ":"JWT","alg":"none"}"#;

/// Serves `actions` actions, and accepts only good tokens.
pub(super) fn place(actions: usize, tokens: TokenSettings) -> Place {
    let place = Place::with(|settings| {
        settings.tokens = TokenSettings {
            strict: true,
            ..tokens
        };
    });
    place.live.isolates(1..=actions, Status::Pending);
    write_ids(&place.at("ids.txt"), actions);
    place
}

/// The program with an app, but without a credential.
pub(super) fn as_app(place: &Place, words: &str) -> Command {
    let mut command = place.command(words);
    command
        .env_remove("MDE_CANCEL_TOKEN")
        .env("AZURE_AUTHORITY_HOST", &place.live.url)
        .env("AZURE_TENANT_ID", TENANT)
        .env("AZURE_CLIENT_ID", APP);
    command
}

pub(super) fn with_secret(place: &Place, words: &str) -> Command {
    let mut command = as_app(place, words);
    command.env("AZURE_CLIENT_SECRET", SECRET);
    command
}

pub(super) fn with_token(place: &Place, words: &str, token: &str) -> Command {
    let mut command = as_app(place, words);
    command.env("MDE_CANCEL_TOKEN", token);
    command
}

fn assert_no_run(place: &Place) {
    let runs = done(&mut as_app(place, "runs --format json"));
    assert_eq!(runs.stdout, "[]\n");
}

/// Returns where a secret or a token appears in `folder` or `streams`, in any form that is easily decoded.
fn leaks(folder: &Path, streams: &[&[u8]]) -> Vec<String> {
    let token = URL_SAFE_NO_PAD.encode(TOKEN_START);
    let percent: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let mut needles = vec![
        SECRET.to_owned(),
        "s3cr3t~marker".to_owned(),
        "s3cr3t/marker".to_owned(),
        "s3cr3t\\/marker".to_owned(),
        percent,
        token,
    ];
    needles.push(STANDARD.encode(SECRET));
    let mut found = Vec::new();
    let mut look = |place: &str, bytes: &[u8]| {
        for needle in &needles {
            if bytes
                .windows(needle.len())
                .any(|part| part == needle.as_bytes())
            {
                found.push(format!("{needle} in {place}"));
            }
        }
    };
    for (number, stream) in streams.iter().enumerate() {
        look(&format!("stream {number}"), stream);
    }
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                look(&path.display().to_string(), &std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn no_secret_and_no_token_stays_in_streams_logs_reports_state_or_the_command_line() {
    let place = place(20, TokenSettings::default());
    let hidden = tempfile::tempdir().unwrap();
    let secret_path = hidden.path().join("secret");
    {
        use std::io::Write as _;
        let mut file = mde_cancel::platform::open_private_file(&secret_path).unwrap();
        file.write_all(SECRET.as_bytes()).unwrap();
    }
    let run = "run --yes -vvv --log-file log.txt --report r.csv ids.txt";
    let child = with_secret(&place, run)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    #[cfg(target_os = "linux")]
    let command_line = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    #[cfg(not(target_os = "linux"))]
    let command_line = Vec::new();
    let ended = Done::of(child.wait_with_output().unwrap()).exits(0);
    let mut streams = vec![command_line, ended.told().into_bytes()];
    let mut all_crates = with_secret(&place, "run --yes --log-file all.txt ids.txt");
    all_crates.env("MDE_CANCEL_LOG", "trace");
    let by_file = "doctor -vvv --log-format json --log-file log.json --client-secret-file";
    let mut by_file = as_app(&place, by_file);
    by_file.arg(&secret_path);
    let others = [
        "config show -vvv",
        "run --yes -vvv --log-file log.txt --tenant-id wrong.example/ ids.txt",
        "run --yes -vvv --log-file log.txt --login-url http://127.0.0.1:1 --timeout 1s no.txt",
        "runs -vvv",
        "report -vvv",
    ];
    let others = others.map(|words| with_secret(&place, words));
    for mut command in [all_crates, by_file].into_iter().chain(others) {
        streams.push(done(&mut command).told().into_bytes());
    }
    let streams: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
    assert_eq!(leaks(place.folder.path(), &streams), [""; 0]);
    // Checks the search itself.
    place.write("leak", SECRET);
    assert!(!leaks(place.folder.path(), &[]).is_empty());
    // At -vvv, the log has some content.
    assert!(place.read("log.txt").len() > 1000);
}

#[test]
fn a_refused_sign_in_exits_with_5_prints_a_fix_and_starts_no_run() {
    let tokens = TokenSettings {
        secret: Some("right".into()),
        tenants: vec![TENANT.to_owned()],
        ..TokenSettings::default()
    };
    let place = place(3, tokens);
    let wrong_tenant = format!("run --yes --tenant-id {OTHER} ids.txt");
    for (words, text, mend) in [
        (
            "run --yes ids.txt",
            "the client secret is wrong (AADSTS7000215, trace ",
            "hint: give the secret's value, not its id",
        ),
        (
            wrong_tenant.as_str(),
            "there is no such tenant (AADSTS90002, trace ",
            "hint: check --tenant-id, and --cloud",
        ),
    ] {
        let Done { stdout, stderr, .. } = done(&mut with_secret(&place, words)).exits(5);
        let start = format!("error: the login service 127.0.0.1 refused: {text}");
        assert!(
            stderr.starts_with(&start) && stderr.contains(mend),
            "{stderr}"
        );
        assert_eq!(
            (stdout.as_str(), stderr.lines().count()),
            ("", 2),
            "{stderr}"
        );
    }
    let log = place.sandbox().log();
    assert_eq!(log.len(), 2);
    assert!(log.iter().all(|call| call.kind == CallKind::Token));
    assert_no_run(&place);
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_a_sign_in_that_waits_and_nothing_was_begun() {
    let place = place(3, TokenSettings::default());
    // Never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let login = format!("http://{}", silent.local_addr().unwrap());
    let child = with_secret(&place, "run --yes ids.txt")
        .env("AZURE_AUTHORITY_HOST", login)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _waiting = silent.accept().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    Done::of(child.wait_with_output().unwrap()).exits(4);
    assert_eq!(place.sandbox().log().len(), 0);
    assert_no_run(&place);
}

#[test]
fn a_token_of_another_tenant_stops_before_any_call() {
    let place = place(3, TokenSettings::default());
    let token = place.sandbox().token(OTHER, APP);
    let told = done(&mut with_token(&place, "run --yes ids.txt", &token))
        .exits(5)
        .stderr;
    let text =
        format!("error: the token is for tenant {OTHER}, but tenant {TENANT} was asked for\n");
    assert!(told.starts_with(&text), "{told}");
    assert_eq!(place.sandbox().log().len(), 0);
}

#[test]
fn a_static_token_is_refused_for_a_tenant_named_by_domain() {
    let place = place(3, TokenSettings::default());
    let token = place.sandbox().token(OTHER, APP);
    let mut command = with_token(&place, "run --yes ids.txt", &token);
    let told = done(command.env("AZURE_TENANT_ID", "contoso.onmicrosoft.com"))
        .exits(5)
        .stderr;
    let text = format!(
        "error: the token is for tenant {OTHER}, and whether that is contoso.onmicrosoft.com can't be checked\n"
    );
    assert!(told.starts_with(&text), "{told}");
    assert!(told.contains(&format!("--tenant-id {OTHER}")), "{told}");
    assert_eq!(place.sandbox().log().len(), 0);
}

#[test]
fn a_static_token_that_ends_before_the_run_can_is_warned_of() {
    let tokens = TokenSettings {
        lifetime: Duration::from_secs(600),
        ..TokenSettings::default()
    };
    let place = place(20, tokens);
    let token = place.sandbox().token(TENANT, APP);
    let words = "run --yes --quota 5/1h --stop-after 2s --no-verify ids.txt";
    let warning = "and can't be renewed";
    let told = done(&mut with_token(&place, words, &token)).exits(4).stderr;
    assert_eq!(told.matches(warning).count(), 1, "{told}");
    let mut renewable = with_secret(&place, words);
    renewable.env("MDE_CANCEL_STATE_DIR", "other");
    let told = done(&mut renewable).exits(4).stderr;
    assert!(!told.contains(warning), "{told}");
}

#[test]
fn a_preview_whose_reads_wait_for_their_quota_uses_no_token_that_has_ended() {
    let tokens = TokenSettings {
        lifetime: Duration::from_secs(3),
        ..TokenSettings::default()
    };
    let place = place(800, tokens);
    let mut preview = with_secret(&place, "preview --read-quota 2/1s ids.txt");
    done(&mut preview).exits(0);
    let log = place.sandbox().log();
    assert!(log.iter().all(|call| call.status != Some(401)), "{log:?}");
    assert!(place.calls(CallKind::Token).len() >= 2, "{log:?}");
}

/// The program with this shell script as `az` on its path.
#[cfg(unix)]
fn with_az(place: &Place, words: &str, script: &str) -> Command {
    use std::os::unix::fs::PermissionsExt as _;
    let bin = place.at("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let az = bin.join("az");
    std::fs::write(&az, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&az, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = as_app(place, &format!("{words} --credential azure-cli"));
    command
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("HOME", place.folder.path());
    command
}

#[cfg(unix)]
#[test]
fn the_token_of_the_azure_cli_is_found_in_whatever_it_prints_around_it() {
    let place = place(1, TokenSettings::default());
    let token = place.sandbox().token(TENANT, APP);
    let json =
        format!(r#"{{"accessToken":"{token}","expires_on":2000000000,"tokenType":"Bearer"}}"#);
    let quoted = json.replace("2000000000", "\"2000000000\"");
    let old = json.replace(
        "\"expires_on\":2000000000",
        "\"expiresOn\":\"2033-05-18 03:33:20.000000\"",
    );
    for printed in [
        json.clone(),
        format!("\u{1b}[0m{json}\u{1b}[0m"),
        format!("WARNING: this extension {{x}} is in preview\n{json}"),
        format!("\u{feff}{json}\r\n"),
        quoted,
        old,
    ] {
        place.write("answer", &printed);
        let told = done(&mut with_az(&place, "doctor", "cat \"$HOME/answer\"")).exits(0);
        assert!(!told.told().contains(&token));
    }
}

#[cfg(unix)]
#[test]
fn what_the_azure_cli_complains_of_is_told_with_what_to_do() {
    let place = place(1, TokenSettings::default());
    for (script, text, hint) in [
        (
            "echo \"ERROR: AADSTS90002: Tenant 'contoso' not found. Check az login.\" >&2; exit 1",
            "the Azure CLI refused: there is no such tenant (AADSTS90002)",
            "hint: check --tenant-id",
        ),
        (
            "echo 'AADSTS700024: Client assertion is not within its valid time range.' >&2; exit 1",
            "the Azure CLI refused: the federated token that the sign-in was made with has expired (AADSTS700024)",
            "hint: sign in again in this job",
        ),
        (
            "echo 'ERROR: Please run az login to setup account.' >&2; exit 1",
            "the Azure CLI refused: ERROR: Please run az login to setup account.",
            "hint: run `az login`",
        ),
        (
            "echo \"'python' is not recognized as an internal or external command\" >&2; exit 1",
            "the Azure CLI refused: 'python' is not recognized",
            "hint: check that `az version` works",
        ),
        (
            "exec /no/such/python",
            "the Azure CLI refused: ",
            "hint: check that `az version` works",
        ),
        (
            "echo s3cr3t",
            "the Azure CLI refused: it printed no token",
            "hint: check that `az account get-access-token` prints JSON",
        ),
        (
            "yes s3cr3t",
            "the Azure CLI refused: it could not be run: its output has no end",
            "hint: check that `az version` works",
        ),
    ] {
        let told = done(&mut with_az(&place, "run --yes ids.txt", script))
            .exits(5)
            .stderr;
        assert!(
            told.contains(text) && told.contains(hint),
            "{script}: {told}"
        );
        assert!(!told.contains("s3cr3t"), "{told}");
    }
    let mut nowhere = with_az(&place, "run --yes ids.txt", "");
    let told = done(nowhere.env("PATH", "/nowhere")).exits(5).stderr;
    let text = "the Azure CLI refused: it is not on PATH";
    assert!(told.contains(text), "{told}");
}

#[cfg(windows)]
#[test]
fn az_cmd_is_run_with_few_variables_and_its_token_or_complaint_is_read() {
    let place = place(1, TokenSettings::default());
    let token = place.sandbox().token(TENANT, APP);
    let answer = format!(r#"{{"accessToken":"{token}","expires_on":2000000000}}"#);
    place.write("answer", answer);
    // A blank in the folder's name, as in `Program Files`.
    let bin = place.at("Azure CLI");
    std::fs::create_dir(&bin).unwrap();
    let with_az = |script: &str| {
        std::fs::write(bin.join("az.cmd"), format!("@echo off\r\n{script}\r\n")).unwrap();
        let mut command = as_app(&place, "doctor --credential azure-cli");
        command
            .env("PATH", &bin)
            .env("USERPROFILE", place.folder.path())
            .env("MDE_CANCEL_TOKEN", SECRET)
            .env("GITHUB_TOKEN", SECRET);
        done(&mut command)
    };
    let script = r#"set >"%USERPROFILE%\env"
echo %* >"%USERPROFILE%\words"
type "%USERPROFILE%\answer""#;
    with_az(&script.replace('\n', "\r\n")).exits(0);
    let seen = place.read("env");
    assert!(seen.contains("AZURE_CORE_NO_COLOR=1"), "{seen}");
    assert!(!seen.contains("s3cr3t"), "{seen}");
    let words = place.read("words");
    assert!(words.starts_with("account get-access-token"), "{words}");
    let told = with_az("echo ERROR: Please run az login to setup account.>&2\r\nexit /b 1");
    let told = told.exits(5).told();
    assert!(told.contains("run `az login`"), "{told}");
}

#[cfg(unix)]
#[test]
fn the_azure_cli_gets_few_variables_and_no_secret() {
    let place = place(1, TokenSettings::default());
    let mut command = with_az(
        &place,
        "doctor",
        "env >\"$HOME/env\"; pwd >>\"$HOME/env\"; exit 1",
    );
    command
        .env("AZURE_CONFIG_DIR", "/config")
        .env("HTTPS_PROXY", "http://proxy.example:1")
        .env("MDE_CANCEL_TOKEN", SECRET)
        .env("AZURE_CLIENT_SECRET", SECRET)
        .env("IDENTITY_HEADER", SECRET)
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", SECRET)
        .env("GITHUB_TOKEN", SECRET);
    done(&mut command);
    let seen = place.read("env");
    assert!(!seen.contains("s3cr3t"), "{seen}");
    for line in [
        "AZURE_CORE_NO_COLOR=1",
        "AZURE_CONFIG_DIR=/config",
        "HTTPS_PROXY=http://proxy.example:1",
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line}: {seen}");
    }
    assert!(seen.ends_with("\n/\n"), "{seen}");
}

#[cfg(unix)]
#[test]
fn a_federated_token_that_ends_in_mid_run_stops_it_resumably() {
    let tokens = TokenSettings {
        lifetime: Duration::from_secs(2),
        ..TokenSettings::default()
    };
    let place = place(40, tokens);
    let token = place.sandbox().token(TENANT, APP);
    let script = format!(
        "[ -e \"$HOME/once\" ] && {{ echo 'AADSTS700024: too late' >&2; exit 1; }}; touch \"$HOME/once\"; \
         printf '{{\"accessToken\":\"{token}\"}}'"
    );
    let words = "run --yes --no-verify --quota 1/1s,30/1h ids.txt";
    let told = done(&mut with_az(&place, words, &script)).exits(5).told();
    let text = "(AADSTS700024); sign in again in this job";
    assert!(told.contains(text), "{told}");
    assert!(told.contains("mde-cancel resume "), "{told}");
}

#[test]
fn a_token_that_the_service_echoes_reaches_no_report_no_log_and_no_journal() {
    let token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.s3cr3t/marker.signature";
    let escaped = "\\u0065yJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0\\u002es3cr3t\\/marker.signature";
    let service = FakeService::start(move |asked| {
        let id = nth_id(1);
        let record = format!(
            r#"{{"id":"{id}","type":"Isolate","status":"Pending","requestor":"{escaped}","computerDnsName":"{escaped}"}}"#
        );
        match asked.method.as_str() {
            "GET" if asked.target.contains("filter") => (200, format!(r#"{{"value":[{record}]}}"#)),
            "GET" => (200, record),
            _ => (
                400,
                format!(
                    r#"{{"error":{{"code":"{escaped}","message":"{escaped}","target":"{escaped}"}}}}"#
                ),
            ),
        }
    });
    let place = place(1, TokenSettings::default());
    let words = "run --yes -vvv --log-file log.txt --max-attempts 1 --no-verify --report r.csv --report r.html --report r.json \
                 --report r.md ids.txt";
    let mut command = with_token(&place, words, token);
    command
        .env("MDE_CANCEL_API_URL", &service.url)
        .env("MDE_CANCEL_LOG", "trace");
    let told = done(&mut command).exits(3).told();
    assert_eq!(leaks(place.folder.path(), &[told.as_bytes()]), [""; 0]);
    let report = place.read("r.csv");
    assert!(report.contains("[redacted]"), "{report}");
}
