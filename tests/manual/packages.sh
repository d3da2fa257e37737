#!/usr/bin/env bash
# Builds what a release ships for Linux, and tries it.
#
#   tests/manual/packages.sh [PART]...      both parts where none is named
#
#   deb    builds the Debian package, installs it, runs the sample on the sandbox, and removes it
#   musl   builds the static binary and runs the sample in a folder that holds nothing else
#
# Needs Debian, root, cargo-deb (cargo install cargo-deb), and for musl what windows.sh's `chroot` part makes: a Debian with
# the sources of Rust's standard library, in ROOT (default /var/cache/mde-cancel-windows). Each part builds for 5 to 10 minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD
ROOT=${ROOT:-/var/cache/mde-cancel-windows}
target=x86_64-unknown-linux-musl
work=$(mktemp -d)
mounted=()
clean_up() {
  local place
  for place in "${mounted[@]}"; do umount "$place" || true; done
  rm -rf "$work"
}
trap clean_up EXIT

# sample_run COMMAND...: runs the sample on the sandbox by that command, and checks how it ended.
sample_run() {
  local code=0
  "$@" run actions.csv --sandbox --state-dir state --report report.csv --progress never >"$work/out" 2>&1 || code=$?
  [ "$code" -eq 3 ] && grep -q 'total *251' "$work/out" || { cat "$work/out" >&2; echo "MISS  exit code $code" >&2; exit 1; }
  echo "ok    the sample ran: $(grep -o 'cancelled *[0-9]*' "$work/out" | head -1 | tr -s ' ')"
}

deb_part() {
  local package
  cargo build --locked --profile dist
  mkdir -p target/man
  target/dist/mde-cancel man --dir target/man
  gzip -9nf target/man/*.1
  target/dist/mde-cancel completions bash >target/man/mde-cancel.bash
  package=$(cargo deb --profile dist --no-build --output "$work")
  dpkg-deb --info "$package" | sed -n 's/^ \(Package\|Version\|Architecture\|Depends\|Installed-Size\)/\1/p'
  dpkg --install "$package" >/dev/null
  cp samples/actions.csv "$work/"
  (cd "$work" && sample_run mde-cancel)
  [ -s /usr/share/man/man1/mde-cancel-run.1.gz ] && echo "ok    man pages installed"
  dpkg --remove mde-cancel >/dev/null
  if command -v mde-cancel >/dev/null; then echo "MISS  still there after removal" >&2 && exit 1; fi
  echo "ok    removed; $(dpkg --listfiles mde-cancel 2>/dev/null | wc -l) files left"
}

inside() { chroot "$ROOT" env -i PATH=/usr/bin:/bin HOME=/root CARGO_HOME=/build/cargo RUSTC_BOOTSTRAP=1 "$@"; }

musl_part() {
  local place certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt} file
  [ -x "$ROOT/usr/bin/cargo" ] || { echo "no $ROOT/usr/bin/cargo: run tests/manual/windows.sh chroot first" >&2; exit 2; }
  mkdir -p "$ROOT/build"
  for place in /proc /dev "$here"; do
    mkdir -p "$ROOT$place"
    mountpoint -q "$ROOT$place" || { mount --bind "$place" "$ROOT$place" && mounted+=("$ROOT$place"); }
  done
  for file in /etc/resolv.conf /etc/hosts "$certificates"; do
    mkdir -p "$ROOT/$(dirname "$file")"
    cp -L "$file" "$ROOT/$file"
  done
  inside apt-get install -qq musl-tools libunwind-22-dev >/dev/null
  # Rust's own musl target brings an unwinder along. Debian's is built for glibc and asks for two of its functions.
  cat >"$ROOT/build/unwind.c" <<'C'
#include <stdarg.h>
#include <stdio.h>
int __vfprintf_chk(FILE *out, int flag, const char *format, va_list list) { (void)flag; return vfprintf(out, format, list); }
int __vsnprintf_chk(char *out, size_t most, int flag, size_t size, const char *format, va_list list) {
  (void)flag; (void)size; return vsnprintf(out, most, format, list);
}
C
  inside sh -ec 'cd /build && musl-gcc -c -O2 unwind.c && mkdir -p unwind && cp /usr/lib/llvm-22/lib/libunwind.a unwind/ &&
    ar r unwind/libunwind.a unwind.o'
  inside CARGO_HTTP_CAINFO="$certificates" CARGO_TARGET_DIR=/build/target CC_x86_64_unknown_linux_musl=musl-gcc \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=musl-gcc RUSTFLAGS='-Clink-self-contained=no -Lnative=/build/unwind' \
    sh -c "cd '$here' && cargo build --locked --profile dist -Zbuild-std=std,panic_abort --target $target"
  cp "$ROOT/build/target/$target/dist/mde-cancel" samples/actions.csv "$work/"
  ! ldd "$work/mde-cancel" 2>/dev/null | grep -q '=>' || { echo "MISS  it needs shared libraries" >&2; exit 1; }
  echo "ok    static, $(stat -c %s "$work/mde-cancel") bytes"
  mkdir "$work/home"
  sample_run chroot "$work" /mde-cancel
}

[ $# -gt 0 ] || set -- deb musl
for part in "$@"; do
  case $part in deb | musl) "${part}_part" ;; *) echo "no such part: $part" >&2 && exit 2 ;; esac
done
