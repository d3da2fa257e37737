//! Types in the input where no record is read: whatever a cell or a key looks like, what may be a protected type isn't
//! sent without being allowed.

use std::io;

use jiff::Timestamp;
use mde_cancel::engine::Planner;
use mde_cancel::input::{InputSettings, OpenInput};
use mde_cancel::model::{InputRow, Outcome};

use crate::support::sound_rows;

const A: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
const B: &str = "0a1b2c3d-0000-4000-8000-00000000000b";

fn rows(text: &str) -> Vec<InputRow> {
    let bytes = io::Cursor::new(text.as_bytes().to_vec());
    let input = OpenInput::from_reader("stdin", Box::new(bytes), &InputSettings::default());
    sound_rows(input)
}

/// Plans all rows with no protected type allowed, and writes each as `send` or as its outcome and reason.
fn planned(text: &str) -> Vec<String> {
    let mut planner = Planner::new(std::sync::Arc::default());
    rows(text)
        .into_iter()
        .map(
            |row| match planner.plan(row, Timestamp::UNIX_EPOCH).settlement {
                None => "send".to_owned(),
                Some(end) => format!("{}: {}", end.outcome, end.reason),
            },
        )
        .collect()
}

fn assert_protected(text: &str) {
    let told = planned(text);
    assert_eq!(told.len(), 1, "{text:?}");
    assert!(
        told[0].starts_with("skipped: protected type ("),
        "{text:?}: {told:?}"
    );
}

fn assert_invalid(text: &str, reason: &str) {
    assert_eq!(planned(text), [format!("invalid: {reason}")], "{text:?}");
    assert_eq!(rows(text)[0].id_text, A, "{text:?}");
}

#[test]
fn a_protected_type_is_known_in_every_disguise_that_shows_nothing() {
    for word in [
        "Unisolate",
        "UNISOLATE",
        "Unisolate\u{200B}",
        "\u{FEFF}Unisolate",
        "Uni\u{AD}solate",
        "Un\u{2060}isolate",
        "\u{202D}Unisolate\u{202C}",
        "Uniso\u{E0001}late",
        "Uniso\u{FE0F}late",
        "Unisolate\u{7F}",
        "un isolate",
        "un\u{A0}isolate",
        "un_isolate",
        "Un-Isolate",
        "Unrestrict Code Execution",
    ] {
        assert_protected(&format!("id,type\n{A},{word}\n"));
        let json = serde_json::json!({"id": A, "type": word}).to_string();
        assert_protected(&json);
        assert_protected(&format!("[{json}]"));
    }
}

#[test]
fn a_name_of_a_type_column_is_known_in_every_disguise_too() {
    for name in [
        "type\u{200B}",
        "\u{2060}Action Type",
        "ty\u{AD}pe",
        "value.type",
    ] {
        let id = if name.contains('.') { "value.id" } else { "id" };
        assert_protected(&format!("{id},{name}\n{A},Unisolate\n"));
        let json = serde_json::json!({id: A, name: "Unisolate"});
        assert_protected(&json.to_string());
    }
}

#[test]
fn two_type_columns_that_disagree_make_the_row_invalid() {
    let reason = "two type columns disagree: `Isolate` and `Unisolate`";
    for header in ["type,Type", "action_type,type", "type,machineActionType"] {
        assert_invalid(&format!("id,{header}\n{A},Isolate,Unisolate\n"), reason);
    }
    assert_invalid(
        &format!("{{\"id\":\"{A}\",\"type\":\"Isolate\",\"type\":\"Unisolate\"}}"),
        reason,
    );
    assert_invalid(
        &format!("id,type,Type\n{A},Isolate\u{200B},Elsewhat\n"),
        "two type columns disagree: `Isolate\\u{200b}` and `Elsewhat`",
    );
    for cells in [
        "Isolate,isolate",
        "IsolateResponse,Isolate device",
        "Iso late,Isolate\u{200B}",
        ",Isolate",
        "Isolate, ",
    ] {
        let text = format!("id,type,Type\n{A},{cells}\n");
        assert_eq!(planned(&text), ["send"], "{cells}");
    }
}

#[test]
fn an_empty_type_column_does_not_hide_the_other() {
    for header in ["type,Type", "action type,type"] {
        assert_protected(&format!("id,{header}\n{A},,Unisolate\n"));
        assert_protected(&format!("id,{header}\n{A},Unisolate, \n"));
    }
    assert_protected(&format!(
        "{{\"id\":\"{A}\",\"actionType\":null,\"type\":\"Unisolate\"}}"
    ));
}

#[test]
fn a_json_type_that_is_no_text_is_not_a_known_type() {
    for (value, shown) in [
        ("[\"Unisolate\"]", "(list)"),
        ("{\"x\":\"Unisolate\"}", "(object)"),
        ("6", "6"),
        ("1.5", "1.5"),
        ("true", "true"),
    ] {
        let object = format!("{{\"id\":\"{A}\",\"type\":{value}}}");
        for text in [object.clone(), format!("[{object}]")] {
            let told = planned(&text);
            let is_skipped = told[0].starts_with("skipped: type unknown, so it may be protected");
            assert!(is_skipped && told[0].ends_with(shown), "{text}: {told:?}");
        }
        let second = format!("{{\"id\":\"{A}\",\"type\":\"Isolate\",\"Type\":{value}}}");
        let reason = format!("two type columns disagree: `Isolate` and `{shown}`");
        assert_invalid(&second, &reason);
    }
    let null = format!("{{\"id\":\"{A}\",\"type\":null}}");
    assert_eq!(planned(&null), ["send"]);
}

#[test]
fn a_type_that_is_none_we_know_is_skipped() {
    for word in [
        "Uniso1ate",
        "Un\u{456}solate",
        "IsolationResponse",
        "Isolate, Unisolate",
        "-",
        "\u{200B}",
        "Unknown",
    ] {
        let told = planned(&format!("id,type\n{A},\"{word}\"\n"));
        assert!(
            told[0].starts_with("skipped: type unknown, so it may be protected"),
            "{word:?}: {told:?}"
        );
    }
    let long = format!("id,type\n{A},{}\n", "x".repeat(9000));
    assert!(planned(&long)[0].len() < 250, "{:?}", planned(&long));
    for known in ["request sample", "Run antivirus scan", "", " "] {
        let text = format!("id,type\n{A},{known}\n");
        assert_eq!(planned(&text), ["send"], "{known}");
    }
}

#[test]
fn an_unknown_type_is_shown_as_it_was_given() {
    let read = rows(&format!("id,type\n{A}, Elsewhat Un_known\u{200B}\n"));
    let shown = read[0].context.action_type.as_ref().unwrap();
    assert_eq!(shown.as_str(), "Elsewhat Un_known\u{200B}");
}

#[test]
fn a_bad_type_spoils_its_row_alone_and_not_one_that_stays_back_anyway() {
    let text = format!("id,type,Type\n{A},Isolate,Unisolate\n{B},Isolate,\n");
    let told = planned(&text);
    assert!(told[0].starts_with("invalid: "), "{told:?}");
    assert_eq!(told[1], "send");
    let text = format!(
        "action_id,outcome,reason,type,action_type\n{A},{},,Isolate,Unisolate\n",
        Outcome::Cancelled
    );
    assert_eq!(planned(&text), ["skipped: was cancelled in an earlier run"]);
}
