//! Types in the input where no record is read: whatever a cell or a key looks like, what may be a protected type isn't
//! sent without being allowed.

use jiff::Timestamp;
use mde_cancel::engine::Planner;
use mde_cancel::model::Outcome;

use super::{A, filled, rows};

const PROTECTED: &str = "skipped: protected type (";
const UNKNOWN: &str = "skipped: type unknown, so it may be protected";

/// Plans all rows with no protected type allowed, and writes each as `send` or as its outcome and reason.
fn planned(text: &str) -> Vec<String> {
    let mut planner = Planner::new(std::sync::Arc::default());
    let read = rows(filled(text)).into_iter();
    let told = read.map(|row| {
        let settlement = planner.plan(row, Timestamp::UNIX_EPOCH).settlement;
        settlement.map_or_else(
            || "send".to_owned(),
            |end| format!("{}: {}", end.outcome, end.reason),
        )
    });
    told.collect()
}

fn assert_one(text: &str, start: &str) {
    let told = planned(text);
    assert!(
        told.len() == 1 && told[0].starts_with(start),
        "{text:?}: {told:?}"
    );
}

fn assert_invalid(text: &str, reason: &str) {
    assert_eq!(planned(text), [format!("invalid: {reason}")], "{text:?}");
    assert_eq!(rows(filled(text))[0].id_text, A, "{text:?}");
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
        assert_one(&format!("id,type\n{{A}},{word}\n"), PROTECTED);
        let json = serde_json::json!({"id": A, "type": word}).to_string();
        assert_one(&json, PROTECTED);
        assert_one(&format!("[{json}]"), PROTECTED);
    }
    // And so is the name of its column.
    for name in [
        "type\u{200B}",
        "\u{2060}Action Type",
        "ty\u{AD}pe",
        "value.type",
    ] {
        let id = if name.contains('.') { "value.id" } else { "id" };
        assert_one(&format!("{id},{name}\n{{A}},Unisolate\n"), PROTECTED);
        let json = serde_json::json!({id: A, name: "Unisolate"});
        assert_one(&json.to_string(), PROTECTED);
    }
}

#[test]
fn two_type_columns_that_disagree_make_the_row_invalid_and_an_empty_one_hides_nothing() {
    let reason = "two type columns disagree: `Isolate` and `Unisolate`";
    for header in ["type,Type", "action_type,type", "type,machineActionType"] {
        let text = format!("id,{header}\n{{A}},Isolate,Unisolate\n");
        assert_invalid(&text, reason);
        let text = format!("id,{header}\n{{A}},,Unisolate\n");
        assert_one(&text, PROTECTED);
        let text = format!("id,{header}\n{{A}},Unisolate, \n");
        assert_one(&text, PROTECTED);
    }
    let text = r#"{"id":"{A}","type":"Isolate","type":"Unisolate"}"#;
    assert_invalid(text, reason);
    let text = r#"{"id":"{A}","actionType":null,"type":"Unisolate"}"#;
    assert_one(text, PROTECTED);
    assert_invalid(
        "id,type,Type\n{A},Isolate\u{200B},Elsewhat\n",
        "two type columns disagree: `Isolate\\u{200b}` and `Elsewhat`",
    );
    for cells in [
        "Isolate,isolate",
        "IsolateResponse,Isolate device",
        "Iso late,Isolate\u{200B}",
        ",Isolate",
        "Isolate, ",
    ] {
        let text = format!("id,type,Type\n{{A}},{cells}\n");
        assert_eq!(planned(&text), ["send"], "{cells}");
    }
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
            assert_one(&text, UNKNOWN);
            assert!(planned(&text)[0].ends_with(shown), "{text}");
        }
        let second = format!("{{\"id\":\"{A}\",\"type\":\"Isolate\",\"Type\":{value}}}");
        let reason = format!("two type columns disagree: `Isolate` and `{shown}`");
        assert_invalid(&second, &reason);
    }
    assert_eq!(planned(r#"{"id":"{A}","type":null}"#), ["send"]);
}

#[test]
fn a_type_that_is_none_we_know_is_skipped_and_shown_as_it_was_given() {
    for word in [
        "Uniso1ate",
        "Un\u{456}solate",
        "IsolationResponse",
        "Isolate, Unisolate",
        "-",
        "\u{200B}",
        "Unknown",
    ] {
        assert_one(&format!("id,type\n{{A}},\"{word}\"\n"), UNKNOWN);
    }
    let long = planned(&format!("id,type\n{{A}},{}\n", "x".repeat(9000)));
    assert!(long[0].len() < 250, "{long:?}");
    for known in ["request sample", "Run antivirus scan", "", " "] {
        let text = format!("id,type\n{{A}},{known}\n");
        assert_eq!(planned(&text), ["send"], "{known}");
    }
    let read = rows(filled("id,type\n{A}, Elsewhat Un_known\u{200B}\n"));
    let shown = read[0].context.action_type.as_ref().unwrap();
    assert_eq!(shown.as_str(), "Elsewhat Un_known\u{200B}");
}

#[test]
fn a_bad_type_spoils_its_row_alone_and_not_one_that_stays_back_anyway() {
    let told = planned("id,type,Type\n{A},Isolate,Unisolate\n{B},Isolate,\n");
    assert!(told[0].starts_with("invalid: "), "{told:?}");
    assert_eq!(told[1], "send");
    let text = format!(
        "action_id,outcome,reason,type,action_type\n{A},{},,Isolate,Unisolate\n",
        Outcome::Cancelled
    );
    assert_eq!(planned(&text), ["skipped: was cancelled in an earlier run"]);
}
