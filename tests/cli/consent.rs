//! The question before anything is sent, with the real binary on its own pseudo-terminal.
#![cfg(target_os = "linux")]

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use mde_cancel::sandbox::{CallKind, Faults, Status};
use rustix::pty::OpenptFlags;

use crate::support::{Done, Place, done, kill, nth_id, start, wait_for};

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const APP: &str = "22222222-2222-3333-4444-555555555555";

/// What a test sees of a dialogue.
struct Dialogue {
    code: Option<i32>,
    /// Everything on the terminal.
    shown: String,
    stdout: String,
}

impl Dialogue {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.shown, self.stdout);
        self
    }

    #[track_caller]
    fn shows(self, part: &str) -> Self {
        assert!(self.shown.contains(part), "{part} is not in {}", self.shown);
        self
    }
}

/// A folder with ids, and a service that knows all of them.
fn place(count: usize, faults: &str) -> Place {
    let place = Place::with(|settings| settings.faults = Faults::parse(faults).unwrap());
    place.live.isolates(1..=count, Status::Pending);
    write_input(&place, count);
    place
}

fn write_input(place: &Place, count: usize) {
    let rows = (1..=count).map(|number| format!("{},Isolate,soc-bot\n", nth_id(number)));
    place.write(
        "ids.csv",
        "id,type,requestor\n".to_owned() + &rows.collect::<String>(),
    );
}

/// A shell that execs the binary, in its own session.
fn shell(place: &Place, line: &str, session: &[&str]) -> Command {
    let mut command = Command::new("setsid");
    command
        .args(session)
        .args(["sh", "-c"])
        .arg(format!("exec \"$0\" {line}"))
        .arg(env!("CARGO_BIN_EXE_mde-cancel"))
        .current_dir(place.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TERM", "xterm")
        .env("MDE_CANCEL_STATE_DIR", place.at("state"))
        .env("MDE_CANCEL_API_URL", &place.live.url)
        .env("MDE_CANCEL_TOKEN", "any-word")
        .env("MDE_CANCEL_QUOTA", "none");
    command
}

/// Runs the binary without a terminal, even if the tests have one.
fn run(place: &Place, line: &str) -> Done {
    done(shell(place, line, &[]).stdin(Stdio::null()))
}

fn start_on(screen: File, place: &Place, line: &str) -> Child {
    let mut command = shell(place, line, &["--ctty"]);
    command.stdin(screen.try_clone().unwrap()).stderr(screen);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// Runs the binary on a terminal, and types `answer` at `prompt`.
fn ask(place: &Place, line: &str, prompt: &str, answer: &str) -> Dialogue {
    talk(place, line, &[(prompt, answer)])
}

/// Runs the binary on a terminal, and types each answer at its prompt.
fn talk(place: &Place, line: &str, answers: &[(&str, &str)]) -> Dialogue {
    let (mut keyboard, screen) = terminal();
    let mut child = start_on(screen, place, line);
    let shown = converse(&mut keyboard, answers);
    finish(&mut child, shown)
}

fn read_until(keyboard: &mut File, prompts: &[&str]) {
    let mut shown = Vec::new();
    let mut byte = [0];
    while !prompts
        .iter()
        .any(|prompt| String::from_utf8_lossy(&shown).contains(prompt))
    {
        assert_eq!(keyboard.read(&mut byte).unwrap(), 1);
        shown.push(byte[0]);
    }
}

/// Asserts that nothing was sent, and that there is no run and no report.
fn assert_untouched(place: &Place) {
    assert_eq!(place.cancels(), 0);
    assert_eq!(place.runs(), serde_json::json!([]));
    assert_eq!(place.names(), ["ids.csv"]);
}

/// Opens a pseudo-terminal. Returns its two ends: for typing, and for the program.
fn terminal() -> (File, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let screen = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    (File::from(master), screen)
}

/// Reads the screen until the program exits, and types each answer at its prompt.
fn converse(keyboard: &mut File, answers: &[(&str, &str)]) -> String {
    let mut shown = String::new();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let mut answers = answers.iter();
    let mut next = answers.next();
    // Reading fails once the last process has closed the terminal.
    while let Ok(count @ 1..) = keyboard.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
        shown = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((prompt, answer)) = next
            && shown.contains(prompt)
        {
            keyboard.write_all(answer.as_bytes()).unwrap();
            next = answers.next();
        }
    }
    assert_eq!(next, None, "never came: {shown}");
    shown
}

fn finish(child: &mut Child, shown: String) -> Dialogue {
    let mut stdout = String::new();
    let mut out = child.stdout.take().unwrap();
    out.read_to_string(&mut stdout).unwrap();
    Dialogue {
        code: child.wait().unwrap().code(),
        shown,
        stdout,
    }
}

#[test]
fn a_yes_sends_what_the_question_named() {
    let place = place(3, "");
    let mut done = ask(&place, "run ids.csv", "[y/N]: ", "y\n").exits(0);
    for part in [
        "3 actions to cancel · plan ",
        "tenant        unknown (127.0.0.1",
        "ids from      ids.csv",
        "requested by  soc-bot 3",
        "Isolate",
        "duration      a few seconds",
        "Cancel 3 actions? y sends the cancels, Enter sends nothing [y/N]: ",
    ] {
        done = done.shows(part);
    }
    assert!(done.stdout.contains("cancelled"), "{}", done.stdout);
    assert_eq!(place.cancels(), 3);
    assert_eq!(place.runs().as_array().unwrap().len(), 1);
}

#[test]
fn the_question_and_the_preview_show_the_same_plan_id() {
    let place = place(3, "");
    let preview = run(&place, "preview --no-precheck ids.csv").exits(0);
    let headline = preview.stdout.lines().next().unwrap();
    ask(&place, "run ids.csv", "[y/N]: ", "n\n").shows(headline);
}

#[test]
fn an_unknown_id_is_not_in_the_plan_but_counts_against_max_actions() {
    let place = place(3, "");
    let ids = [1, 2, 3, 9].map(|number| nth_id(number).to_string());
    place.write("ids.csv", format!("id\n{}", ids.join("\n")));
    let preview = run(&place, "preview ids.csv").stdout;
    let headline = preview.lines().next().unwrap();
    assert!(headline.starts_with("3 actions to cancel"), "{headline}");
    let missing = "no such id in the tenant";
    assert!(preview.contains(missing), "{preview}");
    let done = ask(&place, "run ids.csv", "[y/N]: ", "n\n");
    done.shows(headline).shows(missing);
    // The second read may find it; then it is sent.
    let told = run(&place, "run --yes --max-actions 3 ids.csv").stderr;
    assert!(told.contains("the plan has 4 actions"), "{told}");
    assert_untouched(&place);
}

#[test]
fn what_was_typed_before_the_question_is_no_answer() {
    let place = place(3, "");
    let (mut keyboard, screen) = terminal();
    keyboard.write_all(b"y\ny\n").unwrap();
    let mut child = start_on(screen, &place, "run ids.csv");
    let shown = converse(&mut keyboard, &[("[y/N]: ", "n\n")]);
    finish(&mut child, shown).exits(2);
    assert_untouched(&place);
}

#[test]
fn a_wrong_answer_is_asked_about_once_more() {
    let place = place(3, "");
    let again = "Please type y or n: ";
    let answers = [("[y/N]: ", "3\n"), (again, "ja\n")];
    let done = talk(&place, "run ids.csv", &answers).exits(2);
    done.shows("neither y nor n");
    assert_untouched(&place);
    let answers = [("[y/N]: ", "3\n"), (again, "y\n")];
    talk(&place, "run ids.csv", &answers).exits(0);
    assert_eq!(place.cancels(), 3);
}

#[test]
fn a_no_and_a_closed_terminal_leave_no_run_and_no_report() {
    // Bit 1 is SIGINT. If a script runs the tests in the background, it is ignored and stays so.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u128::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    for (answer, why) in [
        ("\n", "you answered no"),
        ("no\n", "you answered no"),
        (CTRL_D, "no answer came"),
        (CTRL_C, "stopped by Ctrl-C"),
    ] {
        if answer == CTRL_C && ignored & 2 != 0 {
            continue;
        }
        let place = place(3, "");
        ask(&place, "run ids.csv", "[y/N]: ", answer)
            .exits(2)
            .shows(why);
        assert_untouched(&place);
    }
}

#[test]
fn more_than_a_thousand_actions_are_confirmed_by_typing_the_number() {
    let place = place(1001, "");
    let first = "To cancel 1,001 actions, type 1001 (Enter sends nothing): ";
    let second = "That is not 1001. Type 1001";
    let answers = [(first, "y\n"), (second, "1000\n")];
    let done = talk(&place, "run ids.csv", &answers).exits(2);
    done.shows("was not 1001");
    assert_untouched(&place);
    let answers = [(first, "1000\n"), (second, "1001\n")];
    talk(&place, "run ids.csv --rate none", &answers).exits(0);
    assert_eq!(place.cancels(), 1001);
}

#[test]
fn with_ids_on_stdin_the_question_goes_to_the_controlling_terminal() {
    for (answer, code, cancels) in [("y\n", 0, 3), ("n\n", 2, 0)] {
        let place = place(3, "");
        ask(&place, "run - < ids.csv", "[y/N]: ", answer).exits(code);
        assert_eq!(place.cancels(), cancels);
    }
}

#[test]
fn without_a_terminal_the_run_is_refused_with_a_hint() {
    let place = place(3, "");
    let mut command = place.command("run ids.csv");
    let told = done(command.env("MDE_CANCEL_YES", "1")).exits(2).stderr;
    assert!(told.contains("--yes"), "{told}");
    assert!(!place.at("state").exists());
    assert_eq!(place.cancels(), 0);
}

#[test]
fn stop_after_includes_planning_if_the_run_does_not_ask() {
    let place = place(3, "503@on=list");
    let words = "run ids.csv --yes --max-actions 10 --stop-after 1s";
    let told = run(&place, words).exits(4).stderr;
    let why = "nothing was sent: stopped by --stop-after while the plan was made";
    assert!(told.contains(why), "{told}");
    assert_eq!(place.cancels(), 0);
}

#[test]
fn a_plan_over_max_actions_is_refused_and_one_within_it_is_sent() {
    let place = place(3, "");
    let told = run(&place, "run --yes --max-actions 2 ids.csv").exits(2);
    let why = "--max-actions allows 2";
    assert!(told.stderr.contains(why), "{}", told.stderr);
    assert_untouched(&place);
    run(&place, "run --yes --max-actions 3 ids.csv").exits(0);
    assert_eq!(place.cancels(), 3);
}

#[test]
fn a_large_plan_lists_open_actions_once_and_reads_the_rest_by_id() {
    let place = place(1_400, "");
    place.live.isolates(1_401..=1_500, Status::Succeeded);
    place.write_ids("ids.txt", 1..=1_500);
    let told = run(&place, "run --yes --max-actions 9 ids.txt").exits(2);
    let counted = "the plan has 1,400 actions";
    assert!(told.stderr.contains(counted), "{}", told.stderr);
    assert_eq!(place.live.calls(CallKind::List), 2);
    assert_eq!(place.cancels(), 0);
}

#[test]
fn without_anything_to_send_there_is_no_question() {
    let place = place(1, "");
    place.write("ids.csv", "id,type\n");
    talk(&place, "run ids.csv", &[]).exits(0);
    assert_eq!(place.cancels(), 0);
}

#[test]
fn resume_shows_what_is_left_and_asks_and_a_no_keeps_the_run() {
    let place = Place::with(|settings| settings.tokens.strict = true);
    place.live.isolates(1..=3, Status::Pending);
    write_input(&place, 3);
    let names = format!("--tenant-id {TENANT} --client-id {APP}");
    // The service refuses the token, so the run stops before anything is sent.
    let words = format!("run --yes ids.csv --report r.csv {names}");
    run(&place, &words).exits(5);
    let (before, refused) = (place.runs(), place.cancels());
    drop(mde_cancel::platform::open_private_file(&place.at("token")).unwrap());
    place.write("token", place.sandbox().token(TENANT, APP));
    let resume = format!("resume --report r.csv --token-file token {names}");
    let mut done = ask(&place, &resume, "[y/N]: ", "n\n").exits(2);
    for part in [
        "3 actions to cancel",
        "run           ",
        "started       ",
        " ago",
        "tenant        1111",
    ] {
        done = done.shows(part);
    }
    assert_eq!(place.cancels(), refused);
    assert_eq!(place.runs().as_array().unwrap().len(), 1);
    assert_eq!(place.runs()[0]["run"], before[0]["run"]);
    ask(&place, &resume, "[y/N]: ", "yes\n").exits(0);
    assert_eq!(place.cancels(), refused + 3);
}

#[test]
fn what_has_ended_is_known_before_the_question_and_states_are_read_once() {
    let place = place(3, "");
    place.live.isolates(2..=3, Status::Succeeded);
    let released = "already final  Isolate  Succeeded        2  isolated, unless released since";
    ask(&place, "run ids.csv", "Cancel 1 action? ", "y\n")
        .exits(3)
        .shows("1 action to cancel")
        .shows(released);
    assert_eq!(place.cancels(), 1);
    assert_eq!(place.live.calls(CallKind::List), 1);
}

#[test]
fn max_actions_counts_only_open_actions() {
    let place = place(250, "");
    place.live.isolates(2..=250, Status::Failed);
    run(&place, "run --yes --max-actions 1 ids.csv").exits(0);
    assert_eq!(place.cancels(), 1);
    assert_eq!(place.live.calls(CallKind::List), 3);
}

#[test]
fn what_cannot_be_read_is_refused_before_anybody_is_asked() {
    for (faults, input, words, code, why) in [
        ("403@on=list", "", "ids.csv", 5, "--no-precheck"),
        (
            "",
            "host,owner\na,b\n",
            "- < ids.csv",
            2,
            "hint: nothing was sent",
        ),
    ] {
        let place = place(3, faults);
        if !input.is_empty() {
            place.write("ids.csv", input);
        }
        let words = format!("run --yes --max-actions 9 {words}");
        let told = done(&mut shell(&place, &words, &[])).exits(code).stderr;
        assert!(told.contains(why), "{told}");
        assert_untouched(&place);
    }
}

#[test]
fn a_selection_from_the_tenant_is_always_confirmed_by_typing_the_number() {
    let place = place(3, "");
    let prompt = "To cancel 3 actions, type 3 ";
    ask(&place, "run --type Isolate", prompt, "n\n").exits(2);
    assert_untouched(&place);
    let done = ask(&place, "run --type Isolate", prompt, "3\n").exits(0);
    done.shows("Pending");
    assert_eq!(place.cancels(), 3);
}

#[test]
fn resume_checks_max_actions_of_a_run_killed_before_its_plan_was_counted() {
    for (bound, code, cancels) in [(2, 2, 0), (3, 0, 3)] {
        let place = place(3, "hang@on=list,count=1");
        let line = format!("run --yes --max-actions {bound} ids.csv");
        let child = start(shell(&place, &line, &[]).stdin(Stdio::null()));
        wait_for(|| place.live.calls(CallKind::List) > 0);
        kill(child);
        let resume = format!("resume --yes {} --report r.csv", place.run_id());
        // A second try is refused, too.
        for _ in 0..2 {
            let told = run(&place, &resume).exits(code).stderr;
            assert_eq!(told.contains("--max-actions allows"), code == 2, "{told}");
            assert_eq!(place.cancels(), cancels);
        }
    }
}

#[test]
fn an_unanswered_question_blocks_no_other_run() {
    for is_stopped in [false, true] {
        let place = place(3, "");
        let (mut keyboard, screen) = terminal();
        let mut child = start_on(screen, &place, "run ids.csv --report a.csv");
        read_until(&mut keyboard, &["[y/N]: "]);
        let pid = rustix::process::Pid::from_child(&child);
        if is_stopped {
            rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        }
        run(&place, "run ids.csv --yes --report b.csv").exits(0);
        assert_eq!(place.cancels(), 3);
        if is_stopped {
            rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        }
        keyboard.write_all(b"y\n").unwrap();
        let rest = converse(&mut keyboard, &[]);
        let done = finish(&mut child, rest).exits(0);
        assert!(done.stdout.contains("already cancelled"), "{}", done.stdout);
        assert_eq!(place.cancels(), 3);
    }
}

#[test]
fn resume_asks_about_a_run_killed_at_its_question() {
    let number = ("(Enter sends nothing): ", "3\n");
    for (selection, (prompt, answer)) in [
        ("ids.csv", ("[y/N]: ", "y\n")),
        ("--type Isolate", number),
        ("--type Isolate --exclude-from keep.txt", number),
        ("--filter \"type eq 'Isolate'\"", number),
    ] {
        let place = place(3, "");
        place.write("keep.txt", nth_id(99).to_string());
        let (mut keyboard, screen) = terminal();
        let child = start_on(screen, &place, &format!("run {selection}"));
        read_until(&mut keyboard, &["(Enter sends nothing)", "[y/N]"]);
        kill(child);
        let id = place.run_id();
        let resume = run(&place, &format!("resume --yes {id} --report r.csv"));
        let told = resume.exits(2).stderr;
        assert!(told.contains(&format!("mde-cancel resume {id}")), "{told}");
        assert_eq!(place.cancels(), 0);
        let resume = format!("resume {id} --report r.csv");
        ask(&place, &resume, prompt, answer).exits(0);
        assert_eq!(place.cancels(), 3);
    }
}

#[test]
fn progress_bars_disappear_when_the_run_ends() {
    let place = place(3, "");
    let done = talk(&place, "run --sandbox --quota 1/20s ids.csv", &[]);
    let (before, after) = done.shown.rsplit_once("sent ").unwrap();
    assert!(before.contains("SANDBOX ["), "{:?}", done.shown);
    assert!(after.contains("\u{1b}[2K"), "{:?}", done.shown);
    assert!(done.stdout.contains("\nrun "), "{}", done.stdout);
}
