#!/usr/bin/env bash
# Checks the samples for scheduled use: the units by systemd's own verifier, the YAML by a parser, and every command line
# in them by the binary's.
#
# usage: tests/manual/deploy.sh
#
# Needs Debian's systemd and python3-yaml.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh

BIN=$(readlink -f "$BIN")

echo "== YAML"
/usr/bin/python3 tests/manual/report_html.py yaml samples/deploy "$BIN"

echo "== systemd units"
for unit in samples/deploy/*.service samples/deploy/*.timer; do
  # The verifier wants the program to be there.
  sed "s#/usr/bin/mde-cancel#$BIN#" "$unit" >"$work/$(basename "$unit")"
done
said=$(systemd-analyze verify "$work"/mde-cancel-sweep.service "$work"/mde-cancel-sweep.timer 2>&1)
[ -z "$said" ] || { printf '%s\n' "$said" >&2; exit 1; }

echo "== an image that is nobody's in particular"
grep -q '^USER 65532:65532$' samples/deploy/Dockerfile
grep -q '^FROM gcr.io/distroless/' samples/deploy/Dockerfile
echo "all of it holds"
