#!/usr/bin/env bash
# The cable is pulled with calls under way, for longer than the time-out, and put back: what the kernel delivers late
# exceeds no window.
#
#   tests/manual/cable.sh [own] [relay] [long]     the first two where none is named; about a minute each
#
#   own       the calls are held back in the client's own sockets, which give up with the time-out
#   relay     they are held back in a relay's sockets, as on a gateway, and come some ten seconds late
#   long      the same with the cable out for 90 s, so that calls come minutes late, and a line beyond it that delays
#             each call and loses one piece in fifty; about seven minutes
#
# The client lives in a network namespace of its own, tied to the sandbox by a pair of interfaces; one of them is set
# down and up. It calls 127.0.0.1, for it speaks plain http to no other address. Linux, root, python3, iproute2 and, for
# the first part, iptables are needed, besides what pace.sh needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh

ACTIONS=240
# A range that is set aside for such benches.
HERE=198.18.77.1
THERE=198.18.77.2
cable=mc$$
helpers=()

trap 'ip link del "$cable" 2>/dev/null || true; clean_up' EXIT

# helper PID: remembers a process that is to end with this script.
helper() {
  helpers+=("$1")
  run_pid=${helpers[*]}
}

# tie: a namespace and a cable to it, and a way from the cable to the sandbox.
tie() {
  apart
  helper "$apart_pid"
  ip link add "$cable" type veth peer name eth0 netns "$apart_pid"
  ip addr add $HERE/30 dev "$cable"
  ip link set "$cable" up
  inside ip addr add $THERE/30 dev eth0
  inside ip link set eth0 up
  # What the line beyond the cable does to each piece may stand behind the two places.
  # shellcheck disable=SC2086
  python3 tests/manual/relay.py "tcp:$HERE:$port" "tcp:127.0.0.1:$port" $line &
  helper $!
}

# Leads calls to 127.0.0.1 over the cable, in the client's own sockets.
lead_own() {
  inside sysctl -q -w net.ipv4.conf.all.route_localnet=1
  inside iptables -t nat -A OUTPUT -p tcp -d 127.0.0.1 --dport "$port" -j DNAT --to-destination "$HERE:$port"
  inside iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE
}

# Leads them through a relay beside the client.
lead_relay() {
  nsenter --target "$apart_pid" --net python3 tests/manual/relay.py "tcp:127.0.0.1:$port" "tcp:$HERE:$port" &
  helper $!
}

# late LOG SECONDS: cancels by the second after the cable was put back, for so many seconds.
late() {
  wall_times "$1" |
    awk -v from="$up" -v span="$2" '$1 >= from && $1 < from + span * 1e6 { n[int(($1 - from) / 1e6)]++ }
      END { for (second = 0; second < span; second++) printf "%d ", n[second] }'
}

# How long the cable is out, the time-out, the grace, how long the late ones are watched, and what the line beyond does.
out=10 timeout=3 grace=15 watched=8 line=

# pull NAME LEAD: one run whose cable is pulled twice.
pull() {
  local name=$1 lead=$2 log=$work/log-$1 code=0 port pid
  echo "== $ACTIONS actions, cable pulled for $out s with a time-out of $timeout s, twice; $name, grace $grace s"
  serve --seed "$work/actions.csv" --quota 40/2s,120/8s --latency 100ms..300ms --log "$log"
  port=${url##*:}
  helpers=()
  tie
  "$lead"
  until_reached "$port" inside
  nsenter --target "$apart_pid" --net "$BIN" run "$work/actions.csv" --yes --no-precheck --api-url "$url" \
    --state-dir "$work/state-$name" --progress never --quota 40/2s --quota 120/8s --read-quota 40/2s \
    --read-quota 120/8s --timeout-grace "${grace}s" --timeout "${timeout}s" --rate none --concurrency 40 \
    --report "$work/report-$name.csv" >"$work/out" 2>"$work/err" &
  pid=$!
  run_pid="${helpers[*]} $pid"
  for count in 40 120; do
    until_cancels "$count" "$log"
    # A moment before the next burst, which then leaves for nowhere.
    sleep 1.2
    ip link set "$cable" down
    sleep "$out"
    ip link set "$cable" up
    up=$(micros)
    sleep "$watched"
    note "arrivals in each second after it was put back" "$(late "$log" "$watched")"
  done
  wait "$pid" || code=$?
  end_of "${helpers[@]}"
  run_pid=
  ip link del "$cable" 2>/dev/null || true
  stop_serving
  check "exit code" "$code" "x == 0"
  note "outcomes" "$(outcomes "$work/report-$name.csv")"
  each_once $ACTIONS "$log" "$work/report-$name.csv"
  note "cancels that arrived more than once" "$(($(cancels "$log") - ACTIONS))"
  quotas_kept "$log" 40/2 120/8
}

own() { pull own lead_own; }
relay() { pull relay lead_relay; }
# The kernel doubles its pauses: what was sent as the cable went comes up to twice as late as it was out.
long() { out=90 timeout=10 grace=120 watched=20 line="80 2" pull long lead_relay; }

open_actions $ACTIONS >"$work/actions.csv"
run_parts "own relay long" "own relay" "$@"
finish
