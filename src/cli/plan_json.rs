//! A plan's sums for programs: the same as [`PlanText`] shows people.

use crate::engine::{NameCounts, Permissions};
use crate::model::FollowUp;

use super::plan_text::PlanText;

/// Returns the sums as one JSON object.
pub(super) fn plan_json(plan: &PlanText<'_>) -> String {
    let summary = plan.summary;
    let counted = |counts: &NameCounts| -> serde_json::Value {
        let top = counts.top().into_iter();
        let top = top.map(|(name, rows)| serde_json::json!({"name": name, "rows": rows}));
        top.collect()
    };
    let cells: serde_json::Value = summary
        .cells()
        .into_iter()
        .map(|cell| {
            serde_json::json!({
                "verdict": cell.verdict.as_str(), "type": some(&cell.action_type),
                "status": some(&cell.status), "reason": some(&cell.reason), "rows": cell.rows,
                "follow_up": cell.follow_up.map(FollowUp::as_str), "names": cell.names, "more_names": cell.more,
            })
        })
        .collect();
    let milestones: serde_json::Value = plan
        .milestones
        .iter()
        .map(|(cancels, at)| serde_json::json!({"cancels": cancels, "at": at.to_string()}))
        .collect();
    let plan_id = (summary.send > 0).then(|| summary.id().to_string());
    let by_first_part = summary.exclusions.by_first_part();
    let by_first_part: serde_json::Value = by_first_part
        .map(|(line, name)| serde_json::json!({"line": line, "name": name}))
        .collect();
    let mut object = serde_json::json!({
        "rows": summary.rows, "send": summary.send, "unread": summary.unread,
        "types_known": summary.types_known, "checked": summary.checked, "reads": plan.reads, "plan": plan_id, "counts": cells,
        "requestors": counted(&summary.requestors),
        "request_sources": counted(&summary.request_sources),
        "oldest": summary.oldest.map(|at| at.to_string()),
        "newest": summary.newest.map(|at| at.to_string()),
        "machines": summary.machines.names, "more_machines": summary.machines.more(),
        "milestones": milestones, "notes": plan.notes,
        "exclusions": {"unmatched": summary.exclusions.unmatched(), "by_first_part": by_first_part},
        "permissions": plan.permissions.map(permissions_json),
        "token_ends_before": plan.short_token().map(|end| end.to_string()),
    });
    for (label, name) in plan.place {
        object[*label] = name.as_str().into();
    }
    format!("{object:#}\n")
}

fn permissions_json(permissions: &Permissions) -> serde_json::Value {
    let needed = permissions.cancelling.iter().map(|needed| {
        let types: serde_json::Value = needed
            .types
            .iter()
            .map(|(action_type, rows)| serde_json::json!({"type": action_type.as_str(), "rows": rows}))
            .collect();
        serde_json::json!({"name": needed.name, "held": needed.is_held, "types": types})
    });
    serde_json::json!({"may_read": permissions.may_read, "cancelling": needed.collect::<serde_json::Value>()})
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::auth::Claims;
    use crate::engine::{PlanLine, PlanSummary, Precheck, Verdict};
    use crate::model::{ActionId, Outcome};

    #[test]
    fn programs_get_what_people_get() {
        let line = PlanLine {
            id: ActionId::from_bytes([1; 16]),
            verdict: Verdict::Send,
            reason: "",
            source: &"wave.csv:7",
            tenant: None,
            comment: None,
            action_type: Some("Isolate"),
            status: None,
            requestor: Some("soc-bot"),
            request_source: None,
            machine_id: None,
            computer_dns_name: None,
            created_at: None,
            follow_up: None,
            is_checked: false,
        };
        let mut summary = PlanSummary::default();
        summary.add(&line);
        let verdict = Verdict::Settled(Outcome::Invalid);
        summary.add(&PlanLine {
            verdict,
            reason: "the id is not a GUID",
            ..line
        });
        let claims = Claims {
            roles: vec!["Machine.Scan".to_owned()],
            ..Claims::default()
        };
        let permissions = Permissions::forecast(&claims, &summary.types_sent());
        let json = plan_json(&PlanText {
            summary: &summary,
            milestones: &[(1, Timestamp::UNIX_EPOCH)],
            precheck: Precheck::Skip,
            reads: 0,
            knows_later_actions: false,
            permissions: permissions.as_ref(),
            token_ends: Some(Timestamp::MIN),
            place: &[("tenant", "t-1".to_owned())],
            notes: &[],
            now: Timestamp::UNIX_EPOCH,
            zone: &TimeZone::UTC,
        });
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["send"], &json["rows"]), (&1.into(), &2.into()));
        assert_eq!(json["plan"], summary.id().to_string());
        assert_eq!(json["tenant"], "t-1");
        assert_eq!(json["requestors"][0]["name"], "soc-bot");
        assert_eq!(json["counts"][0]["status"], serde_json::Value::Null);
        assert_eq!(json["counts"][1]["reason"], "the id is not a GUID");
        assert_eq!(json["token_ends_before"], Timestamp::MIN.to_string());
        assert_eq!(json["permissions"]["cancelling"][0]["held"], false);
        assert_eq!(json["counts"][1]["names"][0], "wave.csv:7");
        assert_eq!(json["milestones"][0]["at"], "1970-01-01T00:00:00Z");
    }
}
