#!/usr/bin/env bash
# The usual ways to send many cancels, side by side with mde-cancel, as a Markdown table.
#
#   benches/peers.sh [PART]...        all three where none is named; some ten minutes
#
#   minute   1,000 actions: only the short window is felt; about two minutes
#   hour     1,600 actions: the long window is felt, too; about seven minutes
#   killed   1,000 actions, kill -9 at the 500th, and the same command again; about three minutes
#
# PEERS names some of them: loop parallel aiolimiter pyrate-limiter mde-cancel.
#
# Each has a sandbox of its own, which counts in exact rolling windows, and all go at once. The clock is scaled 1:10: the
# quotas are 100 per 6 s and 1,500 per 360 s, an answer takes 20 ms, and delays, limits and the pacer of mde-cancel are a
# tenth, too. What cannot be scaled is a Retry-After, which is whole seconds, and pyrate-limiter's slack of 50 ms.
# All is read from the sandbox's log: from the first cancel's arrival to that of the 100th and of the last one that took
# effect; refusals; and the actions that were never cancelled.
#
#   loop             Python's urllib, 0.06 s of sleep after each call
#   parallel         parallel -j 4 --delay 0.06 with a job log and --resume-failed, curl --retry 5
#   aiolimiter       aiohttp behind AsyncLimiter(100, 6), as its documentation shows it
#   pyrate-limiter   aiohttp behind a Limiter with both windows, in memory, as its documentation shows it
#   mde-cancel       run --yes; after the kill: resume --yes
#
# All of them wait out what a 429 says and try again, up to five times in all: many scripts do not even do that.
#
# Needs a release build, bash, awk, coreutils, curl, GNU parallel (Debian package parallel) and python3 with venv. Into the
# work folder it installs aiohttp, aiolimiter and pyrate-limiter by pip; VENV names a virtual environment that has them.
set -euo pipefail
cd "$(dirname "$0")/.."
LATENCY=0.02 PACE=0.002
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh

PEERS=${PEERS:-loop parallel aiolimiter pyrate-limiter mde-cancel}
QUOTAS=(100/6 1500/360)
VENV=${VENV:-$work/venv}
for program in curl parallel python3; do
  command -v "$program" >/dev/null || { echo "no $program: install the Debian package $program" >&2; exit 2; }
done

# command_of PEER TIME: sets command, what is typed the first or the second time.
command_of() {
  local python=$VENV/bin/python mine=(--api-url "$url" --state-dir "$home/state" --progress never --report "$home/report.csv")
  case $1 in
    loop) command=("$python" benches/peers/loop.py "$url" "$work/ids" 0.06) ;;
    parallel)
      command=(parallel --will-cite -q -j 4 --delay 0.06 --joblog "$home/jobs" --resume-failed -a "$work/ids"
        curl -sS --fail --retry 5 -X POST -H "Authorization: Bearer any-word" -H "Content-Type: application/json"
        -d '{"Comment":"wrong wave"}' "$url/api/machineactions/{}/cancel")
      ;;
    aiolimiter) command=("$python" benches/peers/with_aiolimiter.py "$url" "$work/ids" 100 6) ;;
    pyrate-limiter) command=("$python" benches/peers/with_pyrate_limiter.py "$url" "$work/ids" "${QUOTAS[@]}") ;;
    mde-cancel)
      command=("$BIN" run --yes "${mine[@]}" --quota 100/6s --quota 1500/360s --read-quota 50/6s --read-quota 750/360s
        --rate 500/s --timeout-grace 12s --verify-timeout 12s "$work/actions.csv")
      [ "$2" = first ] || command=("$BIN" resume --yes "${mine[@]}")
      ;;
    *) echo "no such peer: $1" >&2 && exit 2 ;;
  esac
}

# go PEER TIME: starts it in the background, known by run_pid.
go() {
  local command
  command_of "$1" "$2"
  PARALLEL_HOME=$home "${command[@]}" >>"$home/out" 2>&1 &
  run_pid=$!
}

# figures LOG FROM: seconds to the 100th and to the last that took effect, calls, 429s, those of lines after FROM, ids
# that were sent again although they were not refused, and ids that were cancelled.
figures() {
  awk -v from="$2" '
    !/"kind":"cancel"/ { next }
    {
      match($0, /"since_start_ns":[0-9]+/); at = substr($0, RSTART + 17, RLENGTH - 17) / 1e9
      match($0, /"ids":\["[0-9a-f-]+"\]/); id = substr($0, RSTART + 8, RLENGTH - 10)
      if (!calls++ || at < first) first = at
      if (/"status":429/) { refused++; if (NR > from) late++; next }
      sent[id]++
      if (/"changed":true/) { effect[++n] = at; if (at > last) last = at }
    }
    END {
      for (id in sent) if (sent[id] > 1) again++
      # Lines stand in the order of the answers, which is that of the arrivals but for some milliseconds.
      printf "%.2f %.1f %d %d %d %d %d\n", effect[100] - first, last - first, calls, refused, late, again, n
    }' "$1"
}

# one PART PEER: a whole run in a place of its own; writes the figures there.
one() {
  local home=$work/$1-$2 log=$work/$1-$2/log before=0
  mkdir "$home"
  trap 'for pid in $run_pid $sandbox_pid; do kill "$pid" 2>/dev/null || true; done' EXIT
  serve_at "$home" --seed "$work/actions.csv" --quota 100/6s,1500/360s --latency 20ms --log "$log"
  go "$2" first
  if [ "$1" = killed ]; then
    until_cancels 500 "$log"
    kill -KILL "$run_pid"
    wait "$run_pid" 2>/dev/null || true
    # What is on the wire arrives.
    sleep 0.3
    before=$(wc -l <"$log")
    go "$2" second
  fi
  wait "$run_pid" || true
  run_pid=
  stop_serving
  figures "$log" "$before" >"$home/figures"
}

# serve_at FOLDER FLAG...: serves, with the files that this takes in a folder of its own.
serve_at() {
  local work=$1
  shift
  serve "$@"
}

# part NAME COUNT
part() {
  local best peer pids=() hundredth last calls refused late again cancelled
  best=$(t_opt "$2" "${QUOTAS[@]}")
  awk -v count="$2" 'NR <= count + 1' "$work/open.csv" >"$work/actions.csv"
  awk -F, 'NR > 1 { print $1 }' "$work/actions.csv" >"$work/ids"
  for peer in $PEERS; do
    (one "$1" "$peer") &
    pids+=("$!")
    run_pid=${pids[*]}
  done
  wait "${pids[@]}"
  run_pid=
  printf '\n%s: %s actions; the rule alone takes %s s; load %s\n\n' "$1" "$2" "$best" "$(cut -d' ' -f1-3 /proc/loadavg)"
  if [ "$1" = killed ]; then
    echo "| $2 actions, killed at the 500th | to the last, s | calls | sent again | 429s after the restart | never cancelled |"
    echo "|---|---:|---:|---:|---:|---:|"
  else
    echo "| $2 actions | to the 100th, s | to the last, s | by the best possible | calls | 429s | never cancelled |"
    echo "|---|---:|---:|---:|---:|---:|---:|"
  fi
  for peer in $PEERS; do
    read -r hundredth last calls refused late again cancelled <"$work/$1-$peer/figures"
    if [ "$1" = killed ]; then
      echo "| $peer | $last | $calls | $again | $late | $(($2 - cancelled)) |"
    else
      echo "| $peer | $hundredth | $last | $(awk -v a="$last" -v b="$best" 'BEGIN { printf "%.2f", a / b }') | $calls | $refused | $(($2 - cancelled)) |"
    fi
  done
}

[ $# -gt 0 ] || set -- minute hour killed
if [ ! -x "$VENV/bin/python" ]; then
  python3 -m venv "$VENV"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check aiohttp==3.14.5 aiolimiter==1.3.0 pyrate-limiter==4.5.1
fi
echo "$(uname -sr), $(nproc) processors, $("$BIN" --version), $(parallel --version | head -n 1), $("$VENV/bin/python" --version)"
open_actions 1600 >"$work/open.csv"
for name in "$@"; do
  case $name in
    minute | killed) part "$name" 1000 ;;
    hour) part "$name" 1600 ;;
    *) echo "no such part: $name" >&2 && exit 2 ;;
  esac
done
