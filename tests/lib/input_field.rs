//! Files as other programs write them, with made-up content: what comes out of each.

use std::path::{Path, PathBuf};

use mde_cancel::input::{Input, InputError, InputSettings, open};
use mde_cancel::model::{ActionType, InputRow};

use crate::support::read_all;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/field")
}

/// Writes a row as `A Isolate host-001 m1 by ana says "comment"`, with short names for what most files hold.
fn told(row: &InputRow) -> String {
    let context = &row.context;
    let id = match &row.id {
        Ok(id) => id.to_string(),
        Err(reason) => format!("! {reason}"),
    };
    let mut words = vec![id];
    words.extend(context.action_type.as_ref().map(ActionType::to_string));
    words.extend(context.computer_dns_name.clone());
    words.extend(context.machine_id.clone());
    words.extend(context.requestor.as_ref().map(|who| format!("by {who}")));
    words.extend(context.tenant.as_ref().map(|tenant| format!("in {tenant}")));
    words.extend(
        context
            .comment
            .as_ref()
            .map(|comment| format!("says {comment:?}")),
    );
    let mut text = words.join(" ");
    for (short, long) in [
        ("A", "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2"),
        ("B", "0a1b2c3d-0000-4000-8000-00000000000b"),
        ("C", "55555555-0000-4000-8000-00000000000c"),
        ("D", "66666666-0000-4000-8000-00000000000d"),
        ("m1", "0123456789abcdef0123456789abcdef01234567"),
        ("m2", "89abcdef0123456789abcdef0123456789abcdef"),
        ("ana", "ana@contoso.example"),
    ] {
        text = text.replace(long, short);
    }
    text
}

/// Reads a file, and writes its rows, then why it cannot be used, then its warning.
fn read(path: &Path) -> Vec<String> {
    let name = path.to_string_lossy().into_owned();
    let failed = |error: InputError| format!("error: {error}").replace(&name, "FILE");
    match open(&[Input::File(path.to_owned())], &InputSettings::default()) {
        Ok(mut inputs) => {
            let rows = read_all(&mut inputs[0]).into_iter();
            let mut all: Vec<_> = rows
                .map(|row| row.map_or_else(failed, |row| told(&row)))
                .collect();
            let warning = inputs[0].warning().map(|text| format!("warning: {text}"));
            all.extend(warning.map(|text| text.replace(&name, "FILE")));
            all
        }
        Err(error) => vec![failed(error)],
    }
}

/// What is read of each file.
const EXPECTED: &[(&str, &[&str])] = &[
    (
        "action-center.csv",
        &[
            "A Isolate host-001 m1 by ana",
            "B Unisolate host-002 m2 by ana",
            "C RunAntiVirusScan host-003 m1 by ana",
            "D CollectInvestigationPackage host-004 m1 by ana",
        ],
    ),
    (
        "action-center.json",
        &[
            "A Isolate host-001 m1 by ana",
            "B Unisolate host-002 m2 by ana",
        ],
    ),
    (
        "advanced-hunting.json",
        &["A Isolate host-001", "B Unisolate host-002"],
    ),
    (
        "api-list.json",
        &[
            "A Isolate host-001 m1 by ana",
            "B LiveResponse host-002 m2 by ana",
        ],
    ),
    ("api-single.json", &["A Isolate host-001 m1 by ana"]),
    (
        "audit-log.csv",
        &[
            "error: FILE has no column of action ids; seen: `TimeGenerated [UTC]`, `ActionType`, `UserId`, `AccountDisplayName`, `DeviceName`, `ClientIP`, `IPAddress`, `ActionComment`",
        ],
    ),
    ("commented-header.csv", &["A Isolate", "B Unisolate"]),
    (
        "cut-off.json",
        &["error: FILE is not valid JSON from line 46 on: it ends before it is complete"],
    ),
    (
        "device-page.json",
        &[
            "A IsolationResponse m1 by ana",
            "B RunAntiVirusScan m2 by ana",
        ],
    ),
    (
        "device-timeline.csv",
        &[
            "error: FILE has machine ids and no action ids; select the actions of these machines with --machine-id; seen: `Event Time`, `Machine Id`, `Computer Name`, `Action Type`, `File Name`, `Folder Path`, `Sha1`, `Sha256`, `MD5`, `Process Command Line`, `Account Domain`, `Account Name`, `Account Sid`, `Logon Id`, `Process Id`",
        ],
    ),
    (
        "elastic-search.json",
        &[
            "A Isolate host-001 m1 by ana",
            "B LiveResponse host-002 m2 by ana",
        ],
    ),
    (
        "elastic.ndjson",
        &[
            "A Isolate host-001 m1 by ana",
            "B LiveResponse host-002 m2 by ana",
        ],
    ),
    (
        "excel-french.csv",
        &[
            "A Isolate host-001 says \"Isolé\\u{a0}: vérification\"",
            "warning: FILE: line 2 is not UTF-8; such characters are read as Windows-1252, so check comments and names",
        ],
    ),
    (
        "excel-german.csv",
        &[
            "A Isolate host-001 by ana",
            "B Unisolate host-002 by ana",
            "warning: FILE: line 3 is not UTF-8; such characters are read as Windows-1252, so check comments and names",
        ],
    ),
    (
        "excel.xls",
        &["error: FILE is an old Excel workbook; save it as \"CSV UTF-8\" and pass that file"],
    ),
    (
        "excel.xlsx",
        &[
            "error: FILE is an Excel workbook or another zip archive; save it as \"CSV UTF-8\" and pass that file",
        ],
    ),
    ("graph-security-actions.json", &["A"]),
    ("ids-in-a-ticket.txt", &["A", "B"]),
    ("ids-of-code.txt", &["A", "B"]),
    ("ids-without-hyphens.txt", &["A", "B"]),
    ("intune-remote-actions.json", &["! the id is not a GUID"]),
    ("jq-array.json", &["A", "B"]),
    ("jq-ids.txt", &["A", "B"]),
    ("jq-objects.json", &["A Isolate", "B Unisolate"]),
    (
        "jq-pages.json",
        &[
            "A Isolate host-001 m1 by ana",
            "B LiveResponse host-002 m2 by ana",
        ],
    ),
    ("jq-quoted.txt", &["A", "B"]),
    ("jq-sorted.json", &["A Isolate"]),
    (
        "kibana-discover.csv",
        &[
            "A Isolate host-001 m1 by ana",
            "B Unisolate host-002 m2 by -",
        ],
    ),
    ("kusto-frames.json", &["A Isolate", "B Unisolate"]),
    (
        "list.csv.gz",
        &["error: FILE is gzip-compressed; unpack it with gunzip and pass the result"],
    ),
    (
        "log-analytics-tables.json",
        &["A Isolate host-001", "B Unisolate host-002"],
    ),
    (
        "log-analytics.csv",
        &[
            "A Isolate host-001 m1 by ana",
            "B Unisolate host-002 m2 by 99999999-aaaa-4bbb-8ccc-dddddddddddd",
        ],
    ),
    (
        "logic-app.json",
        &[
            "A Isolate host-001 m1 by ana",
            "B LiveResponse host-002 m2 by ana",
        ],
    ),
    (
        "machine-ids.txt",
        &[
            "error: FILE has machine ids and no action ids; select the actions of these machines with --machine-id; seen: `0123456789abcdef…`",
        ],
    ),
    (
        "mdatp-pwsh.csv",
        &["A Isolate m1 by ana", "B Unisolate m2 by ana"],
    ),
    ("mysql.txt", &["A Isolate"]),
    (
        "our-list-with-comments.csv",
        &["A Isolate host-001 by -svc says \"ours\""],
    ),
    ("our-list.csv", &["A Isolate host-001 m1 by -svc"]),
    ("portal-machine-actions.json", &["A Isolate m1 by ana"]),
    ("power-bi.csv", &["A Isolate host-001"]),
    ("power-bi.json", &["A Isolate", "B Unisolate"]),
    (
        "powershell-convertto.json",
        &[
            "A Isolate host-001 m1 by ana",
            "B LiveResponse host-002 m2 by ana",
        ],
    ),
    (
        "powershell-unicode.csv",
        &[
            "A Isolate host-001 m1 by ana",
            "B LiveResponse host-002 m2 by ana",
        ],
    ),
    ("psql.txt", &["A Isolate"]),
    (
        "report.pdf",
        &["error: FILE is a PDF; export the data as CSV or JSON instead"],
    ),
    ("sentinel.csv", &["A Isolate host-001"]),
    ("servicenow.csv", &["A Isolate host-001"]),
    ("servicenow.json", &["A Isolate host-001"]),
    (
        "signed-out.html",
        &["error: FILE has no column of action ids; seen: `<!DOCTYPE html>`"],
    ),
    ("splunk-rows.json", &["A Isolate", "B Unisolate"]),
    (
        "splunk.csv",
        &[
            "A Isolate host-001 m1 by ana",
            "B LiveResponse host-002 m2 by ana",
        ],
    ),
    (
        "splunk.json",
        &[
            "A Isolate host-001 m1 by ana",
            "B LiveResponse host-002 m2 by ana",
        ],
    ),
    (
        "tines.json",
        &[
            "A Isolate host-001 m1 by ana",
            "B LiveResponse host-002 m2 by ana",
        ],
    ),
    (
        "two-exports.csv",
        &[
            "A Isolate says \"first\"",
            "B Isolate says \"second\"",
            "D Unisolate m1",
        ],
    ),
    (
        "xsoar-context.json",
        &[
            "A Isolate host-001 m1 by ana",
            "B Unisolate host-002 m2 by ana",
        ],
    ),
    (
        "xsoar-entry.json",
        &[
            "A Isolate host-001 m1 by ana",
            "B Unisolate host-002 m2 by ana",
        ],
    ),
    (
        "xsoar-table.md",
        &[
            "A Isolate host-001 m1 by ana",
            "B Unisolate host-002 m2 by ana",
        ],
    ),
    ("xsoar.csv", &["A Isolate host-001 m1"]),
];

#[test]
fn each_file_of_the_field_is_read_as_it_is_meant() {
    let mut names: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let known: Vec<_> = EXPECTED.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known);
    for (name, rows) in EXPECTED {
        assert_eq!(read(&folder().join(name)), *rows, "{name}");
    }
}
