# For scripts that run the real binary against a sandbox process of its own; read in by them, not run.
#
# Gives them BIN, the binary: the one that is named, else that of dist, release or debug; work, a folder that
# goes when the script ends, unless KEEP is set; serve and stop_serving; and ids of actions that the sandbox has open.
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
    [ "$(awk '/"kind":"cancel"/ { n++ } END { print n + 0 }' "$log")" -ge "$candidates" ] && break
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
