#!/usr/bin/env bash
# Builds the program and its tests for Windows, and runs them under wine.
#
#   tests/manual/windows.sh [PART]...      all parts in this order where none is named
#
#   chroot   makes a Debian with a Rust that can build Windows' standard library (about 2 GB, 3 minutes)
#   build    builds the program and both test binaries for x86_64-pc-windows-gnu
#   tests    runs unit tests, tests/lib and tests/cli under wine
#   inputs   files and pipes as PowerShell writes them: UTF-16, CRLF, #TYPE; and a service over http and https
#   kills    ends a run 50 times at random, resumes it, and counts the report's rows
#
# Needs Debian, root, debootstrap, wine64 (Debian packages) and a network for packages and crates. ROOT (default
# /var/cache/mde-cancel-windows) is where the Debian lies; it is kept for the next time. What it proves is what wine does:
# no real Windows is asked.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD
ROOT=${ROOT:-/var/cache/mde-cancel-windows}
MIRROR=${MIRROR:-$(awk '/^URIs:/ { print $2; exit } /^deb / { for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) { print $i; exit } }' /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null)}
build=$ROOT/build
target=x86_64-pc-windows-gnu
out=$build/target/$target/debug
export WINEPREFIX=$build/wine WINEDEBUG=-all RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}

need() { command -v "$1" >/dev/null || { echo "no $1: install the Debian package $2" >&2; exit 2; }; }

# The Debian sees this checkout and the build folder at the paths that they have outside: tests find the program by them.
mounted=()
mount_into() {
  mkdir -p "$ROOT$1"
  mountpoint -q "$ROOT$1" || { mount --bind "$1" "$ROOT$1" && mounted+=("$ROOT$1"); }
}
clean_up() {
  # shellcheck disable=SC2046
  kill $(jobs -p) 2>/dev/null || true
  wineserver -k 2>/dev/null || true
  for place in "${mounted[@]}"; do umount "$place" || true; done
}
trap clean_up EXIT

inside() {
  local certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt} file
  for place in /proc /dev "$here" "$build"; do mount_into "$place"; done
  for file in /etc/resolv.conf /etc/hosts "$certificates"; do
    mkdir -p "$ROOT/$(dirname "$file")"
    cp -L "$file" "$ROOT/$file"
  done
  chroot "$ROOT" env -i PATH=/usr/bin:/bin HOME=/root CARGO_HOME=/build/cargo CARGO_TARGET_DIR="$build/target" \
    SSL_CERT_FILE="$certificates" CARGO_HTTP_CAINFO="$certificates" RUSTC_BOOTSTRAP=1 \
    CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc \
    CC_x86_64_pc_windows_gnu=x86_64-w64-mingw32-gcc sh -c "cd '$here' && $1"
}

chroot_part() {
  [ ! -x "$ROOT/usr/bin/cargo" ] || { echo "$ROOT has one"; return; }
  need debootstrap debootstrap
  # Debian 12's debootstrap does not know the name yet.
  [ -e /usr/share/debootstrap/scripts/forky ] || ln -s sid /usr/share/debootstrap/scripts/forky
  debootstrap --variant=minbase \
    --include=rustc,cargo,rust-src,gcc-mingw-w64-x86-64,ca-certificates,gcc,libc6-dev forky "$ROOT" "$MIRROR" >"$ROOT.log" 2>&1 ||
    { tail -5 "$ROOT.log" >&2; exit 1; }
}

# Debian 12's wine 8 lacks the library of one function that Rust's standard library needs. Windows and wine 10 have it.
shim() {
  cat >"$build/shim.c" <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) { return SystemFunction036(data, (ULONG)length); }
C
  inside "x86_64-w64-mingw32-gcc -shared -o /build/bcryptprimitives.dll /build/shim.c -ladvapi32"
  cp "$build/bcryptprimitives.dll" "$out/"
  cp "$build/bcryptprimitives.dll" "$out/deps/"
}

build_part() {
  mkdir -p "$build"
  inside "cargo test --locked --no-run -Zbuild-std=std,panic_abort,test --target $target" 2>&1 | tee "$build/log" | grep -E "^(warning|error)|Executable|Finished" -A6 || true
  grep -q Finished "$build/log"
  shim
}

# binary NAME: the newest test binary of that name.
binary() { sed -n "s#.*Executable .*(\(.*/$1-[0-9a-f]*\.exe\)).*#\1#p" "$build/log" | tail -1; }

mde_cancel() { wine "$out/mde-cancel.exe" "$@"; }

tests_part() {
  local name failed=0
  for name in mde_cancel lib cli; do
    echo "== $name"
    # shellcheck disable=SC2086
    wine "$(binary "$name")" ${TESTS:-} 2>&1 | tr -d '\r' | tee "$build/$name.out" | grep -E '^test .* FAILED|^test result' || true
    grep -q '^test result: ok' "$build/$name.out" || failed=1
  done
  return "$failed"
}

# outcomes REPORT: how many rows ended how.
outcomes() { tr -d '\r' <"$1" | awk -F, 'NR > 1 { count[$2]++ } END { for (outcome in count) printf "%s %d\n", outcome, count[outcome] }' | sort; }

# expect WHAT FOUND WANTED
expect() {
  if [ "$2" = "$3" ]; then echo "ok    $1: $(tr '\n' ' ' <<<"$2")"; else printf 'MISS  %s: found\n%s\nwanted\n%s\n' "$1" "$2" "$3" && exit 1; fi
}

inputs_part() {
  local work url
  work=$(mktemp -d "$build/inputs.XXXX")
  cd "$work"
  # As `Export-Csv` of Windows PowerShell 5 writes: UTF-16 with a mark, CRLF, a line with the type.
  {
    printf '#TYPE System.Management.Automation.PSCustomObject\r\n"Id","Type","ComputerDnsName"\r\n'
    for n in 1 2 3; do printf '"00000000-0000-4000-8000-%012d","Isolate","host-%03d.contoso.com"\r\n' "$n" "$n"; done
  } | iconv -t UTF-16LE | (printf '\xff\xfe' && cat) >export.csv
  printf '%s\r\n' 00000000-0000-4000-8000-00000000000{1,2,3} | iconv -t UTF-16LE | (printf '\xff\xfe' && cat) >ids.txt

  echo "== the sandbox inside"
  mde_cancel run export.csv --sandbox --state-dir state --report sandbox.csv --progress never >sandbox.out 2>&1 || [ $? -eq 3 ]
  expect "UTF-16 file with #TYPE" "$(outcomes sandbox.csv)" "cancelled 3"

  echo "== a service over http, ids through a pipe"
  mde_cancel sandbox --seed export.csv >server.out 2>&1 &
  until url=$(tr -d '\r' <server.out | grep -oE 'http://127.0.0.1:[0-9]+'); do :; done
  export MDE_CANCEL_TOKEN=any-word
  mde_cancel run - --yes --api-url "$url" --state-dir state --report piped.csv --progress never --no-verify \
    --allow-protected unknown <ids.txt >piped.out 2>&1 || [ $? -eq 3 ]
  expect "ids through a pipe, over http" "$(outcomes piped.csv)" "cancelled 3"

  echo "== a service over https with --ca-file"
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out asked.pem 2>/dev/null
  openssl x509 -req -in asked.pem -CA ca.pem -CAkey ca.key -days 2 -extfile <(echo subjectAltName=DNS:localhost) \
    -out cert.pem 2>/dev/null
  python3 - "${url##*:}" >tls.out 2>/dev/null <<'PY' &
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try: end.shutdown(socket.SHUT_RDWR)
        except OSError: pass
def serve(raw):
    try: secure = context.wrap_socket(raw, server_side=True)
    except (OSError, ssl.SSLError): return
    plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    threading.Thread(target=copy, args=(secure, plain), daemon=True).start()
    copy(plain, secure)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
PY
  until [ -s tls.out ]; do :; done
  mde_cancel doctor --api-url "https://localhost:$(cat tls.out)" --state-dir state >refused.out 2>&1 && exit 1
  grep -qi certificate refused.out && echo "ok    without --ca-file: $(tr -d '\r' <refused.out | grep -i certificate | head -1)"
  mde_cancel run export.csv --yes --api-url "https://localhost:$(cat tls.out)" --ca-file ca.pem --state-dir state-tls \
    --report tls.csv --progress never >tls-run.out 2>&1 || [ $? -eq 3 ]
  expect "over https with --ca-file" "$(outcomes tls.csv)" "$(printf 'already_cancelled 3')"
  cd "$here"
  rm -rf "$work"
}

kills_part() {
  CRASH_KILLS=${KILLS:-50} CRASH_SEED=${SEED:-1000} wine "$(binary cli)" crash:: --nocapture 2>&1 | tr -d '\r' | tee "$build/kills.out" |
    grep -E 'kill|^test ' || true
  grep -q '^test result: ok' "$build/kills.out"
}

[ $# -gt 0 ] || set -- chroot build tests inputs kills
need wine wine64
for part in "$@"; do
  case $part in chroot | build | tests | inputs | kills) "${part}_part" ;; *) echo "no such part: $part" >&2 && exit 2 ;; esac
done
