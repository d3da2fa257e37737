# For scripts that judge the real binary by the log of a sandbox process; read in by them, not run.
#
# Adds to what sandbox.sh gives: check, which prints a figure and counts misses; finish, which ends the script by them;
# figures of a log: arrivals, the most in any window, and the best that the quota rule allows; waits for what a log shows;
# and a network namespace.
# shellcheck shell=bash

# shellcheck source=tests/sandbox.sh
. tests/sandbox.sh

# How long the sandbox takes to answer, and how long calls stand apart: the pacer's default.
LATENCY=${LATENCY:-0.1}
PACE=${PACE:-0.02}
# How many calls may be under way: the default of one process.
ABREAST=${ABREAST:-16}

misses=0

# check NAME FIGURE CONDITION: the condition is awk's, over x, the figure.
check() {
  if awk -v x="$2" "BEGIN { exit !($3) }"; then
    printf 'ok    %-52s %s\n' "$1" "$2"
  else
    printf 'MISS  %-52s %s, wanted %s\n' "$1" "$2" "$3"
    misses=$((misses + 1))
  fi
}

# note NAME FIGURE: a figure that nothing is asked of.
note() { printf '      %-52s %s\n' "$1" "$2"; }

finish() {
  [ "$misses" -eq 0 ] || { echo "$misses missed" && exit 1; }
  echo "all kept"
}

# ratio A B
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.4f", a / b }'; }

# arrivals LOG [KIND]: seconds since the sandbox's start of each call of a kind, cancels where none is named, in order.
arrivals() {
  awk -v kind="\"kind\":\"${2:-cancel}\"" 'index($0, kind) && match($0, /"since_start_ns":[0-9]+/) {
    printf "%.6f\n", substr($0, RSTART + 17, RLENGTH - 17) / 1e9 }' "$1" | sort -n
}

# arrivals_of LOG IDS: the same, of those cancels whose id is in a column of the file IDS.
arrivals_of() {
  awk -F, 'FNR == NR { wanted[$1] = 1; next }
    /"kind":"cancel"/ && match($0, /"ids":\["[0-9a-f-]+"\]/) && substr($0, RSTART + 8, RLENGTH - 10) in wanted {
      match($0, /"since_start_ns":[0-9]+/)
      printf "%.6f\n", substr($0, RSTART + 17, RLENGTH - 17) / 1e9 }' "$2" "$1" | sort -n
}

# t_opt COUNT LIMIT/PERIOD...: the end of the last reply if the rule alone costs time, with a constant latency.
t_opt() {
  local count=$1
  shift
  awk -v count="$count" -v latency="$LATENCY" -v pace="$PACE" -v abreast="$ABREAST" -v windows="$*" 'BEGIN {
    kinds = split(windows, window, " ")
    for (kind = 1; kind <= kinds; kind++) { split(window[kind], part, "/"); limit[kind] = part[1]; hold[kind] = part[2] * 1.001 }
    for (call = 1; call <= count; call++) {
      sent = call > 1 ? sent + pace : 0
      # With one latency for all, replies come in the order of the calls.
      if (call > abreast && ended[call - abreast] > sent) sent = ended[call - abreast]
      for (kind = 1; kind <= kinds; kind++)
        if (call > limit[kind] && ended[call - limit[kind]] + hold[kind] > sent) sent = ended[call - limit[kind]] + hold[kind]
      ended[call] = sent + latency
    }
    printf "%.3f", ended[count]
  }'
}

# most_in_any SECONDS: the most arrivals on standard input in any stretch of that length.
most_in_any() {
  awk -v span="$1" '{ at[NR] = $1; if (!first) first = 1; while (at[NR] - at[first] >= span) first++
    if (NR - first + 1 > most) most = NR - first + 1 } END { print most + 0 }'
}

# quotas_kept LOG LIMIT/SECONDS...: no 429 that a quota caused, and no window of the log exceeded.
quotas_kept() {
  local log=$1 window
  shift
  check "calls that a quota refused" "$(awk '/"over_quota":true/ { n++ } END { print n + 0 }' "$log")" "x == 0"
  for window in "$@"; do
    check "most cancels in any ${window#*/} s" "$(arrivals "$log" | most_in_any "${window#*/}")" "x <= ${window%/*}"
  done
}

# changed_once IDS LOG: how many ids of the first column, below a header, the sandbox changed exactly once.
changed_once() {
  awk -F, '
    FNR == NR { if (FNR > 1) wanted[$1] = 1; next }
    /"kind":"cancel"/ && /"changed":true/ && match($0, /"ids":\["[0-9a-f-]+"\]/) { times[substr($0, RSTART + 8, RLENGTH - 10)]++ }
    END { for (id in wanted) if (times[id] == 1) once++; print once + 0 }' "$1" "$2"
}

# cancels LOG: how many have come so far.
cancels() { awk '/"kind":"cancel"/ { n++ } END { print n + 0 }' "$1"; }

# until_cancels COUNT LOG: waits until so many have come.
until_cancels() {
  for _ in $(seq 2400); do
    [ "$(cancels "$2")" -ge "$1" ] && return
    sleep 0.05
  done
  echo "$1 cancels never come" >&2 && exit 2
}

# until_file PATH
until_file() {
  for _ in $(seq 200); do
    [ -e "$1" ] && return
    sleep 0.05
  done
  echo "$1 does not appear" >&2 && exit 2
}

# apart: makes a network namespace; sets apart_pid, which keeps it. Needs root.
apart() {
  unshare --net sleep infinity &
  apart_pid=$!
  # The namespace is there a moment after its process is.
  until [ "$(readlink "/proc/$apart_pid/ns/net" || true)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
  inside ip link set lo up
}

# inside COMMAND: runs it in that namespace. Where it goes to the background, call nsenter itself, for the sake of its id.
inside() { nsenter --target "$apart_pid" --net "$@"; }

# until_reached PORT COMMAND...: waits until a connection to the port of 127.0.0.1 comes about; COMMAND may lead inside.
until_reached() {
  local port=$1
  shift
  for _ in $(seq 200); do
    "$@" bash -c "true >/dev/tcp/127.0.0.1/$port" 2>/dev/null && return
    sleep 0.05
  done
  echo "nothing listens on port $port" >&2 && exit 2
}

# end_of PID...: ends helpers and waits for them.
end_of() {
  kill "$@" 2>/dev/null || true
  wait "$@" 2>/dev/null || true
}

# outcomes REPORT: how many rows of each.
outcomes() {
  awk -F, 'NR > 1 { n[$2]++ } END { for (word in n) printf "%s %s  ", n[word], word }' "$1"
}
