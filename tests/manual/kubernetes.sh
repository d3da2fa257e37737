#!/usr/bin/env bash
# Runs the command of samples/deploy/kubernetes.yaml as its pod does: user 65532, on a volume whose root belongs to
# root:65532 with mode 2770 and holds a lost+found, as a disk with an fsGroup has it.
#
# usage: tests/manual/kubernetes.sh
#
# Needs root, Debian's util-linux (setpriv) and python3-yaml; with bindfs, a FUSE volume is tried, too.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh
[ "$(id -u)" = 0 ] || { echo "needs root, to run as another user" >&2; exit 2; }

volume=$work/state
chmod 711 "$work"
install -d -m 755 "$work/in"
install -m 755 "$BIN" "$work/mde-cancel"
made_up 20 >"$work/in/ids.csv"

fresh_volume() {
  rm -rf "$volume"
  install -d -m 2770 -o 0 -g 65532 "$volume"
  chmod 2770 "$volume"
  install -d -m 700 "$volume/lost+found"
}

# The sample's words, with its folders replaced by ours: variables first, then the command's.
mapfile -t words < <(/usr/bin/python3 - "$volume" "$work/in" <<'PY'
import sys, yaml
documents = yaml.safe_load_all(open("samples/deploy/kubernetes.yaml", encoding="utf-8"))
(job,) = [document for document in documents if document["kind"] == "CronJob"]
pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"] == 65532
(container,) = pod["containers"]
variables = [f"{each['name']}={each['value']}" for each in container["env"]]
for word in [*variables, "--", *container["args"]]:
    print(word.replace("/state", sys.argv[1]).replace("/in/", sys.argv[2] + "/"))
PY
)

# pod WORD...: what the container does, with more words behind.
pod() {
  local variables=() command=() word
  local -n into=variables
  for word in "${words[@]}"; do
    if [ "$word" = -- ]; then local -n into=command; else into+=("$word"); fi
  done
  (cd / && setpriv --reuid 65532 --regid 65532 --clear-groups env -i MDE_CANCEL_TOKEN=any-word \
    MDE_CANCEL_API_URL="$url" "${variables[@]}" "$work/mde-cancel" "${command[@]}" "$@")
}

fail() { printf 'MISS  %s\n' "$*"; cat "$work/out" "$work/err"; exit 1; }

# expect CODE TEXT WORD...: runs the pod's command.
expect() {
  local code=$1 text=$2 got=0
  shift 2
  pod "$@" >"$work/out" 2>"$work/err" || got=$?
  [ $got = "$code" ] || fail "exit code $got, wanted $code"
  grep -qF -- "$text" "$work/out" "$work/err" || fail "no \"$text\""
}

serve --seed "$work/in/ids.csv" --quota none --latency 1ms..5ms

echo "== a volume with an fsGroup"
fresh_volume
expect 0 "report.csv" --no-verify
[ "$(stat -c '%u:%g %a' "$volume/mde-cancel")" = "65532:65532 2700" ] || fail "$(stat "$volume/mde-cancel")"
[ "$(wc -l <"$volume/report.csv")" = 21 ] || fail "the report has not every row"
[ -s "$volume/report.html" ] && [ -s "$volume/mde-cancel.prom" ] || fail "an output is missing"
echo "ok    every row is in the report, and the state is the pod's user's alone"

echo "== the night after, on what the first one left"
expect 0 "report.csv" --no-verify
[ "$(wc -l <"$volume/report.csv")" = 21 ] || fail "the report has not every row"
echo "ok    the same folder is taken up"

echo "== the root of the volume as state folder"
fresh_volume
expect 6 "use a new folder inside it, which only you can read: --state-dir $volume/mde-cancel" --state-dir "$volume"
echo "ok    it is refused with a way out"

if command -v bindfs >/dev/null && [ -e /dev/fuse ]; then
  echo "== a FUSE volume"
  fresh_volume
  bindfs "$volume" "$volume"
  expect 6 "is on FUSE, where file locks and quota counts are not reliable" || { umount "$volume"; exit 1; }
  umount "$volume"
  echo "ok    it is refused by name"
fi
stop_serving
