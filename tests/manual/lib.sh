# For scripts that run the real binary, most of them against a sandbox process, and judge it by that one's log; read in by
# them, not run.
#
# Gives them BIN, the binary: the one that is named, else that of dist, release or debug; work, a folder that goes when the
# script ends, unless KEEP is set; and the functions below.
# shellcheck shell=bash

export LC_ALL=C TZ=UTC

BIN=${BIN:-}
if [ -z "$BIN" ]; then
  for built in target/dist/mde-cancel target/release/mde-cancel target/debug/mde-cancel; do
    if [ -x "$built" ]; then BIN=$PWD/$built && break; fi
  done
fi
[ -x "$BIN" ] || { echo "no binary: run cargo build, or set BIN" >&2; exit 2; }

# Nothing of the caller's environment may change a run.
for name in $(compgen -e | grep -E '^(MDE_CANCEL_|AZURE_)' || true); do unset "$name"; done
export MDE_CANCEL_TOKEN=any-word

work=$(mktemp -d)
sandbox_pid=
run_pid=

clean_up() {
  for pid in $run_pid $sandbox_pid; do kill "$pid" 2>/dev/null || true; done
  [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap clean_up EXIT

micros() { printf '%s' "${EPOCHREALTIME/./}"; }

# serve FLAG...: starts a sandbox; sets url and sandbox_pid.
serve() {
  : >"$work/greeting"
  "$BIN" sandbox --port 0 "$@" >"$work/greeting" 2>"$work/sandbox.err" &
  sandbox_pid=$!
  url=
  for _ in $(seq 600); do
    url=$(awk '/^SANDBOX at / { print $3 }' "$work/greeting")
    [ -n "$url" ] && return
    sleep 0.05
  done
  echo "the sandbox does not start" >&2
  cat "$work/sandbox.err" >&2
  exit 2
}

stop_serving() {
  kill -TERM "$sandbox_pid"
  wait "$sandbox_pid" || true
  sandbox_pid=
}

# made_up COUNT: so many ids with a type that is neither guarded nor followed up.
made_up() {
  awk -v count="$1" 'BEGIN {
    print "id,type"
    for (row = 1; row <= count; row++)
      printf "%08x-0000-4000-8000-%012x,RunAntiVirusScan\n", (row * 40503) % 2147483647, row
  }'
}

# open_actions COUNT: as many of the made-up ids as asked for, those that the sandbox makes up as open. It makes the
# same action of the same id each time, so the log of an unthrottled run tells.
open_actions() {
  local candidates=$(($1 * 5 / 4)) log=$work/candidates.log
  made_up "$candidates" >"$work/candidates.csv"
  rm -f "$log"
  serve --seed "$work/candidates.csv" --quota none --log "$log"
  "$BIN" run --yes --no-precheck --api-url "$url" --state-dir "$work/state-candidates" --progress never \
    --quota none --read-quota none --rate none --report "$work/candidates-report.csv" \
    "$work/candidates.csv" >"$work/candidates.out" 2>&1 &
  run_pid=$!
  # It would wait for half a minute before it believes that an action is missing.
  for _ in $(seq 1200); do
    [ "$(cancels "$log")" -ge "$candidates" ] && break
    sleep 0.05
  done
  kill -KILL "$run_pid" 2>/dev/null || true
  wait "$run_pid" 2>/dev/null || true
  run_pid=
  stop_serving
  awk -v count="$1" 'BEGIN { print "id,type" }
    /"changed":true/ && match($0, /"ids":\["[0-9a-f-]+"\]/) && found < count {
      found++
      print substr($0, RSTART + 8, RLENGTH - 10) ",RunAntiVirusScan"
    }' "$log"
}

# How long the sandbox takes to answer, and how long calls stand apart: the pacer's default.
LATENCY=${LATENCY:-0.1}
PACE=${PACE:-0.02}
# How many calls may be under way: the default of one process.
ABREAST=${ABREAST:-16}

misses=0

# run_parts KNOWN DEFAULT PART...: calls each part that is named, and those of DEFAULT where none is; KNOWN has all of them.
run_parts() {
  local known=" $1 " default=$2 part
  shift 2
  # shellcheck disable=SC2086
  [ $# -gt 0 ] || set -- $default
  for part in "$@"; do
    [[ $known == *" $part "* ]] || { echo "no such part: $part" >&2 && exit 2; }
  done
  for part in "$@"; do "$part"; done
}

# check NAME FIGURE CONDITION: the condition is awk's, over x, the figure.
check() {
  if awk -v x="$2" "BEGIN { exit !($3) }"; then
    printf 'ok    %-52s %s\n' "$1" "$2"
  else
    printf 'MISS  %-52s %s, wanted %s\n' "$1" "$2" "$3"
    misses=$((misses + 1))
  fi
}

# seconds_since MICROS
seconds_since() { awk -v from="$1" -v to="$(micros)" 'BEGIN { printf "%.3f", (to - from) / 1e6 }'; }

# ended PID: waits for it; sets code to its exit code.
ended() {
  code=0
  wait "$1" || code=$?
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

# outcomes REPORT...: how many rows of each.
outcomes() {
  awk -F, 'FNR > 1 { n[$2]++ } END { for (word in n) printf "%s %s  ", n[word], word }' "$@"
}

# each_once COUNT LOG REPORT...: COUNT rows are cancelled, and the sandbox changed each action once.
each_once() {
  local count=$1 log=$2
  shift 2
  check "rows of the report that are cancelled" "$(cancelled "$@")" "x == $count"
  check "actions changed exactly once" "$(changed_once "$work/actions.csv" "$log")" "x == $count"
}

# cancelled REPORT...: how many rows are.
cancelled() { awk -F, 'FNR > 1 && $2 == "cancelled" { n++ } END { print n + 0 }' "$@"; }

# rows REPORT...: how many there are.
rows() { awk 'FNR > 1 { n++ } END { print n + 0 }' "$@"; }

# rows_untrue IDS REPORT LOG: rows that are missing, stand twice, or say another thing than the sandbox did.
rows_untrue() {
  awk -F, '
    FNR == 1 { file++; if (file < 3) next }
    file == 1 { wanted[$1] = 1; next }
    file == 2 { rows[$1]++; outcome[$1] = $2; next }
    /"kind":"cancel"/ && /"changed":true/ && match($0, /"ids":\["[0-9a-f-]+"\]/) { changed[substr($0, RSTART + 8, RLENGTH - 10)]++ }
    END {
      for (id in wanted)
        if (rows[id] != 1 || changed[id] > 1 || (outcome[id] == "cancelled") != (changed[id] == 1)) untrue++
      for (id in rows) if (!(id in wanted)) untrue++
      print untrue + 0
    }' "$@"
}

# wall_times LOG: when each cancel came, in microseconds of the wall clock.
wall_times() {
  awk '/"kind":"cancel"/ && match($0, /"at":"[^"]+"/) { print substr($0, RSTART + 6, RLENGTH - 7) }' "$1" |
    date -u -f - +%s%6N
}
