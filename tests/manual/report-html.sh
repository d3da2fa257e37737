#!/usr/bin/env bash
# Looks at real reports with programs that are not ours: the page in headless Chromium, the CSV with Python's csv, the JSON
# with a JSON Schema validator, the metrics file with the Prometheus client's parser.
#
# usage: tests/manual/report-html.sh
#
# Needs Debian's chromium, python3-websocket, python3-jsonschema and python3-prometheus-client. With SHOTS=DIR it leaves
# pictures of the page there: light, dark, narrow and printed.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh

# Debian's packages are of Debian's interpreter, whichever comes first in PATH.
python=/usr/bin/python3

echo "== a run with hostile rows, every format at once"
"$python" tests/manual/report_html.py input "$work/ids.csv"
"$BIN" run "$work/ids.csv" --sandbox --state-dir "$work/state" --progress never --log-file "$work/log.jsonl" \
  --log-format json -vv --metrics-file "$work/run.prom" \
  --report "$work/r.csv" --report "$work/r.jsonl" --report "$work/r.json" --report "$work/r.html" --report "$work/r.md" \
  >"$work/summary" 2>"$work/errors" || [ $? -eq 3 ]

echo "== written again from the journal they are the same"
"$BIN" report --state-dir "$work/state" -o "$work/again.csv" -o "$work/again.jsonl"
cmp "$work/r.csv" "$work/again.csv"
cmp "$work/r.jsonl" "$work/again.jsonl"

echo "== CSV, JSON, log and metrics by readers of others"
"$python" tests/manual/report_html.py files "$work" samples/report.schema.json

echo "== the page"
"$python" tests/manual/report_html.py page "$work/r.html" "$work/r.csv" "${SHOTS:-}"

echo "== the page of a run that goes on"
made_up 60 | sed 's/RunAntiVirusScan/Isolate/' >"$work/live.csv"
"$BIN" run "$work/live.csv" --sandbox --quota 10/30s --rate none --no-verify --state-dir "$work/state" --progress never \
  --report "$work/live.html" >/dev/null 2>&1 &
run_pid=$!
"$python" tests/manual/report_html.py watch "$work/live.html" "${SHOTS:-}"
wait "$run_pid" || [ $? -eq 3 ]
run_pid=

echo "== the page with 20,000 rows"
"$python" tests/manual/report_html.py many "$work/many.csv"
"$BIN" run "$work/many.csv" --sandbox --quota none --rate none --state-dir "$work/state" --progress never \
  --report "$work/m.csv" --report "$work/m.html" >/dev/null 2>&1 || [ $? -eq 3 ]
"$python" tests/manual/report_html.py page "$work/m.html" "$work/m.csv" ""

echo "== what it costs to renew a page of 20,000 rows"
made_up 20000 >"$work/wave.csv"
serve --seed "$work/wave.csv" --quota none --latency 0ms
"$BIN" run "$work/wave.csv" --yes --no-verify --api-url "$url" --quota none --read-quota none --rate none --state-dir "$work/state" \
  --progress never --report "$work/w.csv" >/dev/null 2>&1 || [ $? -eq 3 ]
stop_serving
TIMEFORMAT="  written in %R s, with %U s of processor for us and %S s for the system"
time "$BIN" report --state-dir "$work/state" -o "$work/w.html"

echo "all of it holds"
