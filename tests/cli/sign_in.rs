//! The real binary signs in at a sandbox: what it tells, how it ends, and that no secret and no token stays anywhere.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mde_cancel::model::RowContext;
use mde_cancel::quota::Windows;
use mde_cancel::sandbox::{CallKind, Generator, Sandbox, SandboxSettings, TokenSettings, serve};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::support::{FakeService, nth_id, program};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const OTHER: &str = "22222222-2222-3333-4444-555555555555";
const APP: &str = "99999999-2222-3333-4444-555555555555";
const SECRET: &str = "s3cr3t~marker/with+odd=letters&more";

/// How every token of a sandbox begins.
const TOKEN_START: &str = r#"{"typ":"JWT","alg":"none"}"#;

/// A sandbox that serves, with a folder for the binary.
struct Place {
    sandbox: Sandbox,
    address: String,
    folder: tempfile::TempDir,
    // Dropped last: the server runs on it.
    _runtime: Runtime,
}

impl Place {
    /// Serves so many actions to those who hold a good token.
    fn with(actions: usize, tokens: TokenSettings) -> Self {
        let sandbox = Sandbox::new(SandboxSettings {
            tokens: TokenSettings {
                strict: true,
                ..tokens
            },
            quota: Windows::none(),
            ..SandboxSettings::default()
        });
        let ids: Vec<_> = (1..=actions).map(nth_id).collect();
        let rows = ids.iter().map(|&id| (id, RowContext::default()));
        sandbox.seed_from(rows, &Generator::all_pending(1));
        let folder = tempfile::tempdir().unwrap();
        let texts: Vec<_> = ids.iter().map(ToString::to_string).collect();
        std::fs::write(folder.path().join("ids.txt"), texts.join("\n")).unwrap();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(serve(
            listener,
            sandbox.clone(),
            std::future::pending::<()>(),
        ));
        Self {
            sandbox,
            address,
            folder,
            _runtime: runtime,
        }
    }

    /// Returns the binary with nothing of this process's environment, and an app to sign in as.
    fn binary(&self, words: &str) -> Command {
        let mut command = program(self.folder.path());
        command
            .args(words.split_whitespace())
            .env("MDE_CANCEL_API_URL", &self.address)
            .env("AZURE_AUTHORITY_HOST", &self.address)
            .env("AZURE_TENANT_ID", TENANT)
            .env("AZURE_CLIENT_ID", APP);
        command
    }

    fn with_secret(&self, words: &str) -> Command {
        let mut command = self.binary(words);
        command.env("AZURE_CLIENT_SECRET", SECRET);
        command
    }

    /// Returns how often the API was called, sign-ins apart.
    fn api_calls(&self) -> usize {
        let calls = self.sandbox.log();
        calls
            .iter()
            .filter(|call| call.kind != CallKind::Token)
            .count()
    }
}

fn ended(mut command: Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// Returns where a secret or a token stands in `folder` or in `streams`, in any form that is easily read back.
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
    let place = Place::with(20, TokenSettings::default());
    let hidden = tempfile::tempdir().unwrap();
    let secret_path = hidden.path().join("secret");
    {
        use std::io::Write as _;
        let mut file = mde_cancel::platform::open_private_file(&secret_path).unwrap();
        file.write_all(SECRET.as_bytes()).unwrap();
    }
    let run = "run --yes -vvv --log-file log.txt --report r.csv ids.txt";
    let mut by_variable = place.with_secret(run);
    let child = by_variable
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    #[cfg(target_os = "linux")]
    let command_line = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    #[cfg(not(target_os = "linux"))]
    let command_line = Vec::new();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let mut streams = vec![command_line, done.stdout, done.stderr];
    let mut all_crates = place.with_secret("run --yes --log-file all.txt ids.txt");
    all_crates.env("MDE_CANCEL_LOG", "trace");
    let mut by_file = place.binary("doctor -vvv --log-format json --log-file log.json");
    by_file.arg("--client-secret-file").arg(&secret_path);
    for mut command in [
        all_crates,
        by_file,
        place.with_secret("config show -vvv"),
        place.with_secret("run --yes -vvv --log-file log.txt --tenant-id wrong.example/ ids.txt"),
        place.with_secret(
            "run --yes -vvv --log-file log.txt --login-url http://127.0.0.1:1 --timeout 1s no.txt",
        ),
        place.with_secret("runs -vvv"),
        place.with_secret("report -vvv"),
    ] {
        let done = command.output().unwrap();
        streams.extend([done.stdout, done.stderr]);
    }
    let streams: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
    let none: [String; 0] = [];
    assert_eq!(leaks(place.folder.path(), &streams), none);
    // The hunt itself works.
    std::fs::write(place.folder.path().join("leak"), SECRET).unwrap();
    assert!(!leaks(place.folder.path(), &[]).is_empty());
    // What was said at -vvv is not next to nothing.
    assert!(
        std::fs::read_to_string(place.folder.path().join("log.txt"))
            .unwrap()
            .len()
            > 1000
    );
}

#[test]
fn a_refused_sign_in_ends_with_five_says_the_mend_and_begins_no_run() {
    let tokens = || TokenSettings {
        secret: Some("right".into()),
        tenants: vec![TENANT.to_owned()],
        ..TokenSettings::default()
    };
    let place = Place::with(3, tokens());
    let wrong_tenant = format!("run --yes --tenant-id {OTHER} ids.txt");
    for (words, text, mend) in [
        (
            "run --yes ids.txt",
            "error: the login service 127.0.0.1 refused: the client secret is wrong (AADSTS7000215, trace ",
            "hint: give the secret's value, not its id",
        ),
        (
            wrong_tenant.as_str(),
            "error: the login service 127.0.0.1 refused: there is no such tenant (AADSTS90002, trace ",
            "hint: check --tenant-id, and --cloud",
        ),
    ] {
        let (code, out, told) = ended(place.with_secret(words));
        assert_eq!((code, out.as_str()), (Some(5), ""), "{told}");
        assert!(told.contains(text) && told.contains(mend), "{told}");
        assert_eq!(told.lines().count(), 2, "{told}");
    }
    let sign_ins = place.sandbox.log().len();
    assert_eq!((sign_ins, place.api_calls()), (2, 0));
    let (_, runs, _) = ended(place.binary("runs --format json"));
    assert_eq!(runs, "[]\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_a_sign_in_that_waits_and_nothing_was_begun() {
    let place = Place::with(3, TokenSettings::default());
    // Whoever connects waits.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = place.with_secret("run --yes ids.txt");
    command.env(
        "AZURE_AUTHORITY_HOST",
        format!("http://{}", silent.local_addr().unwrap()),
    );
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _waiting = silent.accept().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let done = child.wait_with_output().unwrap();
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(4), "{told}");
    assert_eq!(place.sandbox.log().len(), 0);
    let (_, runs, _) = ended(place.binary("runs --format json"));
    assert_eq!(runs, "[]\n");
}

#[test]
fn a_token_of_another_tenant_stops_before_any_call() {
    let place = Place::with(3, TokenSettings::default());
    let mut command = place.binary("run --yes ids.txt");
    command.env("MDE_CANCEL_TOKEN", place.sandbox.token(OTHER, APP));
    let (code, _, told) = ended(command);
    assert_eq!(code, Some(5));
    let text =
        format!("error: the token is for tenant {OTHER}, but tenant {TENANT} was asked for\n");
    assert!(told.starts_with(&text), "{told}");
    assert_eq!(place.sandbox.log().len(), 0);
}

#[test]
fn a_static_token_that_ends_before_the_run_can_is_warned_of() {
    let place = Place::with(
        20,
        TokenSettings {
            lifetime: Duration::from_secs(600),
            ..TokenSettings::default()
        },
    );
    let mut command = place.binary("run --yes --quota 5/1h --stop-after 2s --no-verify ids.txt");
    command.env("MDE_CANCEL_TOKEN", place.sandbox.token(TENANT, APP));
    let (code, _, told) = ended(command);
    assert_eq!(code, Some(4), "{told}");
    assert_eq!(told.matches("and can't be renewed").count(), 1, "{told}");
    let mut renewable =
        place.with_secret("run --yes --quota 5/1h --stop-after 2s --no-verify ids.txt");
    renewable.env("MDE_CANCEL_STATE_DIR", "other");
    let (code, _, told) = ended(renewable);
    assert_eq!(code, Some(4), "{told}");
    assert!(!told.contains("cannot be renewed"), "{told}");
}

#[test]
fn doctor_says_how_each_thing_stands_and_cancels_nothing() {
    let all_well = Place::with(1, TokenSettings::default());
    let (code, out, _) = ended(all_well.with_secret("doctor"));
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.lines()
            .all(|line| line.starts_with("ok ") || line.starts_with(' ')),
        "{out}"
    );
    for name in [
        "config",
        "state",
        "credential",
        "network",
        "clock",
        "sign-in",
        "read",
        "cancel",
    ] {
        assert!(out.contains(&format!("ok    {name} ")), "{name}: {out}");
    }
    assert!(
        all_well
            .sandbox
            .log()
            .iter()
            .all(|call| call.kind != CallKind::Cancel)
    );
}

#[test]
fn doctor_grades_what_is_wrong_and_ends_with_five_where_nothing_can_be_sent() {
    let roles = |roles: &[&str]| TokenSettings {
        secret: Some(SECRET.into()),
        roles: roles.iter().map(|&role| role.to_owned()).collect(),
        ..TokenSettings::default()
    };
    for (tokens, words, code, lines) in [
        (
            roles(&["Machine.Scan"]),
            "doctor",
            5,
            &[
                "fail  read        127.0.0.1 answered 403",
                "fix: grant Machine.Read.All to the app, consent, and get a new token; or run with --no-precheck",
                "ok    cancel      may cancel RunAntiVirusScan",
                "not granted: Machine.Isolate (Isolate, Unisolate), ",
            ][..],
        ),
        (
            roles(&["Machine.Read.All"]),
            "doctor",
            5,
            &[
                "ok    read        may read action states",
                "fail  cancel      the token permits no cancel",
                "fix: grant Machine.Isolate",
            ],
        ),
        (
            roles(&[]),
            "doctor --api-scope https://graph.example",
            5,
            &[
                "fail  read        127.0.0.1 answered 403",
                "fail  cancel      the token permits no cancel",
            ],
        ),
        (
            TokenSettings {
                secret: Some("another".into()),
                ..TokenSettings::default()
            },
            "doctor",
            5,
            &["fail  sign-in     the login service 127.0.0.1 refused: the client secret is wrong"],
        ),
        (
            TokenSettings::default(),
            "doctor --login-url http://127.0.0.1:1",
            5,
            &["fail  sign-in     the login service 127.0.0.1 gave no token: no connection"],
        ),
        (
            TokenSettings::default(),
            "doctor --api-url http://127.0.0.1:1",
            5,
            &["fail  network     127.0.0.1 not reached: no connection"],
        ),
        (
            TokenSettings::default(),
            "doctor --credential certificate",
            5,
            &["fail  sign-in     signing in by certificate needs a PEM file"],
        ),
        (
            TokenSettings::default(),
            "doctor --state-dir ids.txt",
            6,
            &["fail  state ", "fix: "],
        ),
        (
            TokenSettings::default(),
            "doctor --ca-file ids.txt --api-url https://127.0.0.1:1",
            5,
            &[
                "fail  network     the CA file ids.txt has no certificate",
                "fix: export the authority's certificate as PEM or DER",
            ],
        ),
    ] {
        let place = Place::with(1, tokens);
        let (got, out, told) = ended(place.with_secret(words));
        assert_eq!(got, Some(code), "{words}: {out}{told}");
        for line in lines {
            assert!(out.contains(line), "{words}: {line}: {out}");
        }
    }
}

#[test]
fn doctor_reads_the_state_file_to_its_end() {
    let place = Place::with(1, TokenSettings::default());
    let (code, ..) = ended(place.with_secret("doctor --state-dir here"));
    assert_eq!(code, Some(0));
    let path = mde_cancel::store::state_file(&place.folder.path().join("here"));
    // Nothing that is asked of a new file meets this page.
    let page: u32 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'attempts'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let page = page as usize;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[(page - 1) * 4096..page * 4096].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    let (code, out, _) = ended(place.with_secret("doctor --state-dir here"));
    assert_eq!(code, Some(6), "{out}");
    assert!(out.contains("fail  state       here: damaged: "), "{out}");
    assert!(out.contains("fix: move the folder away"), "{out}");
}

#[test]
fn doctor_says_that_a_static_token_is_opaque_short_or_for_something_else() {
    let place = Place::with(1, TokenSettings::default());
    let with_token = |token: String| {
        let mut command = place.binary("doctor");
        command.env("MDE_CANCEL_TOKEN", token);
        ended(command)
    };
    let (code, out, _) = with_token("opaque".to_owned());
    assert_eq!(code, Some(5), "{out}");
    assert!(
        out.contains("fail  read        the service refused the access token in MDE_CANCEL_TOKEN"),
        "{out}"
    );
    let (code, out, _) = with_token(place.sandbox.token(TENANT, APP));
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains(", not renewable"), "{out}");
    let claims = |exp: i64, aud: &str| {
        let claims =
            serde_json::json!({"aud": aud, "tid": TENANT, "exp": exp, "roles": ["Machine.Scan"]});
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    let foreign = claims(4_000_000_000, "https://graph.example");
    let (_, out, _) = with_token(foreign.clone());
    let text = "the access token in MDE_CANCEL_TOKEN is for graph.example, but Defender needs api.securitycenter.microsoft.com";
    assert!(out.contains(&format!("fail  read        {text}")), "{out}");
    let expired = claims(1_700_000_000, "https://api.securitycenter.microsoft.com");
    for (token, text, hint) in [
        (
            foreign,
            text,
            "hint: az account get-access-token --resource https://api.securitycenter.microsoft.com",
        ),
        (
            expired,
            "the access token in MDE_CANCEL_TOKEN expired at 2023-11-14 22:13 UTC, ",
            "hint: get a new token",
        ),
        (
            "opaque".to_owned(),
            "the service refused the access token in MDE_CANCEL_TOKEN",
            "hint: get a new token",
        ),
    ] {
        let mut command = place.binary("preview ids.txt");
        command.env("MDE_CANCEL_TOKEN", token).env("TZ", "UTC");
        let (code, _, told) = ended(command);
        assert_eq!(code, Some(5), "{told}");
        assert!(told.contains(text) && told.contains(hint), "{told}");
    }
}

#[test]
fn doctor_prints_json_for_programs() {
    let place = Place::with(1, TokenSettings::default());
    let (code, out, _) = ended(place.with_secret("doctor --format json"));
    assert_eq!(code, Some(0), "{out}");
    let checks: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(checks[0]["name"], "config");
    assert!(
        checks
            .as_array()
            .unwrap()
            .iter()
            .all(|check| check["status"] == "ok")
    );
}

/// Returns the binary with an `az` on its path that is this shell script.
#[cfg(unix)]
fn with_az(place: &Place, words: &str, script: &str) -> Command {
    use std::os::unix::fs::PermissionsExt as _;
    let bin = place.folder.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let az = bin.join("az");
    std::fs::write(&az, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&az, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = place.binary(&format!("{words} --credential azure-cli"));
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    command
}

#[cfg(unix)]
#[test]
fn the_token_of_the_azure_cli_is_found_in_whatever_it_prints_around_it() {
    let place = Place::with(1, TokenSettings::default());
    let token = place.sandbox.token(TENANT, APP);
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
        let answer = place.folder.path().join("answer");
        std::fs::write(&answer, &printed).unwrap();
        let script = format!("cat '{}'", answer.display());
        let (code, out, told) = ended(with_az(&place, "doctor", &script));
        assert_eq!(code, Some(0), "{printed:?}: {out}{told}");
        assert!(!out.contains(&token) && !told.contains(&token));
    }
}

#[cfg(unix)]
#[test]
fn what_the_azure_cli_complains_of_is_told_with_what_to_do() {
    let place = Place::with(1, TokenSettings::default());
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
        let (code, _, told) = ended(with_az(&place, "run --yes ids.txt", script));
        assert_eq!(code, Some(5), "{script}: {told}");
        assert!(
            told.contains(text) && told.contains(hint),
            "{script}: {told}"
        );
        assert!(!told.contains("s3cr3t"), "{told}");
    }
    let mut nowhere = place.binary("run --yes ids.txt --credential azure-cli");
    nowhere.env("PATH", "/nowhere");
    let (code, _, told) = ended(nowhere);
    assert_eq!(code, Some(5), "{told}");
    assert!(
        told.contains("the Azure CLI refused: it is not on PATH"),
        "{told}"
    );
}

#[cfg(unix)]
#[test]
fn the_azure_cli_gets_few_variables_and_no_secret() {
    let place = Place::with(1, TokenSettings::default());
    let mut command = with_az(
        &place,
        "doctor",
        "env >\"$HOME/env\"; pwd >>\"$HOME/env\"; exit 1",
    );
    command
        .env("HOME", place.folder.path())
        .env("AZURE_CONFIG_DIR", "/config")
        .env("HTTPS_PROXY", "http://proxy.example:1")
        .env("MDE_CANCEL_TOKEN", SECRET)
        .env("AZURE_CLIENT_SECRET", SECRET)
        .env("IDENTITY_HEADER", SECRET)
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", SECRET)
        .env("GITHUB_TOKEN", SECRET);
    ended(command);
    let seen = std::fs::read_to_string(place.folder.path().join("env")).unwrap();
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
    let place = Place::with(
        40,
        TokenSettings {
            lifetime: Duration::from_secs(2),
            ..TokenSettings::default()
        },
    );
    let token = place.sandbox.token(TENANT, APP);
    let script = format!(
        "[ -e \"$HOME/once\" ] && {{ echo 'AADSTS700024: too late' >&2; exit 1; }}; touch \"$HOME/once\"; \
         printf '{{\"accessToken\":\"{token}\"}}'"
    );
    let words = "run --yes --no-verify --quota 1/1s,30/1h ids.txt";
    let mut command = with_az(&place, words, &script);
    command.env("HOME", place.folder.path());
    let (code, out, told) = ended(command);
    let told = out + &told;
    assert_eq!(code, Some(5), "{told}");
    assert!(
        told.contains("(AADSTS700024); sign in again in this job"),
        "{told}"
    );
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
    let place = Place::with(1, TokenSettings::default());
    let words = "run --yes -vvv --log-file log.txt --max-attempts 1 --no-verify --report r.csv --report r.html --report r.json \
                 --report r.md ids.txt";
    let mut command = place.binary(words);
    command
        .env("MDE_CANCEL_TOKEN", token)
        .env("MDE_CANCEL_API_URL", &service.url)
        .env("MDE_CANCEL_LOG", "trace");
    let (code, out, told) = ended(command);
    assert_eq!(code, Some(3), "{out}{told}");
    let found = leaks(place.folder.path(), &[out.as_bytes(), told.as_bytes()]);
    assert_eq!(found, [""; 0]);
    let report = std::fs::read_to_string(place.folder.path().join("r.csv")).unwrap();
    assert!(report.contains("[redacted]"), "{report}");
}
