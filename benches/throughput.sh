#!/usr/bin/env bash
# How many cancels a second the program does where no quota holds it, journal and all, against what `oha` does of the
# same POSTs at the same sandbox.
#
#   benches/throughput.sh [PAIRS]      3 pairs at each concurrency where nothing is said
#
# Needs a release build, bash, awk, coreutils and oha (cargo install oha); OHA names it where it is not in the path.
# ROWS (20000) says how many cancels a measurement is made of. The journal lies below TMPDIR: let that be a real disk;
# with TMPDIR=/dev/shm the same shows what the processor alone allows.
# It measures and judges nothing: its figures mean something on a machine that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh

OHA=${OHA:-oha}
ROWS=${ROWS:-20000}
pairs=${1:-3}
command -v "$OHA" >/dev/null || { echo "no oha: cargo install oha, or set OHA" >&2; exit 2; }
COMMENT="cancelled by mde-cancel run 00000000-0000-0000-0000-000000000000"

rate() { awk -v count="$1" -v micros="$2" 'BEGIN { printf "%.0f", count / micros * 1e6 }'; }

# ours CONCURRENCY: prints cancels a second, over the whole life of the process: start, input and report included.
ours() {
  local began code=0 micros
  rm -rf "$work/state"
  began=$(micros)
  "$BIN" run --yes --no-precheck --api-url "$url" --state-dir "$work/state" --progress never --quiet \
    --quota none --read-quota none --rate none --concurrency "$1" \
    --report "$work/report.csv" "$work/ours.csv" >"$work/ours.out" 2>&1 || code=$?
  micros=$(($(micros) - began))
  if [ "$code" -ne 0 ]; then
    echo "the run ended with $code" >&2
    cat "$work/ours.out" >&2
    exit 1
  fi
  rate "$ROWS" "$micros"
}

# theirs CONNECTIONS: prints posts a second.
theirs() {
  awk -v url="$url" '{ print url "/api/machineactions/" $1 "/cancel" }' "$work/theirs.txt" >"$work/urls.txt"
  "$OHA" -n "$ROWS" -c "$1" -m POST --no-tui --output-format json -H "Authorization: Bearer any-word" \
    -H "Accept: application/json" -H "Content-Type: application/json" -d "{\"Comment\":\"$COMMENT\"}" \
    --urls-from-file "$work/urls.txt" >"$work/oha.json"
  awk '/"requestsPerSec"/ && match($0, /[0-9.]+/) { printf "%.0f", substr($0, RSTART, RLENGTH) }' "$work/oha.json"
}

echo "$(uname -sr), $(nproc) processors, load $(cut -d' ' -f1-3 /proc/loadavg), journal on $(df --output=fstype "$work" | tail -1)"
open_actions $((2 * ROWS)) >"$work/open.csv"
awk -v rows="$ROWS" 'NR <= rows + 1' "$work/open.csv" >"$work/ours.csv"
awk -F, -v rows="$ROWS" 'NR > rows + 1 { print $1 }' "$work/open.csv" >"$work/theirs.txt"
printf '%12s %5s %12s %12s %8s\n' "at once" "pair" "ours /s" "oha /s" "ratio"
for concurrency in 16 64; do
  for pair in $(seq "$pairs"); do
    # A new one for each pair: what is cancelled stays cancelled.
    serve --seed "$work/open.csv" --quota none
    mine=$(ours "$concurrency")
    other=$(theirs "$concurrency")
    stop_serving
    printf '%12s %5s %12s %12s %8s\n' "$concurrency" "$pair" "$mine" "$other" \
      "$(awk -v a="$mine" -v b="$other" 'BEGIN { printf "%.3f", a / b }')"
  done
done | awk '{ print; fflush() } $5 > 0 { ratio[$1] = ratio[$1] " " $5 }
  END { for (at in ratio) { n = split(ratio[at], all, " "); for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++)
    if (all[j] + 0 < all[i] + 0) { swap = all[i]; all[i] = all[j]; all[j] = swap }
    printf "median ratio at %s: %s\n", at, all[int((n + 1) / 2)] } }'
