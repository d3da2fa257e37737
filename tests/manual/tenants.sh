#!/usr/bin/env bash
# Many tenants in one run, against a sandbox process that counts each tenant's calls apart: how long all of them take
# beside one alone, whether each keeps its own quota, how many sockets are open at most, and that one whose service is
# down harms nobody: it is given up 60 s after its first call, which is less than the 300 actions of the others take.
#
# usage: tests/manual/tenants.sh [TENANTS [ACTIONS]]
#
# BIN names the binary. Takes about three minutes with the 200 tenants of 300 actions that are the default. Program and
# sandbox share the processors: with 200 tenants on two of them, anything else that runs shows in the time.
set -euo pipefail
cd "$(dirname "$0")/../.."

# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh
unset MDE_CANCEL_TOKEN

tenants=${1:-200}
actions=${2:-300}
quota=100/30s

tenant_of() { printf '%08x-2222-3333-4444-555555555555' "$1"; }

# The ids of all tenants, mixed as an export of many consoles would mix them.
awk -v tenants=$((tenants + 1)) -v actions="$actions" 'BEGIN {
  print "id,tenant,type"
  for (action = 1; action <= actions; action++)
    for (tenant = 1; tenant <= tenants; tenant++)
      printf "%08x-0000-4000-8000-%012x,t%d,Isolate\n", tenant, action, tenant }' >"$work/ids.csv"
awk -F, 'NR == 1 || $2 == "t1"' "$work/ids.csv" >"$work/one-ids.csv"
grep -v ',t1,' "$work/ids.csv" >"$work/rest-ids.csv"

serve --seed "$work/ids.csv" --quota "$quota" --latency 50ms --strict-tokens --log "$work/log"

# An address at which nobody listens.
nobody=http://127.0.0.1:1

{
  echo "api-url = \"$url\""
  echo "login-url = \"$url\""
  echo 'client-id = "99999999-2222-3333-4444-555555555555"'
  echo 'client-secret-env = "TENANTS_SECRET"'
  for tenant in $(seq $((tenants + 1))); do
    echo "[profile.t$tenant]"
    echo "tenant-id = \"$(tenant_of "$tenant")\""
    if [ "$tenant" -eq $((tenants + 1)) ]; then echo "api-url = \"$nobody\""; fi
  done
} >"$work/config.toml"
export TENANTS_SECRET=any-word

# go NAME INPUT FLAG...: one run; sets took, in seconds, and most_sockets.
go() {
  local name=$1 input=$2 began open
  shift 2
  began=$(micros)
  "$BIN" run --yes --config "$work/config.toml" --state-dir "$work/state-$name" --quota "$quota" --read-quota "$quota" \
    --report "$work/$name.csv" "$@" "$input" >"$work/$name.out" 2>"$work/$name.err" &
  run_pid=$!
  most_sockets=0
  while kill -0 "$run_pid" 2>/dev/null; do
    open=$( { find "/proc/$run_pid/fd" -lname 'socket:*' 2>/dev/null || true; } | wc -l)
    if [ "$open" -gt "$most_sockets" ]; then most_sockets=$open; fi
    sleep 0.2
  done
  ended "$run_pid"
  run_pid=
  took=$(seconds_since "$began")
}

over_quota() { grep -c '"over_quota":true' "$work/log" || true; }
# span: seconds from the first cancel of the log to the last one.
span() { arrivals "$work/log" | awk 'NR == 1 { first = $1 } { last = $1 } END { printf "%.1f", last - first }'; }

go one "$work/one-ids.csv" --profile t1
one=$took
one_span=$(span)
note "one tenant, $actions actions: seconds" "$one"
note "its cancels from the first to the last: seconds" "$one_span"
: >"$work/log"

profiles=()
for tenant in $(seq 2 $((tenants + 1))); do profiles+=(--profile "t$tenant"); done
go all "$work/rest-ids.csv" "${profiles[@]}"
all_span=$(span)
good=$((tenants - 1))
note "$tenants tenants, one of them down" "$took s"
note "outcomes" "$(outcomes "$work/all.csv")"
# Some of the made-up actions had ended before, or are unknown.
ended=$(grep -cE ',(cancelled|already_cancelled|already_final|not_found),' "$work/all.csv" || true)
check "rows that ended well, of the others" "$ended" "x == $((good * actions))"
check "not attempted, of the one that is down" "$(grep -c ',not_attempted,' "$work/all.csv" || true)" "x == $actions"
check "exit code" "$code" 'x == 5'
check "calls over quota" "$(over_quota)" 'x == 0'
note "cancels from first to last ÷ one tenant's" "$(ratio "$all_span" "$one_span")"
check "all of it ÷ one tenant's" "$(ratio "$took" "$one")" 'x <= 1.10'
check "sockets open at most" "$most_sockets" 'x < 1024'
finish
