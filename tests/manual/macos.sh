#!/usr/bin/env bash
# Type-checks the program and its tests for macOS. Nothing is linked or run: no macOS is at hand.
#
#   tests/manual/macos.sh
#
# Needs the Debian of `tests/manual/windows.sh chroot` at ROOT (default /var/cache/mde-cancel-windows), root, python3 with
# pip, and a network for crates. The C code of dependencies is compiled by the compiler of Zig, from PyPI's ziglang.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD
ROOT=${ROOT:-/var/cache/mde-cancel-windows}
build=$ROOT/build
target=aarch64-apple-darwin
[ -x "$ROOT/usr/bin/cargo" ] || { echo "no Debian at $ROOT: tests/manual/windows.sh chroot makes one" >&2; exit 2; }
mkdir -p "$build"
[ -x "$build/zig/ziglang/zig" ] || python3 -m pip install --quiet --target "$build/zig" ziglang

# Zig takes another target's name, and none of Apple's flags.
cat >"$build/cc-macos" <<'C'
#!/bin/bash
flags=()
while [ $# -gt 0 ]; do
  case $1 in --target=* | -mmacosx-version-min=*) ;; -arch | -isysroot) shift ;; *) flags+=("$1") ;; esac
  shift
done
exec /build/zig/ziglang/zig cc -target aarch64-macos "${flags[@]}"
C
printf '#!/bin/bash\nexec /build/zig/ziglang/zig ar "$@"\n' >"$build/ar-macos"
chmod +x "$build/cc-macos" "$build/ar-macos"

mounted=()
clean_up() { for place in "${mounted[@]}"; do umount "$place" || true; done; }
trap clean_up EXIT
for place in /proc /dev "$here"; do
  mkdir -p "$ROOT$place"
  mountpoint -q "$ROOT$place" || { mount --bind "$place" "$ROOT$place" && mounted+=("$ROOT$place"); }
done
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
for file in /etc/resolv.conf /etc/hosts "$certificates"; do
  mkdir -p "$ROOT/$(dirname "$file")"
  cp -L "$file" "$ROOT/$file"
done
chroot "$ROOT" env -i PATH=/usr/bin:/bin HOME=/root CARGO_HOME=/build/cargo CARGO_TARGET_DIR=/build/target-macos \
  SSL_CERT_FILE="$certificates" CARGO_HTTP_CAINFO="$certificates" RUSTC_BOOTSTRAP=1 \
  CC_aarch64_apple_darwin=/build/cc-macos AR_aarch64_apple_darwin=/build/ar-macos \
  sh -c "cd '$here' && cargo check --locked --all-targets -Zbuild-std=std,panic_abort,test --target $target"
