"""Holds a report against the log and the records of the sandbox that its run called.

    soak.py URL ACTIONS REPORT LOG

Prints name, figure and condition of each figure, parted by tabs; one without a condition is for people. It shares
nothing with the program but the words of its report.
"""

import collections
import csv
import json
import sys
import time
import urllib.parse
import urllib.request

url, actions, report, log = sys.argv[1:5]
FINAL = {"Succeeded", "Failed", "TimeOut"}


def wanted():
    with open(actions) as lines:
        return [row["id"] for row in csv.DictReader(lines)]


def records(ids):
    """Asks for a hundred at a time, as often as it takes: the faults meet these reads too."""
    found = {}
    for start in range(0, len(ids), 100):
        some = ids[start : start + 100]
        names = ",".join(f"'{name}'" for name in some)
        query = urllib.parse.urlencode({"$filter": f"id in ({names})", "$top": 100})
        call = urllib.request.Request(
            f"{url}/api/machineactions?{query}",
            headers={"Authorization": "Bearer any-word"},
        )
        for _ in range(200):
            try:
                with urllib.request.urlopen(call, timeout=2) as answer:
                    page = json.loads(answer.read())["value"]
                break
            except (OSError, ValueError, KeyError, TypeError, urllib.error.URLError):
                time.sleep(0.02)
            except Exception as error:  # a head that is no HTTP
                if type(error).__module__ != "http.client":
                    raise
        else:
            sys.exit("the sandbox never gives its records away")
        found.update((record["id"], record["status"]) for record in page)
    return found


def main():
    ids = wanted()
    lines = [json.loads(line) for line in open(log)]
    cancels = [call for call in lines if call["kind"] == "cancel"]
    arrived, changed = collections.Counter(), collections.Counter()
    for call in cancels:
        for name in call["ids"]:
            arrived[name] += 1
            changed[name] += call["changed"]
    statuses = records(ids)
    with open(report) as text:
        rows = list(csv.DictReader(text))
    told = collections.Counter(row["action_id"] for row in rows)

    def agrees(row):
        name, outcome = row["action_id"], row["outcome"]
        status, times = statuses.get(name), changed[name]
        if outcome == "cancelled":
            return status == "Cancelled" and times == 1
        if outcome == "already_cancelled":
            return status == "Cancelled" and times == 0
        if outcome in ("already_final", "too_late"):
            return status in FINAL and times == 0
        if outcome in ("failed", "forbidden"):
            return times == 0 and status != "Cancelled"
        if outcome == "not_found":
            return status is None
        return outcome in ("accepted", "unknown")

    untrue = [row for row in rows if not agrees(row)]
    for row in untrue[:20]:
        name = row["action_id"]
        print(dict(row), statuses.get(name), changed[name], file=sys.stderr)
    met = collections.Counter(call["fault"] for call in lines if call["fault"])

    def figure(name, value, condition=""):
        print(name, value, condition, sep="\t")

    figure("cancels that arrived", len(cancels))
    figure("calls in all", len(lines))
    figure("calls met by a fault", sum(met.values()))
    figure("kinds of fault that met a call", len(met))
    figure("rows of the report", len(rows), f"x == {len(ids)}")
    figure("actions that stand in it exactly once", sum(told[name] == 1 for name in ids), f"x == {len(ids)}")
    figure("rows whose outcome is not what the sandbox has", len(untrue), "x == 0")
    # An empty answer is an acceptance, of an id that the sandbox does not know as well.
    vague = [row for row in rows if row["outcome"] in ("unknown", "accepted", "not_attempted")]
    vague = [row for row in vague if row["action_id"] in statuses]
    figure("actions whose end the report does not know", len(vague), "x == 0")
    figure("actions changed more than once", sum(count > 1 for count in changed.values()), "x == 0")
    attempts = {row["action_id"]: int(row["attempts"] or 0) for row in rows}
    surplus = sum(count > attempts.get(name, 0) for name, count in arrived.items())
    figure("actions of which more cancels arrived than are told", surplus, "x == 0")


main()
