//! Every error that settings can have, as the user sees it.

use super::{MARKER, Typing, service, typing};

#[test]
fn every_error_says_what_is_wrong_where_and_what_helps() {
    let cases: Vec<(Typing, u8, &str)> = vec![
        (
            typing("run --yes a.csv"),
            2,
            "error: there is nothing to sign in with\n\
             hint: as an app, use --tenant-id and --client-id with AZURE_CLIENT_SECRET or --client-secret-file\n\
             hint: with a token of your own, set MDE_CANCEL_TOKEN or use --token-file\n\
             hint: as yourself, use --credential azure-cli or device-code\n\
             hint: to try it without a tenant, use --sandbox\n",
        ),
        (
            typing("preview a.csv"),
            2,
            "error: there is nothing to sign in with, so the actions' status can't be read\n\
             hint: sign in as for `run`: with an app, a token, or --credential azure-cli\n\
             hint: to look at the input alone, add --no-precheck\n",
        ),
        (
            typing("run --yes a.csv")
                .variable("MDE_CANCEL_TOKEN", MARKER)
                .variable("MDE_CANCEL_TOKEN_FILE", "t"),
            2,
            "error: both MDE_CANCEL_TOKEN and MDE_CANCEL_TOKEN_FILE are set\n\
             hint: unset one of them, or use --token-file\n",
        ),
        (
            service("--token-file").word(format!("eyJ0.{MARKER}.x")),
            2,
            "error: --token-file must name a file, but holds the secret itself\n\
             hint: write the secret to a file that only you can read, and name that; or set MDE_CANCEL_TOKEN or \
             AZURE_CLIENT_SECRET\n",
        ),
        (
            service("--token-file").word(""),
            2,
            "error: --token-file is empty\n",
        ),
        (
            service("- -"),
            2,
            "error: standard input (`-`) is named more than once\n",
        ),
        (
            service("").without_state_dir(),
            2,
            "error: no state folder can be determined\n\
             hint: name a folder with --state-dir or MDE_CANCEL_STATE_DIR\n",
        ),
        (
            service("--quota none,1/1m"),
            2,
            "error: --quota has both `none` and a window\nhint: leave out `none`, or the windows\n",
        ),
        (
            service("--cloud gcc --region eu"),
            2,
            "error: region eu exists in the commercial cloud only, not in gcc\n\
             hint: leave out --region (MDE_CANCEL_REGION), or name another --cloud (MDE_CANCEL_CLOUD)\n",
        ),
        (
            service("--report r.pdf"),
            2,
            "error: the ending of report r.pdf names no format that can be written; supported: .csv, .jsonl, .json, .html, .md\n",
        ),
        (
            service("--report - --report -"),
            2,
            "error: the report - is the same file as the report -\nhint: name another file\n",
        ),
        (
            service("").variable("MDE_CANCEL_STOP_AFTER", "5"),
            2,
            "error: `5` in MDE_CANCEL_STOP_AFTER cannot be used: expected a duration such as 30s, 1h30m, 7d or 2w\n",
        ),
        (
            service("").variable("MDE_CANCEL_CLOUD", "moon"),
            2,
            "error: `moon` in MDE_CANCEL_CLOUD cannot be used: expected commercial, gcc, gcc-high, dod\n",
        ),
    ];
    for (typed, code, text) in cases {
        let (exit, complaint) = typed.complaint();
        assert_eq!((exit, complaint.as_str()), (code, text));
    }
}

#[test]
fn an_address_is_refused_by_the_name_of_its_flag_and_never_repeated() {
    let plain = "plain http is accepted for loopback addresses only, not for";
    let surplus = "must not have a user name, a password, a query or a fragment";
    let none = "is not an address that starts with https://";
    for (url, text) in [
        ("http://h.example", format!("--api-url: {plain} h.example")),
        ("http://10.0.0.1:80", format!("--api-url: {plain} 10.0.0.1")),
        (
            "http://localhost.example",
            format!("--api-url: {plain} localhost.example"),
        ),
        ("https://u:s3cr3t-marker@h", format!("--api-url {surplus}")),
        ("http://s3cr3t-marker@h", format!("--api-url {surplus}")),
        ("https://h/?k=s3cr3t-marker", format!("--api-url {surplus}")),
        ("https://h/#s3cr3t-marker", format!("--api-url {surplus}")),
        ("ftp://s3cr3t-marker@h", format!("--api-url {none}")),
        ("s3cr3t-marker", format!("--api-url {none}")),
        ("", format!("--api-url {none}")),
    ] {
        let (code, complaint) = service("--api-url").word(url).complaint();
        assert_eq!((code, complaint), (2, format!("error: {text}\n")), "{url}");
        if !url.is_empty() {
            let (_, complaint) = service("").variable("MDE_CANCEL_API_URL", url).complaint();
            let text = text.replace("--api-url", "MDE_CANCEL_API_URL");
            assert_eq!(complaint, format!("error: {text}\n"), "{url}");
        }
    }
}

#[test]
fn what_cannot_be_typed_is_told_by_the_parser_and_names_the_flag() {
    for (words, part) in [
        ("", "Usage: mde-cancel"),
        ("run", "there is neither an INPUT nor a selection"),
        ("run --since 2h", "a selection from the tenant needs --type"),
        (
            "preview a --sandbox",
            "tip: `mde-cancel run --dry-run --sandbox` prints a plan",
        ),
        ("runn a", "unrecognized subcommand 'runn'"),
        ("run a --token x", "unexpected argument '--token'"),
        (
            "run a --timeout 5",
            "'--timeout <DURATION>': expected a duration",
        ),
        (
            "run a --timeout 0s",
            "expected a duration between 100 ms and 24 h",
        ),
        (
            "run a --timeout-grace 25h",
            "expected a duration between 0 s and 24 h",
        ),
        ("run a --concurrency 0", "0 is not in 1..=1024"),
        ("run a --max-attempts 0", "0 is not in 1..=100"),
        ("run a --quota 5", "`5` is not of the form N/DURATION"),
        ("run a --quota 0/1m", "`0/1m` allows no call at all"),
        ("run a --read-quota 1/25h", "the period of `1/25h`"),
        (
            "run a --rate fast",
            "expected a rate such as 50/s, or `none`",
        ),
        (
            "run a --allow-protected Isolate",
            "the protected types are Unisolate",
        ),
        (
            "run a --input-format xls",
            "[possible values: auto, csv, tsv, jsonl, json, lines]",
        ),
        (
            "run a --tenant-id contoso",
            "a tenant is a GUID or a domain name",
        ),
        (
            "run a --client-id me",
            "an application (client) id is a GUID",
        ),
        (
            "run a --cloud moon",
            "[possible values: commercial, gcc, gcc-high, dod]",
        ),
        ("run a --region eu --api-url x", "cannot be used with"),
        (
            "run a --sandbox --api-url x",
            "'--sandbox' cannot be used with '--api-url <URL>'",
        ),
        (
            "run a --sandbox --token-file x",
            "'--sandbox' cannot be used with '--token-file <PATH>'",
        ),
        (
            "run a --sandbox --cloud gcc",
            "'--sandbox' cannot be used with '--cloud <CLOUD>'",
        ),
        (
            "run a --sandbox --region eu",
            "'--sandbox' cannot be used with '--region <REGION>'",
        ),
        (
            "run a --sandbox --tenant-id a.b",
            "'--sandbox' cannot be used with '--tenant-id",
        ),
        (
            "run a --sandbox --client-id 11111111-2222-3333-4444-555555555555",
            "'--sandbox' cannot be used with '--client-id",
        ),
        ("run a -v -q", "cannot be used with '--quiet'"),
        ("quota a", "unrecognized subcommand 'a'"),
        ("sandbox --seed a --actions 5", "cannot be used with"),
        ("sandbox --port 65536", "65536 is not in 0..=65535"),
        ("sandbox --actions 1000001", "1000001 is not in 0..=1000000"),
        ("sandbox --latency fast", "`fast` is not a latency"),
        ("sandbox --faults pest", "`pest` names no fault"),
    ] {
        let (code, complaint) = typing(words).complaint();
        assert_eq!(code, 2, "{words}");
        assert!(complaint.contains(part), "{words}: {complaint}");
    }
    for flag in ["--state-dir", "--log-file", "--report", "--"] {
        let empty = service(flag).word("").complaint().1;
        assert!(empty.contains("a value is required for"), "{empty}");
    }
    let blank = service("--comment").word(" ").complaint().1;
    assert!(blank.contains("'--comment <TEXT>': it is empty"), "{blank}");
    let long = service("--comment").word("x".repeat(4097)).complaint().1;
    assert!(long.contains("it has more than 4096 characters"), "{long}");
}

#[cfg(unix)]
#[test]
fn what_is_no_text_is_refused_where_text_is_wanted_and_taken_where_a_path_is() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = || OsString::from_vec(b"\xffs3cr3t-marker".to_vec());
    for name in ["MDE_CANCEL_TOKEN", "MDE_CANCEL_COMMENT"] {
        let typed = typing("run -y a --token-file t");
        let typed = match name {
            "MDE_CANCEL_TOKEN" => typing("run -y a"),
            _ => typed,
        };
        let (code, complaint) = typed.variable(name, bytes()).complaint();
        let text = format!("error: {name} is not UTF-8\n");
        assert_eq!((code, complaint), (2, text));
    }
    let run = service("")
        .word(bytes())
        .variable("MDE_CANCEL_STATE_DIR", bytes())
        .run();
    assert_eq!(run.state_dir.into_os_string(), bytes());
    let (_, complaint) = service("--api-url").word(bytes()).complaint();
    assert_eq!(
        complaint,
        "error: --api-url is not an address that starts with https://\n"
    );
}
