#!/usr/bin/env bash
# What the real binary costs as a whole process, against the numbers that it is to keep.
#
#   benches/whole.sh [start] [preview] [memory] [quiet]      all four where none is named
#
#   start     the size of the binary, and how long `--version` takes
#   preview   a million rows looked through without a tenant: how long, and how much memory
#   memory    how much memory a run of a million rows takes, stopped after 4 s
#   quiet     processor time and wake-ups while the hour is waited out: alone, with the progress on a terminal, and with
#             20 tenants that all wait
#
# Needs Linux, bash, awk, coreutils and script (of util-linux). BIN names the binary, best a release build. SECONDS_QUIET
# (60) says how long each wait is watched. Prints a line for each figure; ends with 1 if any misses. Times mean something
# on a machine that does nothing else; wake-ups and memory do on any.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh

watched=${SECONDS_QUIET:-60}

start() {
  local began all=
  echo "== the binary and its start"
  check "size, bytes" "$(stat -c %s "$BIN")" "x <= 10000000"
  "$BIN" --version >/dev/null
  for _ in $(seq 21); do
    began=$(micros)
    "$BIN" --version >/dev/null
    all+="$(($(micros) - began)) "
  done
  check "--version, ms, median of 21" "$(tr ' ' '\n' <<<"$all" | sort -n | awk 'NF { at[++n] = $1 } END { printf "%.1f", at[(n + 1) / 2] / 1000 }')" "x <= 10"
}

# peak_of PID: waits until the process has ended, and prints the most memory that it held, in MiB.
peak_of() {
  local now peak=0
  while now=$(awk '/^VmHWM/ { print $2 }' "/proc/$1/status" 2>/dev/null) && [ -n "$now" ]; do
    peak=$now
    sleep 0.01
  done
  awk -v kib="$peak" 'BEGIN { printf "%.1f", kib / 1024 }'
}

preview() {
  local began peak took code=0
  echo "== a million rows looked through"
  made_up 1000000 >"$work/million.csv"
  # Without anybody who watches it, which costs time of its own; the first is for the disk's sake.
  for _ in 1 2; do
    began=$(micros)
    "$BIN" preview --no-precheck --state-dir "$work/state-preview" "$work/million.csv" >"$work/preview.out" 2>"$work/preview.err" || code=$?
    took=$(seconds_since "$began")
  done
  "$BIN" preview --no-precheck --state-dir "$work/state-preview" "$work/million.csv" >"$work/preview.out" 2>"$work/preview.err" &
  run_pid=$!
  peak=$(peak_of "$run_pid")
  wait "$run_pid" || code=$?
  run_pid=
  check "seconds" "$took" "x <= 1.5"
  check "peak memory, MiB" "$peak" "x > 0 && x <= 96"
  check "exit code" "$code" "x == 0"
}

memory() {
  local peak code=0
  echo "== a run of a million rows"
  made_up 1000000 >"$work/million.csv"
  awk 'NR <= 1001' "$work/million.csv" >"$work/first.csv"
  serve --seed "$work/first.csv"
  "$BIN" run --yes --no-precheck --api-url "$url" --state-dir "$work/state-memory" --progress never --stop-after 4s \
    --report "$work/memory.csv" "$work/million.csv" >"$work/memory.out" 2>"$work/memory.err" &
  run_pid=$!
  peak=$(peak_of "$run_pid")
  wait "$run_pid" || code=$?
  run_pid=
  stop_serving
  check "peak memory, report included, MiB" "$peak" "x > 0 && x <= 96"
  check "rows of the report" "$(rows "$work/memory.csv")" "x == 1000000"
  check "exit code: stopped as asked" "$code" "x == 4"
}

# used PID: nanoseconds on a processor, and how often one of its threads went to sleep of itself.
used() {
  cat "/proc/$1"/task/*/schedstat "/proc/$1"/task/*/status |
    awk '/^[0-9]/ { ns += $1 } /^voluntary_ctxt_switches/ { sleeps += $2 } END { printf "%.0f %d", ns, sleeps }'
}

# watch NAME PID: what a process uses while nothing can leave.
watch() {
  local before after
  before=$(used "$2")
  sleep "$watched"
  after=$(used "$2")
  check "$1: processor, %" "$(awk -v b="$before" -v a="$after" -v s="$watched" \
    'BEGIN { split(b, x); split(a, y); printf "%.3f", (y[1] - x[1]) / 1e9 / s * 100 }')" "x <= 0.2"
  check "$1: wake-ups a second" "$(awk -v b="$before" -v a="$after" -v s="$watched" \
    'BEGIN { split(b, x); split(a, y); printf "%.1f", (y[2] - x[2]) / s }')" "x <= 5"
}

# The three that wait; each sends what the hour allows first, and sets run_pid.
waiting=(run --yes --no-precheck --quota 10/1h --report "$work/waited.csv")

alone() {
  "$BIN" "${waiting[@]}" --api-url "$url" --state-dir "$work/state-alone" --progress never "$work/alone.csv" \
    >"$work/alone.out" 2>&1 &
  run_pid=$!
}

on_a_terminal() {
  local launcher
  script -qfc "stty cols 120 rows 40; exec '$BIN' ${waiting[*]} --api-url $url --state-dir '$work/state-terminal' \
    --progress always '$work/alone.csv'" "$work/terminal.out" </dev/null >/dev/null &
  launcher=$!
  sleep 1
  run_pid=$(tr -d ' ' <"/proc/$launcher/task/$launcher/children")
}

of_20_tenants() {
  local tenant profiles=()
  {
    printf 'api-url = "%s"\nlogin-url = "%s"\n' "$url" "$url"
    printf 'client-id = "99999999-2222-3333-4444-555555555555"\nclient-secret-env = "TENANTS_SECRET"\n'
    for tenant in $(seq 20); do
      printf '[profile.t%s]\ntenant-id = "%08x-2222-3333-4444-555555555555"\n' "$tenant" "$tenant"
    done
  } >"$work/config.toml"
  for tenant in $(seq 20); do profiles+=(--profile "t$tenant"); done
  env -u MDE_CANCEL_TOKEN TENANTS_SECRET=any-word "$BIN" "${waiting[@]}" --config "$work/config.toml" "${profiles[@]}" \
    --state-dir "$work/state-tenants" --progress never "$work/tenants.csv" >"$work/tenants.out" 2>&1 &
  run_pid=$!
}

quiet() {
  local kind
  echo "== an hour waited out, watched for $watched s"
  open_actions 300 >"$work/open.csv"
  awk -F, 'NR == 1 { print "id,tenant,type"; next } { print $1 ",t" 1 + NR % 20 "," $2 }' "$work/open.csv" >"$work/tenants.csv"
  awk 'NR <= 16' "$work/open.csv" >"$work/alone.csv"
  for kind in alone on_a_terminal of_20_tenants; do
    serve --seed "$work/tenants.csv" --quota 10/1h --log "$work/$kind.log"
    "$kind"
    if [ "$kind" = of_20_tenants ]; then until_cancels 200 "$work/$kind.log"; else until_cancels 10 "$work/$kind.log"; fi
    # What follows the last answers is no waiting yet.
    sleep 5
    watch "${kind//_/ }" "$run_pid"
    kill -TERM "$run_pid"
    # Under script it is no child of ours.
    while kill -0 "$run_pid" 2>/dev/null; do sleep 0.05; done
    run_pid=
    stop_serving
  done
}

echo "$(uname -sr), $(nproc) processors, load $(cut -d' ' -f1-3 /proc/loadavg)"
run_parts "start preview memory quiet" "start preview memory quiet" "$@"
finish
