#!/usr/bin/env bash
# The property tests with other cases than those of `cargo test`, which are the same each time.
#
#   tests/manual/random.sh [ROUNDS] [FILTER]...     10 rounds of all property tests where nothing else is named
#
# Each round has a random seed, and CASES (20000) cases a test. What is found is printed and added to
# target/random-seeds.txt, with the command that shows it again; it then becomes a test with a name.
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=${1:-10}
[ $# -gt 0 ] && shift
filters=("$@")
[ ${#filters[@]} -gt 0 ] || filters=(claims clocks deaths filter hostile lanes oauth_error quota query redact
  replies report:: response sandbox)
found=target/random-seeds.txt
failed=0

cargo test --no-run --quiet
for round in $(seq "$rounds"); do
  seed=$(od -An -N6 -tu8 /dev/urandom | tr -d ' ')
  export MDE_TEST_SEED=$seed MDE_TEST_CASES=${CASES:-20000}
  echo "round $round of $rounds: seed $seed, $MDE_TEST_CASES cases"
  if ! cargo test --quiet -- "${filters[@]}" >target/random.log 2>&1; then
    failed=1
    grep -E "^test .*FAILED|panicked at|minimal failing input|^Test failed" target/random.log | tee -a "$found" || true
    echo "MDE_TEST_SEED=$seed MDE_TEST_CASES=$MDE_TEST_CASES cargo test -- ${filters[*]}" | tee -a "$found"
  fi
done
exit "$failed"
