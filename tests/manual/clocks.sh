#!/usr/bin/env bash
# Time does strange things in the middle of a run, and no window is exceeded, no row lost.
#
#   tests/manual/clocks.sh [stopped] [two] [steps] [restart]     all four where none is named; about two minutes
#
#   stopped   the process is stopped by SIGSTOP for longer than every window and its time-out, and goes on
#   two       of two processes on one scope one is stopped, for longer than window and grace, while the other goes on
#   steps     the wall clock is set back and forward by hours under a process that runs
#   restart   the process is killed, and the next one finds the wall clock hours earlier, and then hours later
#
# The last two need libfaketime (Debian's package faketime), which sets the wall clock and leaves the others alone.
# Needs what pace.sh needs, besides.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh

ACTIONS=240
QUOTA=(--quota 40/2s --quota 120/8s --read-quota 40/2s --read-quota 120/8s --timeout-grace 3s --timeout 3s --rate none)

FAKETIME=
for found in /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1; do
  if [ -e "$found" ]; then FAKETIME=$found && break; fi
done

# begin NAME: a sandbox with the actions that are made up, and how long they take at best.
begin() {
  log=$work/log-$1
  report=$work/report-$1.csv
  state=$work/state-$1
  serve --seed "$work/actions.csv" --quota 40/2s,120/8s --latency 50ms..150ms --log "$log"
}

# judge NAME CODE [MOST]: MOST is how many cancels may be sent twice.
judge() {
  stop_serving
  check "exit code" "$2" "x == 0"
  each_once $ACTIONS "$log" "$work/report-$1"*.csv
  check "cancels sent twice" "$(($(cancels "$log") - ACTIONS))" "x <= ${3:-16}"
  quotas_kept "$log" 40/2 120/8
}

# run NAME INPUT WITH...: the client in the background, behind a prefix such as env; sets pid.
run() {
  local name=$1 input=$2
  shift 2
  "$@" "$BIN" run "$input" --yes --no-precheck --api-url "$url" --state-dir "$state" --progress never "${QUOTA[@]}" \
    --report "$name" >"$work/out" 2>>"$work/err" &
  pid=$!
  run_pid="$run_pid $pid"
}

stopped() {
  local code=0
  echo "== $ACTIONS actions, stopped for 12 s after 60 and after 150"
  begin stopped
  run "$report" "$work/actions.csv" env
  for count in 60 150; do
    until_cancels "$count" "$log"
    kill -STOP "$pid"
    sleep 12
    kill -CONT "$pid"
  done
  wait "$pid" || code=$?
  run_pid=
  judge stopped "$code" 32
}

two() {
  local code=0 one other
  echo "== $ACTIONS actions, two processes, one stopped for 14 s after 60"
  begin two
  awk 'NR == 1 || NR % 2 == 0' "$work/actions.csv" >"$work/even.csv"
  awk 'NR == 1 || NR % 2 == 1' "$work/actions.csv" >"$work/odd.csv"
  run "$work/report-two-1.csv" "$work/even.csv" env
  one=$pid
  run "$work/report-two-2.csv" "$work/odd.csv" env
  other=$pid
  until_cancels 60 "$log"
  kill -STOP "$one"
  sleep 14
  note "cancels by the time it goes on" "$(cancels "$log")"
  kill -CONT "$one"
  wait "$one" || code=$?
  wait "$other" || code=$?
  run_pid=
  judge two "$code" 32
}

# faked: how a process is started whose wall clock follows the file offset.
faked() {
  [ -n "$FAKETIME" ] || { echo "libfaketime is not installed" >&2 && exit 2; }
  echo "+0" >"$work/offset"
  fake=(env "LD_PRELOAD=$FAKETIME" FAKETIME_DONT_FAKE_MONOTONIC=1 "FAKETIME_TIMESTAMP_FILE=$work/offset"
    FAKETIME_NO_CACHE=1)
}

steps() {
  local code=0 best logged
  echo "== $ACTIONS actions, the wall clock five hours back after 60, seven hours forward after 130, right after 200"
  faked
  begin steps
  run "$report" "$work/actions.csv" "${fake[@]}"
  for step in "60 -5h" "130 +7h" "200 +0"; do
    until_cancels "${step% *}" "$log"
    echo "${step#* }" >"$work/offset"
    note "after ${step% *} cancels the wall clock of the process says" "$("${fake[@]}" date -u +%H:%M)"
  done
  wait "$pid" || code=$?
  run_pid=
  best=$(LATENCY=0.1 PACE=0 t_opt $ACTIONS 40/2 120/8)
  logged=$(arrivals "$log" | awk 'NR == 1 { first = $1 } END { printf "%.3f", $1 - first + 0.1 }')
  check "first arrival to last reply / T_opt" "$(ratio "$logged" "$best")" "x <= 1.1"
  judge steps "$code" 0
}

restart() {
  local code=0 id
  echo "== $ACTIONS actions, killed after 60 and 150; the wall clock five hours earlier then, and then two hours later"
  faked
  begin restart
  run "$report" "$work/actions.csv" "${fake[@]}"
  for step in "60 -5h" "150 +2h"; do
    until_cancels "${step% *}" "$log"
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null || true
    echo "${step#* }" >"$work/offset"
    id=$("$BIN" runs --format json --state-dir "$state" | awk 'match($0, /"run": *"[0-9a-f-]+"/) {
      text = substr($0, RSTART, RLENGTH); gsub(/"run": *"|"$/, "", text); print text; exit }')
    "${fake[@]}" "$BIN" resume "$id" --yes --api-url "$url" --state-dir "$state" --progress never \
      --report "$report" >"$work/out" 2>>"$work/err" &
    pid=$!
    run_pid=$pid
  done
  wait "$pid" || code=$?
  run_pid=
  judge restart "$code" 32
}

open_actions $ACTIONS >"$work/actions.csv"
run_parts "stopped two steps restart" "stopped two steps restart" "$@"
finish
