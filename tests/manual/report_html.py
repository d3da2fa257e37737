"""What tests/manual/report-html.sh asks Python for: inputs, readers of others, and a browser driven by its DevTools protocol."""

import base64
import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import uuid

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>",
    "txt.\u202eexe",
    "\x1b[2Jred\x9b31m",
    "=HYPERLINK(\"https://evil.example\",\"x\")",
    "+1",
    "-1",
    "@SUM(1)",
    "\t=1",
    "a,b;c\nsecond line",
    "'); alert(3); ('",
]
TYPES = ["Isolate", "LiveResponse", "RunAntiVirusScan", "Unisolate", "Offboard"]


def write_input(path, hostile, plain, bad):
    """Rows with texts of an attacker in every column that a report shows, ordinary ones, and rows without an id."""
    with open(path, "w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["machineActionId", "type", "computerDnsName", "machineId", "requestor", "comment"])
        for number in range(hostile + plain):
            text = HOSTILE[number % len(HOSTILE)] if number < hostile else f"host-{number}.corp.example"
            kind = TYPES[number % len(TYPES)] if number % 3 else text if number < hostile else "Isolate"
            rows.writerow([uuid.UUID(int=number + 1, version=4), kind, text, text, text, text])
        for number in range(bad):
            rows.writerow([HOSTILE[number % len(HOSTILE)] + str(number), "Isolate", "x", "x", "x", "x"])


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines, strict=True))
    return rows[0], rows[1:]


def check_files(folder, schema_path):
    import jsonschema

    schema = json.load(open(schema_path, encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.load(open(f"{folder}/r.json", encoding="utf-8"))
    formats = jsonschema.FormatChecker()
    jsonschema.Draft202012Validator(schema, format_checker=formats).validate(document)
    lines = [json.loads(line) for line in open(f"{folder}/r.jsonl", encoding="utf-8")]
    assert lines == document["rows"]

    header, rows = read_csv(f"{folder}/r.csv")
    assert header == schema["$defs"]["row"]["required"], header
    inputs = read_csv(f"{folder}/ids.csv")[1]
    assert len(rows) == len(inputs) == len(document["rows"]), (len(rows), len(inputs))
    for row, source in zip(rows, document["rows"]):
        assert len(row) == len(header)
        for name, cell in zip(header, row):
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), (name, cell)
            value = "" if source[name] is None else str(source[name])
            # A CSV spells out what nobody sees, and puts one quote before what a spreadsheet would run.
            if not re.search(r"[\x00-\x1f\x7f-\xa0\u202a-\u202e;\\]", value):
                defused = re.match(r"[' ]*[=+\-@]", value)
                assert cell == ("'" + value if defused else value), (name, cell, value)
    counted = sum(document["summary"]["outcomes"].values())
    assert counted == document["summary"]["rows"] == len(rows)
    print(f"  {len(rows)} rows agree in CSV, JSON and JSON Lines; the schema holds")

    check_log(f"{folder}/log.jsonl", document)
    check_metrics(f"{folder}/run.prom", document)
    ticket = open(f"{folder}/r.md", encoding="utf-8").read()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", ticket)


def check_log(path, document):
    lines = [json.loads(line) for line in open(path, encoding="utf-8")]
    assert all(line["time"] and line["level"] and "message" in line for line in lines)
    run = document["summary"]["run_id"]
    replies = [line for line in lines if "attempt" in line]
    assert len(replies) == document["summary"]["attempts"], (len(replies), document["summary"]["attempts"])
    for line in replies:
        assert line["run"] == run
        uuid.UUID(line["action"])
        assert isinstance(line["attempt"], int)
        assert line.get("status") is None or isinstance(line["status"], int)
    assert any(line.get("correlation_id") for line in replies)
    waits = [line["wait"] for line in lines if "wait" in line]
    assert all(isinstance(wait, (int, float)) for wait in waits), waits
    print(f"  {len(lines)} lines of the log are objects; {len(replies)} attempts, {len(waits)} waits")


def check_metrics(path, document):
    from prometheus_client.parser import text_string_to_metric_families

    text = open(path, encoding="utf-8").read()
    assert text.endswith("\n")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    value = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}
    assert len(value) == len(samples), "a sample stands twice"
    summary = document["summary"]
    for outcome, count in summary["outcomes"].items():
        found = value[("mde_cancel_actions", (("outcome", outcome),))]
        # A run that has ended has no row whose turn is still to come.
        assert found == count, (outcome, found, count)
    calls = [sample for sample in samples if sample.name == "mde_cancel_cancels_total"]
    assert sum(sample.value for sample in calls) == summary["attempts"]
    refused = [sample.value for sample in calls if sample.labels["status"] == "429"]
    assert sum(refused) == summary["throttled"]
    states = {sample.labels["state"]: sample.value for sample in samples if sample.name == "mde_cancel_run_state"}
    assert [state for state, is_so in states.items() if is_so] == ["finished"], states
    for name in ["mde_cancel_quota_used", "mde_cancel_quota_limit", "mde_cancel_waited_seconds_total"]:
        assert any(sample.name == name for sample in samples), name
    print(f"  {len(samples)} samples of the metrics file parse and agree with the report")


class Browser:
    """A headless Chromium and one page in it."""

    def __init__(self):
        # Children of Chromium may still write after it has ended.
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={self.profile.name}", "--window-size=1280,900", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.number = 0
        self.events = []
        self.socket = self.connect()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"]:
            self.call(f"{domain}.enable")

    def connect(self):
        import websocket

        port = pathlib.Path(self.profile.name, "DevToolsActivePort")
        for _ in range(600):
            if port.exists() and len(port.read_text().split()) == 2:
                number, path = port.read_text().split()
                return websocket.create_connection(f"ws://127.0.0.1:{number}{path}", timeout=120)
            assert self.process.poll() is None, "chromium ended"
            time.sleep(0.1)
        raise AssertionError("chromium never listened")

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if hasattr(self, "session"):
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def open(self, path):
        self.events.clear()
        self.call("Page.navigate", url=pathlib.Path(path).resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self.socket.recv()))

    def ask(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, (expression, answer)
        return answer["result"].get("value")

    def click(self, selector):
        place = self.ask(f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: "center", inline: "center"}});
            const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()""")
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def faults(self):
        """What a console would show in red or yellow, what was asked of the network, and dialogs."""
        found = []
        for event in self.events:
            method, said = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(said["exceptionDetails"])
            elif method == "Runtime.consoleAPICalled":
                found.append(said)
            elif method == "Log.entryAdded":
                found.append(said["entry"])
            elif method == "Page.javascriptDialogOpening":
                found.append(said)
        return found

    def requests(self):
        return [event["params"]["request"]["url"] for event in self.events
                if event.get("method") == "Network.requestWillBeSent"]

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.profile.cleanup()


ROWS = "Array.from(document.querySelectorAll('#rows tbody tr'))"


def shown_total(browser):
    """How many rows match, by the page's own line: `Rows 1 to 100 of 228, 251 in all`."""
    text = browser.ask("document.getElementById('shown').textContent")
    match = re.match(r"Rows [\d,]+ to [\d,]+ of ([\d,]+)", text)
    return int(match[1].replace(",", "")) if match else 0


def wait_for(what, get, wanted):
    for _ in range(200):
        found = get()
        if found == wanted:
            return
        time.sleep(0.05)
    raise AssertionError((what, found, wanted))


def outcomes(browser):
    return browser.ask(f"{ROWS}.map((row) => row.dataset.o)")


def column(browser, place):
    return browser.ask(f"{ROWS}.map((row) => row.cells[{place}].textContent)")


def check_page(page, table, shots):
    header, rows = read_csv(table)
    outcome = [row[header.index("outcome")] for row in rows]
    browser = Browser()
    try:
        browser.open(page)
        address = pathlib.Path(page).resolve().as_uri()
        assert browser.requests() == [address], browser.requests()
        assert shown_total(browser) == len(rows)
        assert len(column(browser, 0)) == min(100, len(rows))

        for word in sorted(set(outcome)):
            browser.click(f"[data-show='{word}']")
            wait_for(word, lambda: shown_total(browser), outcome.count(word))
            assert set(outcomes(browser)) == {word}
            browser.click(f"[data-show='{word}']")
        wait_for("all again", lambda: shown_total(browser), len(rows))
        browser.click("[data-show='left']")
        wait_for("left", lambda: shown_total(browser) > 0, True)
        browser.click("[data-show='']")

        ids = [row[0] for row in rows]
        wanted = next(cell for cell in ids if re.fullmatch(r"[0-9a-f-]{36}", cell))
        browser.click("#search")
        browser.type(wanted.upper())
        wait_for("search", lambda: shown_total(browser), sum(wanted in cell for cell in ids))
        assert all(wanted in cell for cell in column(browser, 0))
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="Escape", code="Escape", windowsVirtualKeyCode=27)
        wait_for("search ended", lambda: shown_total(browser), len(rows))

        browser.click("#rows thead th:nth-child(2) button")
        assert outcomes(browser) == sorted(outcome)[:100]
        browser.click("#rows thead th:nth-child(2) button")
        assert outcomes(browser) == sorted(outcome, reverse=True)[:100]
        assert browser.ask("document.querySelector('#rows th[aria-sort]').ariaSort") == "descending"
        if len(rows) > 100:
            browser.click("[data-go=last]")
            assert outcomes(browser) == sorted(outcome, reverse=True)[(len(rows) - 1) // 100 * 100:]

        counts = browser.ask("['script', 'style', 'img', 'iframe', 'link', '[onerror]', '[style]']"
                             ".map((name) => document.querySelectorAll(name).length)")
        assert counts == [1, 1, 0, 0, 0, 0, 0], counts
        text = browser.ask("document.documentElement.textContent")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
        # Every picture has a text, every control a name.
        assert browser.ask("Array.from(document.querySelectorAll('svg')).every((svg) => svg.ariaLabel)")
        assert browser.ask("Array.from(document.querySelectorAll('button')).every("
                           "(button) => button.ariaLabel || button.textContent.trim())")
        for width in [1280, 1024, 400, 360]:
            browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
            assert browser.ask("document.documentElement.scrollWidth <= innerWidth"), f"{width} px"
            assert browser.ask("Array.from(document.querySelectorAll('.scroll')).every("
                               "(table) => table.scrollWidth <= table.clientWidth)"), f"a table is cut at {width} px"
            # Every part of a bar can be seen, and is inside of it.
            assert browser.ask("""Array.from(document.querySelectorAll('.bar')).every((bar) => {
                const all = bar.getBoundingClientRect();
                return Array.from(bar.querySelectorAll('rect')).every((part) => {
                    const own = part.getBoundingClientRect();
                    return own.width >= 2.5 && own.left >= all.left - 1 && own.right <= all.right + 1;
                });
            })"""), f"a part of a bar is not to be seen at {width} px"
        browser.call("Emulation.clearDeviceMetricsOverride")
        assert browser.faults() == [], browser.faults()
        assert browser.requests() == [address]
        print(f"  {len(rows)} rows: filters, search, sort and pages work; the console is silent, nothing is loaded")
        if shots:
            take_pictures(browser, page, pathlib.Path(shots))

        browser.call("Emulation.setScriptExecutionDisabled", value=True)
        browser.open(page)
        assert browser.ask(f"{ROWS}.length") == len(rows)
        assert browser.ask("getComputedStyle(document.getElementById('tools')).display") == "none"
        print("  without JavaScript it is a plain table of all rows")
    finally:
        browser.close()


def watch_page(page, shots):
    """The page of a run that goes on: it loads itself anew until the run has ended, and keeps what was chosen."""
    wait_for("the first page", lambda: os.path.exists(page), True)
    browser = Browser()

    def settled(expression):
        # While it loads anew there is nobody to answer.
        for _ in range(100):
            try:
                return browser.ask(f"document.readyState === 'complete' ? {expression} : null")
            except AssertionError:
                time.sleep(0.05)
        raise AssertionError(expression)

    try:
        browser.open(page)
        every = settled("document.querySelector('meta[name=renewed-every]').content")
        assert "still running" in settled("document.body.textContent")
        browser.click("#search")
        browser.type("isolate")
        browser.click("#rows thead th:nth-child(2) button")
        loads = set()
        written = set()
        while settled("document.querySelector('meta[name=renewed-every]') !== null") is not False:
            loads.add(settled("performance.timeOrigin"))
            written.add(settled("document.getElementById('written')?.dateTime"))
            assert settled("document.getElementById('stale')?.hidden") in (True, None)
            if shots and len(loads) == 3:
                take_screenshots(browser, pathlib.Path(shots), "live-")
                shots = None
            time.sleep(0.2)
        assert len(loads - {None}) >= 3 and len(written - {None}) >= 3, (loads, written)
        assert settled("document.getElementById('search').value") == "isolate"
        assert settled("document.querySelector('#rows th[aria-sort]').ariaSort") == "ascending"
        last = settled("performance.timeOrigin")
        time.sleep(2.5 * float(every))
        assert settled("performance.timeOrigin") == last, "it still loads itself anew"
        assert browser.faults() == [], browser.faults()
        print(f"  it was loaded {len(loads)} times, one every {every} s, kept search and sorting, and has stopped")
    finally:
        browser.close()


def take_screenshots(browser, folder, prefix):
    folder.mkdir(parents=True, exist_ok=True)
    for name, scheme, width in [("light", "light", 1280), ("dark", "dark", 1280), ("narrow", "light", 400)]:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", features=features)
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        shot = browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        (folder / f"{prefix}{name}.png").write_bytes(base64.b64decode(shot["data"]))


def take_pictures(browser, page, folder):
    browser.open(page)
    take_screenshots(browser, folder, "")
    printed = browser.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
    (folder / "print.pdf").write_bytes(base64.b64decode(printed["data"]))


def check_yaml(folder, program):
    import yaml

    paths = sorted(path for path in pathlib.Path(folder).rglob("*") if path.suffix in {".yaml", ".yml"})
    assert paths, "there is no YAML"
    for path in paths:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        assert all(isinstance(document, dict) for document in documents), path
        print(f"  {path}: {len(documents)} documents")
        for document in documents:
            if document.get("kind") == "CronJob":
                check_cron_job(document, program)


def check_cron_job(job, program):
    """The rules that a scheduled run rests on, and that the program understands its arguments."""
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]
    assert pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["spec"]["volumes"]}
    # The first word that cannot be understood is named; it must be the one that is put behind them.
    typed = container["args"]
    said = subprocess.run([program, *typed, "--no-such-flag"], capture_output=True, text=True)
    assert said.returncode == 2 and "--no-such-flag" in said.stderr, said.stderr
    print(f"  {len(typed)} arguments are understood")


def main():
    what, *rest = sys.argv[1:]
    os.environ["PYTHONUTF8"] = "1"
    if what == "input":
        write_input(rest[0], hostile=66, plain=140, bad=len(HOSTILE))
    elif what == "many":
        write_input(rest[0], hostile=100, plain=100, bad=19_800)
    elif what == "files":
        check_files(*rest)
    elif what == "page":
        check_page(*rest)
    elif what == "watch":
        watch_page(*rest)
    elif what == "yaml":
        check_yaml(*rest)
    else:
        sys.exit(f"what is {what}?")


main()
