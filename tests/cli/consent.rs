//! The question before anything is sent, with the real binary on a pseudo-terminal of its own.
#![cfg(target_os = "linux")]

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mde_cancel::sandbox::{CallKind, Faults, Status};
use rustix::pty::OpenptFlags;

use crate::support::{LiveSandbox, nth_id, program};

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const APP: &str = "22222222-2222-3333-4444-555555555555";

/// What a test sees of a dialogue.
struct Dialogue {
    code: Option<i32>,
    /// All that stood on the terminal.
    shown: String,
    stdout: String,
}

/// A folder with ids, and a service that knows them all.
struct Place {
    folder: tempfile::TempDir,
    live: LiveSandbox,
}

impl Place {
    fn with(count: usize) -> Self {
        let live = LiveSandbox::start(|_| ());
        live.isolates(1..=count, Status::Pending);
        Self::of(live, count)
    }

    fn of(live: LiveSandbox, count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rows = (1..=count).map(|number| format!("{},Isolate,soc-bot\n", nth_id(number)));
        let text = "id,type,requestor\n".to_owned() + &rows.collect::<String>();
        std::fs::write(folder.path().join("ids.csv"), text).unwrap();
        Self { folder, live }
    }

    fn here(&self) -> &Path {
        self.folder.path()
    }

    /// Makes the command line of a shell that becomes the binary, without a terminal, whatever the tests run on.
    fn command(&self, line: &str) -> Command {
        let mut command = self.shell(line, &[]);
        command.stdin(Stdio::null());
        command
    }

    fn shell(&self, line: &str, session: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command
            .args(session)
            .args(["sh", "-c"])
            .arg(format!("exec \"$0\" {line}"))
            .arg(env!("CARGO_BIN_EXE_mde-cancel"))
            .current_dir(self.here())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TERM", "xterm")
            .env("MDE_CANCEL_STATE_DIR", self.here().join("state"))
            .env("MDE_CANCEL_API_URL", &self.live.url)
            .env("MDE_CANCEL_TOKEN", "any-word")
            .env("MDE_CANCEL_QUOTA", "none");
        command
    }

    /// Runs the binary on a terminal, and types `answer` once `prompt` is shown.
    fn ask(&self, line: &str, prompt: &str, answer: &str) -> Dialogue {
        self.talk(line, &[(prompt, answer)])
    }

    /// Runs the binary on a terminal, and types each answer once its prompt is shown.
    fn talk(&self, line: &str, answers: &[(&str, &str)]) -> Dialogue {
        let (mut keyboard, screen) = terminal();
        let mut child = self
            .shell(line, &["--ctty"])
            .stdin(screen.try_clone().unwrap())
            .stderr(screen)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = converse(&mut keyboard, answers);
        finish(&mut child, shown)
    }

    fn cancels(&self) -> usize {
        self.live.calls(CallKind::Cancel)
    }

    /// Lists the runs of the journal.
    fn runs(&self) -> serde_json::Value {
        let output = self.command("runs --format json").output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Asserts that nothing was sent, and that no run and no report is there.
    fn assert_untouched(&self) {
        assert_eq!(self.cancels(), 0);
        assert_eq!(self.runs(), serde_json::json!([]));
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.here()).unwrap() {
            names.push(entry.unwrap().file_name().into_string().unwrap());
        }
        names.sort();
        names.retain(|name| name != "state");
        assert_eq!(names, ["ids.csv"]);
    }
}

/// Opens a new pseudo-terminal: its keyboard's side and its screen's.
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

/// Reads the screen until the program has left it, and types each answer once its prompt is shown.
fn converse(keyboard: &mut File, answers: &[(&str, &str)]) -> String {
    let mut shown = String::new();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let mut answers = answers.iter();
    let mut next = answers.next();
    // The last one to close the screen makes reading fail.
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
    let place = Place::with(3);
    let done = place.ask("run ids.csv", "[y/N]: ", "y\n");
    assert_eq!(done.code, Some(0), "{}", done.shown);
    for part in [
        "3 actions to cancel · plan ",
        "tenant        unknown (127.0.0.1",
        "ids from      ids.csv",
        "requested by  soc-bot 3",
        "Isolate",
        "duration      a few seconds",
        "Cancel 3 actions? y sends the cancels, Enter sends nothing [y/N]: ",
    ] {
        assert!(done.shown.contains(part), "{part} is not in {}", done.shown);
    }
    assert!(done.stdout.contains("cancelled"), "{}", done.stdout);
    assert_eq!(place.cancels(), 3);
    assert_eq!(place.runs().as_array().unwrap().len(), 1);
}

#[test]
fn the_question_and_the_preview_show_the_same_plan_id() {
    let place = Place::with(3);
    let done = place.ask("run ids.csv", "[y/N]: ", "n\n");
    let preview = place
        .command("preview --no-precheck ids.csv")
        .output()
        .unwrap();
    let preview = String::from_utf8(preview.stdout).unwrap();
    let headline = preview.lines().next().unwrap();
    assert!(done.shown.contains(headline), "{headline}: {}", done.shown);
}

#[test]
fn an_id_that_the_service_does_not_know_is_in_no_plan_and_counts_against_the_bound() {
    let place = Place::with(3);
    let ids = [1, 2, 3, 9].map(|number| nth_id(number).to_string());
    let input = format!("id\n{}", ids.join("\n"));
    std::fs::write(place.here().join("ids.csv"), input).unwrap();
    let preview = place.command("preview ids.csv").output().unwrap();
    let preview = String::from_utf8(preview.stdout).unwrap();
    let headline = preview.lines().next().unwrap();
    assert!(headline.starts_with("3 actions to cancel"), "{headline}");
    let done = place.ask("run ids.csv", "[y/N]: ", "n\n");
    assert!(done.shown.contains(headline), "{headline}: {}", done.shown);
    let missing = "no such id in the tenant";
    assert!(preview.contains(missing), "{preview}");
    assert!(done.shown.contains(missing), "{}", done.shown);
    // It may be there at the second look, and is sent then.
    let bounded = place.command("run --yes --max-actions 3 ids.csv").output();
    let bounded = bounded.unwrap();
    let told = String::from_utf8_lossy(&bounded.stderr);
    assert!(told.contains("the plan has 4 actions"), "{told}");
    place.assert_untouched();
}

#[test]
fn what_was_typed_before_the_question_is_no_answer() {
    let place = Place::with(3);
    let (mut keyboard, screen) = terminal();
    keyboard.write_all(b"y\ny\n").unwrap();
    let mut child = place
        .shell("run ids.csv", &["--ctty"])
        .stdin(screen.try_clone().unwrap())
        .stderr(screen)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let shown = converse(&mut keyboard, &[("[y/N]: ", "n\n")]);
    let done = finish(&mut child, shown);
    assert_eq!(done.code, Some(2), "{}", done.shown);
    place.assert_untouched();
}

#[test]
fn a_wrong_answer_is_asked_about_once_more() {
    let place = Place::with(3);
    let again = "Please type y or n: ";
    let done = place.talk("run ids.csv", &[("[y/N]: ", "3\n"), (again, "ja\n")]);
    assert_eq!(done.code, Some(2), "{}", done.shown);
    assert!(done.shown.contains("neither y nor n"), "{}", done.shown);
    place.assert_untouched();
    let done = place.talk("run ids.csv", &[("[y/N]: ", "3\n"), (again, "y\n")]);
    assert_eq!(done.code, Some(0), "{}", done.shown);
    assert_eq!(place.cancels(), 3);
}

#[test]
fn a_no_and_a_closed_terminal_leave_no_run_and_no_report() {
    for (answer, why) in [
        ("\n", "you answered no"),
        ("no\n", "you answered no"),
        (CTRL_D, "no answer came"),
    ] {
        let place = Place::with(3);
        let done = place.ask("run ids.csv", "[y/N]: ", answer);
        assert_eq!(done.code, Some(2), "{answer:?}: {}", done.shown);
        assert!(done.shown.contains(why), "{answer:?}: {}", done.shown);
        place.assert_untouched();
    }
}

#[test]
fn ctrl_c_at_the_question_is_a_no() {
    // Bit 1 is SIGINT; where the tests run in the background of a script, it is ignored and stays so.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u128::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    if ignored & 2 != 0 {
        return;
    }
    let place = Place::with(3);
    let done = place.ask("run ids.csv", "[y/N]: ", CTRL_C);
    assert_eq!(done.code, Some(2), "{}", done.shown);
    assert!(done.shown.contains("stopped by Ctrl-C"), "{}", done.shown);
    place.assert_untouched();
}

#[test]
fn more_than_a_thousand_take_their_number() {
    let place = Place::with(1001);
    let first = "To cancel 1,001 actions, type 1001 (Enter sends nothing): ";
    let second = "That is not 1001. Type 1001";
    let done = place.talk("run ids.csv", &[(first, "y\n"), (second, "1000\n")]);
    assert_eq!(done.code, Some(2), "{}", done.shown);
    assert!(done.shown.contains("was not 1001"), "{}", done.shown);
    place.assert_untouched();
    let line = "run ids.csv --rate none";
    let done = place.talk(line, &[(first, "1000\n"), (second, "1001\n")]);
    assert_eq!(done.code, Some(0), "{}", done.shown);
    assert_eq!(place.cancels(), 1001);
}

#[test]
fn where_ids_come_through_standard_input_the_terminal_behind_it_is_asked() {
    for (answer, code, cancels) in [("y\n", 0, 3), ("n\n", 2, 0)] {
        let place = Place::with(3);
        let done = place.ask("run - < ids.csv", "[y/N]: ", answer);
        assert_eq!(done.code, Some(code), "{}", done.shown);
        assert_eq!(place.cancels(), cancels);
    }
}

#[test]
fn without_a_terminal_nobody_is_asked_and_the_way_on_is_named() {
    let place = Place::with(3);
    let mut command = program(place.here());
    command
        .args(["run", "ids.csv"])
        .env("MDE_CANCEL_API_URL", &place.live.url)
        .env("MDE_CANCEL_TOKEN", "any-word")
        .env("MDE_CANCEL_YES", "1");
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("--yes"), "{told}");
    assert!(!place.here().join("state").exists());
    assert_eq!(place.cancels(), 0);
}

#[test]
fn a_plan_over_the_bound_is_refused_whoever_agreed_and_one_within_it_goes() {
    let place = Place::with(3);
    let run = |words: &str| {
        let mut command = place.command(words);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), told)
    };
    let (code, told) = run("run --yes --max-actions 2 ids.csv");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("--max-actions allows 2"), "{told}");
    place.assert_untouched();
    let (code, told) = run("run --yes --max-actions 3 ids.csv");
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(place.cancels(), 3);
}

#[test]
fn a_large_plan_is_read_by_one_look_at_what_is_open_and_by_ids_for_the_rest() {
    let place = Place::with(1_400);
    place.live.isolates(1_401..=1_500, Status::Succeeded);
    let ids: Vec<_> = (1..=1_500)
        .map(|number| nth_id(number).to_string())
        .collect();
    std::fs::write(
        place.here().join("ids.csv"),
        format!("id\n{}", ids.join("\n")),
    )
    .unwrap();
    let output = place
        .command("run --yes --max-actions 9 ids.csv")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("the plan has 1,400 actions"), "{told}");
    assert_eq!(place.live.calls(CallKind::List), 2);
    assert_eq!(place.cancels(), 0);
}

#[test]
fn where_nothing_is_to_be_sent_nobody_is_asked() {
    let place = Place::with(1);
    std::fs::write(place.here().join("ids.csv"), "id,type\n").unwrap();
    let (mut keyboard, screen) = terminal();
    let mut child = place
        .shell("run ids.csv", &["--ctty"])
        .stdin(screen)
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let done = finish(&mut child, String::new());
    assert_eq!(
        (done.code, place.cancels()),
        (Some(0), 0),
        "{}",
        done.stdout
    );
    keyboard.flush().unwrap();
}

#[test]
fn resume_shows_what_is_left_and_asks_and_a_no_keeps_the_run() {
    let live = LiveSandbox::start(|settings| settings.tokens.strict = true);
    live.isolates(1..=3, Status::Pending);
    let token = live.sandbox.token(TENANT, APP);
    let place = Place::of(live, 3);
    let names = format!("--tenant-id {TENANT} --client-id {APP}");
    // A token that the service refuses stops the run before anything is sent.
    let mut refused = place.command(&format!("run --yes ids.csv --report r.csv {names}"));
    let output = refused.output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let (before, refused) = (place.runs(), place.cancels());
    let path = place.here().join("token");
    drop(mde_cancel::platform::open_private_file(&path).unwrap());
    std::fs::write(&path, token).unwrap();
    let resume = format!("resume --report r.csv --token-file token {names}");
    let done = place.ask(&resume, "[y/N]: ", "n\n");
    assert_eq!(done.code, Some(2), "{}", done.shown);
    for part in [
        "3 actions to cancel",
        "run           ",
        "started       ",
        " ago",
        "tenant        1111",
    ] {
        assert!(done.shown.contains(part), "{part} is not in {}", done.shown);
    }
    assert_eq!(place.cancels(), refused);
    assert_eq!(place.runs().as_array().unwrap().len(), 1);
    assert_eq!(place.runs()[0]["run"], before[0]["run"]);
    let done = place.ask(&resume, "[y/N]: ", "yes\n");
    assert_eq!(done.code, Some(0), "{}\n{}", done.shown, done.stdout);
    assert_eq!(place.cancels(), refused + 3);
}

#[test]
fn what_has_ended_is_known_before_the_question_and_states_are_read_once() {
    let place = Place::with(3);
    place.live.isolates(2..=3, Status::Succeeded);
    let done = place.ask("run ids.csv", "Cancel 1 action? ", "y\n");
    assert_eq!(
        done.code,
        Some(3),
        "two machines need release: {}",
        done.stdout
    );
    for part in [
        "1 action to cancel",
        "already final  Isolate  Succeeded        2  isolated, unless released since",
    ] {
        assert!(done.shown.contains(part), "{part} is not in {}", done.shown);
    }
    assert_eq!(place.cancels(), 1);
    assert_eq!(place.live.calls(CallKind::List), 1);
}

#[test]
fn a_bound_counts_what_is_left_once_all_states_are_read() {
    let place = Place::with(250);
    place.live.isolates(2..=250, Status::Failed);
    let output = place.command("run --yes --max-actions 1 ids.csv").output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_eq!(place.cancels(), 1);
    assert_eq!(place.live.calls(CallKind::List), 3);
}

#[test]
fn a_plan_whose_states_may_not_be_read_is_refused_before_anybody_is_asked() {
    let live = LiveSandbox::start(|settings| {
        settings.faults = Faults::parse("403@on=list").unwrap();
    });
    live.isolates(1..=3, Status::Pending);
    let place = Place::of(live, 3);
    let output = place.command("run --yes --max-actions 9 ids.csv").output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{told}");
    assert!(told.contains("--no-precheck"), "{told}");
    place.assert_untouched();
}

#[test]
fn an_input_that_cannot_be_read_is_refused_whole() {
    let place = Place::with(3);
    std::fs::write(place.here().join("ids.csv"), "host,owner\na,b\n").unwrap();
    let words = "run --yes --max-actions 9 - < ids.csv";
    let output = place.shell(words, &[]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("hint: nothing was sent"), "{told}");
    place.assert_untouched();
}

#[test]
fn a_selection_from_the_tenant_takes_its_number_however_small() {
    let place = Place::with(3);
    let prompt = "To cancel 3 actions, type 3 ";
    let done = place.ask("run --type Isolate", prompt, "n\n");
    assert_eq!(done.code, Some(2), "{}", done.shown);
    place.assert_untouched();
    let done = place.ask("run --type Isolate", prompt, "3\n");
    assert_eq!(done.code, Some(0), "{}{}", done.shown, done.stdout);
    assert!(done.shown.contains("Pending"), "{}", done.shown);
    assert_eq!(place.cancels(), 3);
}

/// Waits until the service was asked for states, as a run that is being planned does.
fn wait_for_a_read(place: &Place) {
    let start = std::time::Instant::now();
    while place.live.calls(CallKind::List) == 0 {
        assert!(start.elapsed().as_secs() < 120, "no state is read");
        std::thread::yield_now();
    }
}

#[test]
fn a_plan_that_was_killed_before_it_was_counted_is_held_to_its_bound_when_it_is_resumed() {
    for (bound, code, cancels) in [(2, 2, 0), (3, 0, 3)] {
        let live = LiveSandbox::start(|settings| {
            settings.faults = Faults::parse("hang@on=list,count=1").unwrap();
        });
        live.isolates(1..=3, Status::Pending);
        let place = Place::of(live, 3);
        let mut child = place
            .command(&format!("run --yes --max-actions {bound} ids.csv"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_a_read(&place);
        child.kill().unwrap();
        child.wait().unwrap();
        let id = place.runs()[0]["run"].as_str().unwrap().to_owned();
        // What was refused once is refused again.
        for _ in 0..2 {
            let output = place
                .command(&format!("resume --yes {id} --report r.csv"))
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{told}");
            assert_eq!(told.contains("--max-actions allows"), code == 2, "{told}");
            assert_eq!(place.cancels(), cancels);
        }
    }
}

#[test]
fn a_run_that_waits_at_its_question_or_is_stopped_there_is_in_nobodys_way() {
    for is_stopped in [false, true] {
        let place = Place::with(3);
        let (mut keyboard, screen) = terminal();
        let mut child = place
            .shell("run ids.csv --report a.csv", &["--ctty"])
            .stdin(screen.try_clone().unwrap())
            .stderr(screen)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut shown = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&shown).contains("[y/N]: ") {
            assert_eq!(keyboard.read(&mut byte).unwrap(), 1);
            shown.push(byte[0]);
        }
        let pid = rustix::process::Pid::from_child(&child);
        if is_stopped {
            rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        }
        let other = place
            .command("run ids.csv --yes --report b.csv")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&other.stdout).into_owned();
        assert_eq!(other.status.code(), Some(0), "{told}");
        assert_eq!(place.cancels(), 3, "{told}");
        if is_stopped {
            rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        }
        keyboard.write_all(b"y\n").unwrap();
        let mut rest = Vec::new();
        keyboard.read_to_end(&mut rest).ok();
        let done = finish(&mut child, String::from_utf8_lossy(&rest).into_owned());
        assert_eq!(done.code, Some(0), "{}{}", done.shown, done.stdout);
        assert!(done.stdout.contains("already cancelled"), "{}", done.stdout);
        assert_eq!(place.cancels(), 3);
    }
}

#[test]
fn a_plan_that_was_killed_at_its_question_is_asked_about_when_it_is_resumed() {
    for selection in [
        "ids.csv",
        "--type Isolate",
        "--filter \"type eq 'Isolate'\"",
    ] {
        let place = Place::with(3);
        let (mut keyboard, screen) = terminal();
        let mut child = place
            .shell(&format!("run {selection}"), &["--ctty"])
            .stdin(screen.try_clone().unwrap())
            .stderr(screen)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut shown = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&shown).contains("(Enter sends nothing)")
            && !String::from_utf8_lossy(&shown).contains("[y/N]")
        {
            assert_eq!(keyboard.read(&mut byte).unwrap(), 1);
            shown.push(byte[0]);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let id = place.runs()[0]["run"].as_str().unwrap().to_owned();
        let mut resume = place.command(&format!("resume --yes {id} --report r.csv"));
        let output = resume.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{selection}: {told}");
        assert!(told.contains(&format!("mde-cancel resume {id}")), "{told}");
        assert_eq!(place.cancels(), 0);
        let (prompt, answer) = match selection {
            "ids.csv" => ("[y/N]: ", "y\n"),
            _ => ("(Enter sends nothing): ", "3\n"),
        };
        let done = place.ask(&format!("resume {id} --report r.csv"), prompt, answer);
        assert_eq!(done.code, Some(0), "{selection}: {}", done.shown);
        assert_eq!(place.cancels(), 3);
    }
}

#[test]
fn bars_are_drawn_while_a_run_goes_on_and_leave_no_trace() {
    let place = Place::with(3);
    let done = place.talk("run --sandbox --quota 1/5s ids.csv", &[]);
    let (before, after) = done.shown.rsplit_once("cancels ").unwrap();
    assert!(before.contains("SANDBOX ["), "{:?}", done.shown);
    assert!(after.contains("\u{1b}[2K"), "{:?}", done.shown);
    assert!(done.stdout.contains("\nrun "), "{}", done.stdout);
}
