#!/usr/bin/env bash
# Builds the program and its tests for Windows, and runs them under wine.
#
#   tests/manual/windows.sh [PART]...      all parts in this order where none is named
#
#   chroot   makes a Debian with a Rust that can build Windows' standard library (about 2 GB, 3 minutes)
#   build    builds the program and both test binaries for x86_64-pc-windows-gnu
#   tests    runs unit tests, tests/lib and tests/cli under wine
#   inputs   files and pipes as PowerShell writes them: UTF-16, CRLF, #TYPE; and a service over http and https
#   console  the question and Ctrl-C on a console
#   kills    ends a run 50 times at random, resumes it, and counts the report's rows
#
# Needs Debian, root, debootstrap, wine (Debian packages), python3 and a network for packages and crates. ROOT (default
# /var/cache/mde-cancel-windows) is where the Debian lies; it is kept for the next time. What it proves is what wine does:
# no real Windows is asked. Wine 8 delivers neither Ctrl-Break nor a closed console.
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
  rm -f "$build/roots.up"
  wineserver -k 2>/dev/null || true
  for place in "${mounted[@]}"; do umount "$place" || true; done
}
trap clean_up EXIT

inside() {
  local certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt} file
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

# Builds what wine needs beside the program:
# - The library of one function that Rust's standard library needs, which Debian 12's wine 8 lacks. Windows and wine 10 have it.
# - roots.exe. Wine copies the system's certificates into its registry while it holds a semaphore, which stays taken if the
#   process is killed; all others then wait for ever. roots.exe has them copied, and makes that semaphore one for many.
# - ctrl-c.exe EXE ARGUMENT...: starts a program on the same console, sends Ctrl-C once r.html exists, and ends as it does.
helpers() {
  cat >"$build/shim.c" <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) { return SystemFunction036(data, (ULONG)length); }
C
  cat >"$build/roots.c" <<'C'
#include <windows.h>
#include <wincrypt.h>
int main(void) {
  CertCloseStore(CertOpenSystemStoreA(0, "ROOT"), 0);
  if (!CreateSemaphoreA(NULL, 1000000, 1000000, "crypt32_root_semaphore")) return 1;
  CloseHandle(CreateFileA("roots.up", GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL));
  Sleep(INFINITE);
}
C
  cat >"$build/ctrl-c.c" <<'C'
#include <windows.h>
#include <string.h>
int main(int argc, char **argv) {
  char line[32768] = "";
  for (int i = 1; i < argc; i++) strcat(strcat(strcat(line, "\""), argv[i]), "\" ");
  STARTUPINFOA start = {sizeof start};
  PROCESS_INFORMATION child;
  DWORD code;
  if (!CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &child)) return 99;
  while (GetFileAttributesA("r.html") == INVALID_FILE_ATTRIBUTES)
    if (WaitForSingleObject(child.hProcess, 20) == WAIT_OBJECT_0) return 98;
  SetConsoleCtrlHandler(NULL, TRUE);
  if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)) return 97;
  WaitForSingleObject(child.hProcess, INFINITE);
  GetExitCodeProcess(child.hProcess, &code);
  return code;
}
C
  inside "x86_64-w64-mingw32-gcc -shared -o /build/bcryptprimitives.dll /build/shim.c -ladvapi32 &&
    x86_64-w64-mingw32-gcc -o /build/roots.exe /build/roots.c -lcrypt32 &&
    x86_64-w64-mingw32-gcc -o /build/ctrl-c.exe /build/ctrl-c.c"
  cp "$build/bcryptprimitives.dll" "$out/"
  cp "$build/bcryptprimitives.dll" "$out/deps/"
}

build_part() {
  local place
  mkdir -p "$build"
  # Not in a pipe, where nobody would remember what to unmount.
  for place in /proc /dev "$here" "$build"; do mount_into "$place"; done
  inside "cargo test --locked --no-run -Zbuild-std=std,panic_abort,test --target $target" 2>&1 | tee "$build/log" | grep -E "^(warning|error)|Executable|Finished" -A6 || true
  grep -q Finished "$build/log"
  helpers
}

# Starts wine with its certificates, once for all parts.
start_wine() {
  [ ! -e "$build/roots.up" ] || return 0
  wine "$out/mde-cancel.exe" --version >/dev/null 2>&1
  (cd "$build" && exec wine roots.exe) &
  until [ -e "$build/roots.up" ]; do sleep 0.2; done
}

# binary NAME: the newest test binary of that name.
binary() { sed -n "s#.*Executable .*(\(.*/$1-[0-9a-f]*\.exe\)).*#\1#p" "$build/log" | tail -1; }

mde_cancel() { wine "$out/mde-cancel.exe" "$@"; }

tests_part() {
  local name failed=0
  start_wine
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
  local work url file
  start_wine
  work=$(mktemp -d "$build/Büro Ost.XXXX")
  cd "$work"
  # As `Export-Csv` of Windows PowerShell 5 writes: UTF-16 with a mark, CRLF, a line with the type.
  {
    printf '#TYPE System.Management.Automation.PSCustomObject\r\n"Id","Type","ComputerDnsName"\r\n'
    for n in 1 2 3; do printf '"00000000-0000-4000-8000-%012d","Isolate","host-%03d.contoso.com"\r\n' "$n" "$n"; done
  } | iconv -t UTF-16LE | (printf '\xff\xfe' && cat) >export.csv
  printf '%s\r\n' 00000000-0000-4000-8000-00000000000{1,2,3} | iconv -t UTF-16LE | (printf '\xff\xfe' && cat) >ids.txt

  echo "== the sandbox inside"
  for file in export.csv ids.txt; do
    mde_cancel run "$file" --sandbox --allow-protected unknown --state-dir "state $file" --report file.csv --progress never \
      >sandbox.out 2>&1 || [ $? -eq 3 ]
    expect "$file (UTF-16, CRLF) as a file" "$(outcomes file.csv)" "cancelled 3"
    mde_cancel run - --sandbox --allow-protected unknown --state-dir "state of a pipe $file" --report pipe.csv --progress never \
      <"$file" >sandbox.out 2>&1 || [ $? -eq 3 ]
    expect "$file through a pipe" "$(outcomes pipe.csv)" "cancelled 3"
  done

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

# on_console [WAIT SEND]... -- COMMAND...: runs a command on a terminal; types SEND once it shows WAIT.
on_console() {
  python3 - "$@" <<'PY'
import os, pty, re, select, sys, tty
split = sys.argv.index("--")
steps, command = sys.argv[1:split], sys.argv[split + 1:]
process, terminal = pty.fork()
if process == 0:
    os.execvp(command[0], command)
tty.setraw(terminal)
shown, seen = b"", 0
while select.select([terminal], [], [], 120)[0]:
    try:
        got = os.read(terminal, 65536)
    except OSError:
        break
    shown += re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", got)
    if steps and steps[0].encode() in shown[seen:]:
        seen = len(shown)
        os.write(terminal, steps[1].encode())
        steps = steps[2:]
else:
    os.kill(process, 9)
code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
sys.stdout.buffer.write(shown.replace(b"\r", b""))
sys.exit(code % 256)
PY
}

console_part() {
  local work code=0
  start_wine
  work=$(mktemp -d "$build/console.XXXX")
  cd "$work"
  { echo id,type && for n in $(seq 400); do printf '00000000-0000-4000-8000-%012d,Isolate\n' "$n"; done; } >wave.csv
  head -4 wave.csv >few.csv
  set -- wine "$out/mde-cancel.exe" run few.csv --state-dir state --report r.csv --progress never --api-url
  : >server.out
  wine "$out/mde-cancel.exe" sandbox --seed few.csv >>server.out 2>&1 &
  until url=$(tr -d '\r' <server.out | grep -oE 'http://127.0.0.1:[0-9]+'); do sleep 0.1; done
  export MDE_CANCEL_TOKEN=any-word
  on_console "[y/N]" $'x\ry\r' "type y or n" $'n\r' -- "$@" "$url" >no.out || code=$?
  expect "what was typed before the question came again is no answer" "$code" 2
  grep -q "you answered no" no.out || { cat no.out >&2 && exit 1; }
  on_console "[y/N]" $'y\r' -- "$@" "$url" >yes.out
  expect "a yes" "$(outcomes r.csv)" "cancelled 3"
  grep -q ' · plan ' yes.out && echo "ok    letters beyond ASCII are shown"
  code=0
  on_console -- wine "$build/ctrl-c.exe" "$out/mde-cancel.exe" run wave.csv --sandbox --state-dir state --report stopped.csv \
    --report r.html --progress never --yes >stopped.out || code=$?
  expect "exit code after Ctrl-C" "$code" 4
  grep 'stopped by Ctrl-C' stopped.out
  expect "rows in its report" "$(($(wc -l <stopped.csv) - 1))" 400
  cd "$here"
  rm -rf "$work"
}

kills_part() {
  start_wine
  CRASH_KILLS=${KILLS:-50} CRASH_SEED=${SEED:-1000} CRASH_LONGEST=4000 wine "$(binary cli)" crash:: --nocapture 2>&1 | tr -d '\r' | tee "$build/kills.out" |
    grep -E 'kill|^test ' || true
  grep -q '^test result: ok' "$build/kills.out"
}

[ $# -gt 0 ] || set -- chroot build tests inputs console kills
need wine wine
for part in "$@"; do
  case $part in chroot | build | tests | inputs | console | kills) "${part}_part" ;; *) echo "no such part: $part" >&2 && exit 2 ;; esac
done
