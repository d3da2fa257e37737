#!/usr/bin/env bash
# A long run amid faults of every kind: twenty thousand actions, one call in twenty met by each kind of fault that the
# sandbox knows, so that four calls in ten do not go well; quotas scaled down, tokens that end after twenty seconds.
#
#   tests/manual/soak.sh [ACTIONS]      20000 where nothing is said; about ten minutes with a release build
#
# Judged by the sandbox's log: each row has one outcome, and one that says cancelled where the sandbox cancelled and only
# there; no window of any endpoint is exceeded, and the memory of the run stays flat.
#
# Two kinds of fault are rarer, for one in twenty of them would measure the waits that they ask for: each 429 that no
# quota explains slows all calls down for a second and more, and a second 401 for one action stops a run, as it should.
# Eight calls at once and no more: after a pause they come back by one, two and four, and each fault begins that anew.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh
unset MDE_CANCEL_TOKEN

ACTIONS=${1:-20000}
# In each line one kind, which meets one call in twenty; its variants share that.
CANCEL_FAULTS=("hang applied-hang" "reset applied-reset" "close applied-close" "408 500 applied-500 502 503:1s 504"
  "html applied-html" broken-json empty 202 302 slow:200ms latency:100ms..400ms "400 403 404 409")
READ_FAULTS=(hang reset close "500 503" html broken-json empty 302 slow:200ms latency:100ms..400ms)

# faults: the script for the sandbox.
faults() {
  local kind on
  # In this order, for the first rule that meets a call decides.
  printf '429-storm:1s@on=cancel,every=997;429-storm@on=list,every=97;401@on=cancel,every=1999;'
  for kind in "${CANCEL_FAULTS[@]}"; do share cancel "$kind"; done
  for on in get list; do
    for kind in "${READ_FAULTS[@]}"; do share $on "$kind"; done
  done
  share token "503 reset"
}

# share ON KIND: a rule for each variant.
share() {
  local variants fault
  read -ra variants <<<"$2"
  for fault in "${variants[@]}"; do
    printf '%s@on=%s,p=%s;' "$fault" "$1" "$(awk -v n="${#variants[@]}" 'BEGIN { print 0.05 / n }')"
  done
}

# watch PID FILE: seconds and resident KiB of a process, each half second until it ends.
watch() {
  local began now
  began=$(micros)
  while now=$(awk '/^VmRSS/ { print $2 }' "/proc/$1/status" 2>/dev/null) && [ -n "$now" ]; do
    echo "$((($(micros) - began) / 1000000)) $now" >>"$2"
    sleep 0.5
  done
}

echo "== $ACTIONS actions, one call in twenty met by each of ${#CANCEL_FAULTS[@]} kinds of fault"
made_up "$ACTIONS" >"$work/actions.csv"
serve --seed "$work/actions.csv" --quota 300/3s,4000/50s --latency 10ms..60ms --faults "$(faults)" \
  --token-lifetime 20s --log "$work/log"
began=$(micros)
AZURE_CLIENT_SECRET=any "$BIN" run "$work/actions.csv" --yes --api-url "$url" --login-url "$url" \
  --tenant-id 11111111-2222-3333-4444-555555555555 --client-id 66666666-7777-8888-9999-aaaaaaaaaaaa \
  --state-dir "$work/state" --progress never --quota 300/3s --quota 4000/50s --read-quota 300/3s \
  --read-quota 4000/50s --rate none --concurrency 8 --timeout 1s --timeout-grace 3s \
  --report "$work/report.csv" >"$work/out" 2>"$work/err" &
run_pid=$!
watch "$run_pid" "$work/memory"
ended "$run_pid"
run_pid=
took=$(seconds_since "$began")
note "process start to end, s" "$took"
# Three: something is left, for a row that is refused or forbidden stays so.
check "exit code" "$code" "x == 3"
[ "$code" -eq 3 ] || cat "$work/out" "$work/err" >&2
note "outcomes" "$(outcomes "$work/report.csv")"
stop_serving
check "rows of the report" "$(rows "$work/report.csv")" "x == $ACTIONS"
check "rows whose outcome is not what the sandbox did" \
  "$(rows_untrue "$work/actions.csv" "$work/report.csv" "$work/log")" "x == 0"
quotas_kept "$work/log" 300/3 4000/50
for kind in get list; do
  for window in 300/3 4000/50; do
    check "most calls to $kind in any ${window#*/} s" \
      "$(arrivals "$work/log" "$kind" | most_in_any "${window#*/}")" "x <= ${window%/*}"
  done
done
# A run's tables are full after its first quarter.
early=$(awk -v took="$took" '$1 < took / 4 && $2 > most { most = $2 } END { print most }' "$work/memory")
late=$(awk -v took="$took" '$1 >= took / 4 && $2 > most { most = $2 } END { print most }' "$work/memory")
note "most memory in the first quarter, MiB" "$(awk -v kib="$early" 'BEGIN { printf "%.1f", kib / 1024 }')"
check "most memory after it, MiB" "$(awk -v kib="$late" 'BEGIN { printf "%.1f", kib / 1024 }')" "x > 0 && x <= 96"
check "growth after the first quarter" "$(ratio "$late" "$early")" "x <= 1.25"
finish
