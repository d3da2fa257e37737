#!/usr/bin/env bash
# A state file that another process holds for 40 s amid traffic: longer than a call may take.
#
#   tests/manual/locked.sh [SECONDS]         40 where nothing is said; about two minutes in all
#
# No answered call becomes an unknown result, nothing is sent twice, nothing is lost; the first Ctrl-C is heard at once while
# the file is held. Needs python3, whose sqlite3 holds the file.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh

HELD=${1:-40}

# hold DIR: holds the state file for so long, from the moment at which it has it; says so in DIR/held.
hold() {
  python3 - "$1" "$HELD" <<'PY' &
import pathlib, sqlite3, sys, time
folder = pathlib.Path(sys.argv[1])
file = sqlite3.connect(folder / "state.db", isolation_level=None, timeout=10)
file.execute("BEGIN IMMEDIATE")
(folder / "held").write_text("")
time.sleep(float(sys.argv[2]))
file.execute("ROLLBACK")
PY
  holder=$!
  until_file "$1/held"
}

# start NAME: a run of all actions; sets run_pid and state.
start() {
  state=$work/state-$1
  # A script's background jobs ignore Ctrl-C otherwise.
  env --default-signal=INT "$BIN" run --yes --no-precheck --no-verify --api-url "$url" --state-dir "$state" --progress never --quota none \
    --rate none --report "$work/report-$1.csv" "$work/actions.csv" >"$work/out-$1" 2>"$work/err-$1" &
  run_pid=$!
}

# attempts_of NAME CLASS: how many attempts of the run were answered so.
attempts_of() {
  python3 - "$work/state-$1/state.db" "$2" <<'PY'
import sqlite3, sys
rows = sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM attempts WHERE class = ?", [sys.argv[2]])
print(rows.fetchone()[0])
PY
}

# seconds_until TEXT FILE: how long a text does not come.
seconds_until() {
  local began
  began=$(micros)
  for _ in $(seq 2400); do
    grep -q "$1" "$2" && break
    sleep 0.02
  done
  awk -v from="$began" -v to="$(micros)" 'BEGIN { printf "%.2f", (to - from) / 1e6 }'
}

made_up 400 >"$work/actions.csv"

echo "== held for $HELD s with 16 calls on the wire"
serve --seed "$work/actions.csv" --quota none --latency 1s --log "$work/log-1"
start 1
until_cancels 60 "$work/log-1"
hold "$state"
ended "$run_pid"
run_pid=
wait "$holder"
check "attempts called timed out" "$(attempts_of 1 timed_out)" "x == 0"
check "attempts called broken" "$(attempts_of 1 broken)" "x == 0"
check "cancels at the sandbox" "$(cancels "$work/log-1")" "x == 400"
note "outcomes" "$(outcomes "$work/report-1.csv")"
stop_serving

echo "== Ctrl-C while it is held"
serve --seed "$work/actions.csv" --quota none --latency 1s --log "$work/log-2"
start 2
until_cancels 60 "$work/log-2"
hold "$state"
sleep 3
kill -INT "$run_pid"
check "seconds until the first Ctrl-C is heard" "$(seconds_until 'no new calls' "$work/err-2")" "x <= 1"
ended "$run_pid"
run_pid=
wait "$holder"
check "exit code" "$code" "x == 4"
check "attempts called timed out" "$(attempts_of 2 timed_out)" "x == 0"
stop_serving

finish
