//! `doctor`: how each thing stands, and what mends it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mde_cancel::sandbox::{CallKind, TokenSettings};

use super::sign_in::{APP, SECRET, TENANT, place, with_secret, with_token};
use crate::support::done;

#[test]
fn doctor_says_how_each_thing_stands_and_cancels_nothing() {
    let place = place(1, TokenSettings::default());
    let out = done(&mut with_secret(&place, "doctor")).exits(0).stdout;
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
    assert!(place.calls(CallKind::Cancel).is_empty());
    let out = done(&mut with_secret(&place, "doctor --format json"))
        .exits(0)
        .stdout;
    let checks: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(checks[0]["name"], "config");
    let mut checks = checks.as_array().unwrap().iter();
    assert!(checks.all(|check| check["status"] == "ok"), "{out}");
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
                "fail  read        this token may not read actions: 403 Forbidden",
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
                "fail  read        this token may not read actions: 403 Forbidden",
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
        let place = place(1, tokens);
        let out = done(&mut with_secret(&place, words)).exits(code).stdout;
        for line in lines {
            assert!(out.contains(line), "{words}: {line}: {out}");
        }
    }
}

#[test]
fn doctor_reads_the_state_file_to_its_end() {
    let place = place(1, TokenSettings::default());
    done(&mut with_secret(&place, "doctor --state-dir here")).exits(0);
    let path = mde_cancel::store::state_file(&place.at("here"));
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
    let out = done(&mut with_secret(&place, "doctor --state-dir here"))
        .exits(6)
        .stdout;
    assert!(out.contains("fail  state       here: damaged: "), "{out}");
    assert!(out.contains("fix: move the folder away"), "{out}");
}

#[test]
fn doctor_says_that_a_static_token_is_opaque_short_or_for_something_else() {
    let place = place(1, TokenSettings::default());
    let doctor = |token: &str, code| done(&mut with_token(&place, "doctor", token)).exits(code);
    let out = doctor("opaque", 5).stdout;
    let text = "fail  read        the service refused the access token in MDE_CANCEL_TOKEN";
    assert!(out.contains(text), "{out}");
    let out = doctor(&place.sandbox().token(TENANT, APP), 0).stdout;
    assert!(out.contains(", not renewable"), "{out}");
    let claims = |exp: i64, aud: &str| {
        let claims =
            serde_json::json!({"aud": aud, "tid": TENANT, "exp": exp, "roles": ["Machine.Scan"]});
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    let foreign = claims(4_000_000_000, "https://graph.example");
    let out = doctor(&foreign, 5).stdout;
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
        let mut preview = with_token(&place, "preview ids.txt", &token);
        let told = done(preview.env("TZ", "UTC")).exits(5).stderr;
        assert!(told.contains(text) && told.contains(hint), "{told}");
    }
}
