#!/usr/bin/env bash
# The disk of the state folder fills up in the middle of a run: it ends with 6, sends nothing that it cannot write down,
# and goes on to the end once there is room.
#
#   tests/manual/disk-full.sh [ROUNDS]     three where nothing is said, each full at another moment; some 20 s each
#
# The disk is a small tmpfs, so Linux and root are needed, and python3 with its sqlite3, besides what pace.sh needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh

ACTIONS=400
disk=$work/disk
trap 'umount "$disk" 2>/dev/null || true; clean_up' EXIT

# journaled DATABASE: cancels for which the ledger has ever given a slot, read from a copy.
journaled() {
  cp "$1"* "$work/copy/"
  python3 -c 'import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM calls WHERE run IS NOT NULL").fetchone()[0])' \
    "$work/copy/state.db"
}

# after LOG TIME: cancels that arrived after a wall time.
after() { wall_times "$1" | awk -v from="$(date -u -d "$2" +%s%6N)" '$1 > from { n++ } END { print n + 0 }'; }

round() {
  local nth=$1 code=0 log=$work/log-$1 failed run
  echo "== round $nth: the disk is full after $((nth * 60)) of $ACTIONS cancels"
  rm -rf "$disk" "$work/copy" && mkdir "$disk" "$work/copy"
  mount -t tmpfs -o size=8m tmpfs "$disk"
  serve --seed "$work/actions.csv" --quota 100/2s,400/12s --latency 150ms..250ms --log "$log"
  "$BIN" run --yes --no-precheck --api-url "$url" --state-dir "$disk/state" --progress never --rate none \
    --quota 100/2s --quota 400/12s --timeout-grace 4s --log-file "$work/log.json" --log-format json \
    --report "$work/report-$nth.csv" "$work/actions.csv" >"$work/out" 2>"$work/err" &
  run_pid=$!
  until_cancels $((nth * 60)) "$log"
  dd if=/dev/zero of="$disk/filler" bs=64k >/dev/null 2>&1 || true
  dd if=/dev/zero of="$disk/filler-2" bs=1k >/dev/null 2>&1 || true
  wait "$run_pid" || code=$?
  run_pid=
  check "exit code of the run" "$code" "x == 6"
  tail -n 3 "$work/err" | sed 's/^/      /'
  failed=$(awk '/journal write failed; stopping/ && match($0, /"time":"[^"]+"/) { print substr($0, RSTART + 8, RLENGTH - 9); exit }' "$work/log.json")
  note "the failed write" "${failed:-not logged}"
  # What is on the wire may still come.
  sleep 1
  local came
  came=$(cancels "$log")
  check "cancels that came and are not in the ledger" "$((came - $(journaled "$disk/state/state.db")))" "x <= 0"
  [ -z "$failed" ] || check "cancels that came after the failed write" "$(after "$log" "$failed")" "x == 0"
  rm "$disk/filler" "$disk/filler-2"
  run=$("$BIN" runs --format json --state-dir "$disk/state" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["run"])')
  code=0
  "$BIN" resume "$run" --yes --api-url "$url" --state-dir "$disk/state" --progress never \
    --report "$work/report-$nth.csv" >"$work/out" 2>"$work/err" &
  run_pid=$!
  wait "$run_pid" || code=$?
  run_pid=
  check "exit code of its resuming" "$code" "x == 0"
  stop_serving
  check "rows of the report" "$(rows "$work/report-$nth.csv")" "x == $ACTIONS"
  each_once $ACTIONS "$log" "$work/report-$nth.csv"
  check "cancels sent twice" "$(($(cancels "$log") - ACTIONS))" "x <= 16"
  quotas_kept "$log" 100/2 400/12
  umount "$disk"
  rm -f "$work/log.json"
}

open_actions $ACTIONS >"$work/actions.csv"
for nth in $(seq "${1:-3}"); do round "$nth"; done
finish
