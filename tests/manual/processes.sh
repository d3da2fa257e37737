#!/usr/bin/env bash
# Several processes on one scope share its allowance: none is refused, none is wasted, none starves.
#
#   tests/manual/processes.sh [COUNT]...     two and then four where nothing is named; about seven minutes each
#
# 2,000 actions together under quotas scaled 1:10, the last process 2 ms a call further away than the others. It calls
# the same address as they do, for that is what the ledger's scope is named by, so it lives in a network namespace of its
# own: Linux, root, python3 and iproute2 are needed, besides what pace.sh needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh

ACTIONS=${ACTIONS:-2000}

# far_away: makes a namespace from which the sandbox is 2 ms further away, at the same address.
far_away() {
  local port=${url##*:} gate=$work/gate
  rm -f "$gate"
  apart
  python3 tests/manual/relay.py "unix:$gate" "tcp:127.0.0.1:$port" &
  relays=("$apart_pid" "$!")
  run_pid=${relays[*]}
  until_file "$gate"
  nsenter --target "$apart_pid" --net python3 tests/manual/relay.py "tcp:127.0.0.1:$port" "unix:$gate" 2 &
  relays+=("$!")
  run_pid=${relays[*]}
  until_reached "$port" inside
}

# share COUNT: so many processes at once.
share() {
  local count=$1 relays=() pids=() began took best logged code number state=$work/state-$1
  echo "== $ACTIONS actions, $count processes, 100 per 6 s and 1,500 per 360 s, 100 ms latency, one 2 ms further away"
  serve --seed "$work/actions.csv" --quota 100/6s,1500/360s --latency 100ms --log "$work/log-$count"
  far_away
  began=$(micros)
  for number in $(seq "$count"); do
    awk -v n="$number" -v of="$count" 'NR == 1 || NR % of == n % of' "$work/actions.csv" >"$work/ids-$number.csv"
    local prefix=()
    [ "$number" -lt "$count" ] || prefix=(nsenter --target "$apart_pid" --net)
    "${prefix[@]}" "$BIN" run --yes --no-precheck --api-url "$url" --state-dir "$state" --progress never \
      --quota 100/6s --quota 1500/360s --timeout-grace 12s --report "$work/report-$count-$number.csv" \
      "$work/ids-$number.csv" >"$work/out-$number" 2>"$work/err-$number" &
    pids+=($!)
    run_pid="${relays[*]} ${pids[*]}"
  done
  code=0
  for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
  took=$(seconds_since "$began")
  end_of "${relays[@]}"
  run_pid=
  stop_serving
  # Each process has a pacer and a breadth of its own.
  best=$(PACE=$(awk -v count="$count" 'BEGIN { print 0.02 / count }') ABREAST=$((16 * count)) t_opt "$ACTIONS" 100/6 1500/360)
  arrivals "$work/log-$count" >"$work/arrivals"
  logged=$(awk -v latency="$LATENCY" 'NR == 1 { first = $1 } END { printf "%.3f", $1 - first + latency }' "$work/arrivals")
  note "T_opt of the sum, s" "$best"
  note "first arrival to last reply, s" "$logged"
  note "process start to end, s" "$took"
  check "by the sandbox's log / T_opt" "$(ratio "$logged" "$best")" "x >= 0.995 && x <= 1.03"
  check "by the processes / T_opt" "$(ratio "$took" "$best")" "x <= 1.03"
  check "cancels at the sandbox" "$(wc -l <"$work/arrivals")" "x == $ACTIONS"
  quotas_kept "$work/log-$count" 100/6 1500/360
  shares "$count"
  check "rows of the reports that are cancelled" \
    "$(cancelled "$work/report-$count"-*.csv)" "x == $ACTIONS"
  check "exit codes" "$code" "x == 0"
}

# shares COUNT: who got the slots that came free, from the first that did until one process had no more rows.
shares() {
  local count=$1 number
  for number in $(seq "$count"); do
    arrivals_of "$work/log-$count" "$work/ids-$number.csv" | awk -v n="$number" '{ print $1, n }'
  done | sort -n >"$work/who"
  awk -v count="$count" '{ at[NR] = $1; who[NR] = $2; last[$2] = NR }
    END {
      end = NR
      for (n = 1; n <= count; n++) if (last[n] < end) end = last[n]
      for (call = 101; call <= end; call++) { got[who[call]]++; freed++ }
      for (n = 1; n <= count; n++) print n, got[n] + 0, freed, got[n] * count / freed
    }' "$work/who" >"$work/shares"
  local got freed share name
  while read -r number got freed share; do
    name="process $number"
    [ "$number" -lt "$count" ] || name="process $number, the far one"
    check "$name: $got of $freed freed slots, fair shares" "$share" "x >= 0.5"
  done <"$work/shares"
}

[ $# -gt 0 ] || set -- 2 4
open_actions "$ACTIONS" >"$work/actions.csv"
check "open actions made up" "$(($(wc -l <"$work/actions.csv") - 1))" "x == $ACTIONS"
for count in "$@"; do share "$count"; done
finish
