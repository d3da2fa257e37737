#!/usr/bin/env bash
# Fuzzes each target, or those named, for SECONDS: fuzz/run.sh SECONDS [TARGET...]
# Ends with 1 where something was found; the input that shows it is in fuzz/artifacts/TARGET, and
# `cargo fuzz run -s none TARGET FILE` runs it again. Needs cargo-fuzz and a C++ compiler.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | tail -n +2)

# The same versions of everything as in the program, and state files in memory where that can be.
cp ../Cargo.lock Cargo.lock
[ ! -d /dev/shm ] || export TMPDIR=${TMPDIR:-/dev/shm}
# Without sanitizers, for there is no unsafe code of ours; so the stable compiler will do.

found=0
for target in "${targets[@]}"; do
  seeds=(seeds/"$target")
  [ "$target" != input ] || seeds=(../tests/data/field)
  mkdir -p corpus/"$target"
  echo "== $target, $seconds s"
  log=$(mktemp)
  cargo fuzz run -s none "$target" corpus/"$target" "${seeds[@]}" -- \
    -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1 || {
    found=1
    grep -aE -A6 'panicked at|^error|ERROR: libFuzzer|Test unit written' "$log" | head -n 40
  }
  grep -aE 'cov: |stat::number_of_executed_units|stat::peak_rss_mb|SUMMARY' "$log" | tail -n 4
  rm "$log"
done
exit $found
