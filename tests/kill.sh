#!/usr/bin/env bash
# Kills the real binary at random moments of run after run, and resumes each until it is done: tests/cli/crash.rs, which
# makes a few dozen kills in the suite, with as many as are asked for.
#
#   tests/kill.sh [KILLS] [SEED]      320 kills where nothing is said, half of them where no record may be read
#
# Prints a line for each run, and ends with 1 where anything is not as it must be. Takes some two minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

CRASH_KILLS=${1:-320} CRASH_SEED=${2:-1000} cargo test --test cli crash:: -- --nocapture
