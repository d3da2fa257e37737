#!/usr/bin/env bash
# Signs the real binary in by every means, at servers that are not ours.
#
#   tests/manual/sign-in.sh [endpoints] [oauth]      both where none is named
#
#   endpoints  a managed identity's two endpoints, and a certificate whose statement openssl verifies
#   oauth      secret, certificate, federated token and device code at npm's oidc-provider; fetches it
#
# Needs the binary, bash, awk, coreutils, openssl and python3; `oauth` needs node and npm as well. BIN names the
# binary. Prints a line for each thing that was looked at; ends with 1 if any misses.
set -euo pipefail
cd "$(dirname "$0")/../.."
stand_ins=$PWD/tests/manual
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh
unset MDE_CANCEL_TOKEN
export MDE_CANCEL_STATE_DIR=$work/state

TENANT=11111111-2222-3333-4444-555555555555
APP=99999999-2222-3333-4444-555555555555
SECRET='s3cr3t~marker/with+odd=letters&more'
export AZURE_TENANT_ID=$TENANT AZURE_CLIENT_ID=$APP

ok() { printf 'ok    %s\n' "$*"; }
miss() { printf 'MISS  %s\n' "$*"; misses=$((misses + 1)); }

# expect NAME TEXT COMMAND...: the command's output must hold TEXT.
expect() {
  local name=$1 text=$2 out
  shift 2
  out=$("$@" 2>&1 || true)
  if grep -qF -- "$text" <<<"$out"; then ok "$name"; else miss "$name: no \"$text\" in:"; printf '%s\n' "$out"; fi
  if grep -qF -e "$SECRET" -e "s3cr3t" <<<"$out"; then miss "$name: the secret was printed"; fi
}

# start NAME COMMAND...: starts a server that prints "at ADDRESS"; sets address.
start() {
  local name=$1
  shift
  : >"$work/$name.out"
  "$@" >"$work/$name.out" 2>"$work/$name.err" &
  run_pid+=" $!"
  for _ in $(seq 400); do
    address=$(awk '/^at / { print $2 }' "$work/$name.out")
    [ -n "$address" ] && return
    sleep 0.05
  done
  echo "$name does not start" >&2
  cat "$work/$name.err" >&2
  exit 2
}

doctor() { "$BIN" doctor "$@"; }

# count PATTERN FILE
count() { awk -v pattern="$1" '$0 ~ pattern { n++ } END { print n + 0 }' "$2"; }

key_and_certificate() {
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key.pem" -out "$work/app.crt" -days 2 \
    -subj "/CN=an app" 2>/dev/null
  # An older file would keep its modes.
  rm -f "$work/app.pem"
  (umask 077; cat "$work/key.pem" "$work/app.crt" >"$work/app.pem")
}

unbase64url() {
  local text
  text=$(tr '_-' '/+')
  while [ $((${#text} % 4)) -ne 0 ]; do text+="="; done
  base64 -d <<<"$text"
}

endpoints() {
  local log=$work/endpoints.log assertion
  : >"$log"
  start endpoints python3 "$stand_ins/stand_ins.py" "$log" $TENANT $APP
  # The stand-in is no service, so the last line of each checkup fails; the sign-in is what counts here.
  local api=(--api-url "$address")
  unset AZURE_CLIENT_ID
  AZURE_POD_IDENTITY_AUTHORITY_HOST=$address expect "the machine's own identity (IMDS)" "ok    sign-in " \
    doctor --credential managed-identity "${api[@]}"
  AZURE_POD_IDENTITY_AUTHORITY_HOST=$address expect "a user-assigned identity (IMDS)" "ok    sign-in " \
    doctor --credential managed-identity --client-id $APP "${api[@]}"
  IDENTITY_ENDPOINT=$address/msi/token IDENTITY_HEADER=the-header expect "App Service, found by auto" \
    "managed-identity (IDENTITY_ENDPOINT)" doctor "${api[@]}"
  IDENTITY_ENDPOINT=$address/msi/token IDENTITY_HEADER=the-header expect "App Service" "ok    sign-in " \
    doctor "${api[@]}"
  AZURE_POD_IDENTITY_AUTHORITY_HOST=$address expect "an identity that is not there" "refused: Identity not found" \
    doctor --credential managed-identity --client-id 00000000-2222-3333-4444-555555555555 "${api[@]}"
  IDENTITY_ENDPOINT=http://evil.example/msi IDENTITY_HEADER=x expect "a foreign endpoint is refused" \
    "is not on this machine" doctor "${api[@]}"
  export AZURE_CLIENT_ID=$APP
  [ "$(count "client_id=$APP" "$log")" = 1 ] && ok "the endpoint was asked once for each" || miss "$(cat "$log")"
  local began took
  began=$(micros)
  AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:1 doctor --credential managed-identity "${api[@]}" >/dev/null 2>&1 ||
    true
  took=$((($(micros) - began) / 1000))
  [ $took -lt 5000 ] && ok "off Azure it is over after $took ms" || miss "off Azure it took $took ms"

  # A certificate: openssl, and not our own library, says whether the statement is signed.
  key_and_certificate
  : >"$log"
  AZURE_CLIENT_CERTIFICATE_PATH=$work/app.pem expect "a certificate" "ok    sign-in " \
    doctor --login-url "$address" "${api[@]}"
  assertion=$(awk 'match($0, /"client_assertion": "[^"]+"/) { print substr($0, RSTART + 21, RLENGTH - 22) }' "$log")
  printf '%s' "${assertion%.*}" >"$work/signed"
  printf '%s' "${assertion##*.}" | unbase64url >"$work/signature"
  openssl x509 -in "$work/app.crt" -pubkey -noout >"$work/public.pem"
  expect "openssl verifies the statement's signature" "Verified OK" openssl dgst -sha256 \
    -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -verify "$work/public.pem" \
    -signature "$work/signature" "$work/signed"
  local print
  print=$(openssl x509 -in "$work/app.crt" -outform DER | openssl dgst -sha256 -binary | base64 | tr '/+' '_-' | tr -d '=')
  expect "its thumbprint is the certificate's" "$print" unbase64url <<<"${assertion%%.*}"
  chmod 644 "$work/app.pem"
  AZURE_CLIENT_CERTIFICATE_PATH=$work/app.pem expect "a key that others can read is refused" "can be read by others" \
    doctor --login-url "$address" "${api[@]}"
}

oauth() {
  local by_key=a${APP#?} public=b${APP#?} log=$work/provider.out login
  key_and_certificate
  cp "$stand_ins/provider.mjs" "$work/provider.mjs"
  (cd "$work" && npm install --silent --no-audit --no-fund oidc-provider@9 >/dev/null)
  (cd "$work" && node -e "
    const { createPrivateKey, createPublicKey } = require('node:crypto');
    const fs = require('node:fs');
    const pair = createPrivateKey(fs.readFileSync('key.pem'));
    const jwk = { ...createPublicKey(pair).export({ format: 'jwk' }), use: 'sig' };
    fs.writeFileSync('keys.json', JSON.stringify({ keys: [jwk] }));")
  start provider sh -c "cd '$work' && exec node provider.mjs $TENANT $APP '$SECRET' keys.json"
  login=$address
  # A service that is there: the sandbox, which takes any token.
  serve --actions 1
  local at=(--login-url "$login" --api-url "$url")
  AZURE_CLIENT_SECRET=$SECRET expect "a secret, and a token that says whose it is" \
    "ok    sign-in     tenant $TENANT, app $APP" doctor "${at[@]}"
  AZURE_CLIENT_SECRET=wrong expect "a wrong secret" "refused: " doctor "${at[@]}"
  (umask 077; printf '%s\n' "$SECRET" >"$work/secret")
  expect "a secret file" "ok    sign-in " doctor --client-secret-file "$work/secret" "${at[@]}"
  AZURE_CLIENT_CERTIFICATE_PATH=$work/app.pem expect "a certificate, whose statement they verify" "ok    sign-in " \
    doctor --client-id "$by_key" "${at[@]}"
  mv "$work/app.pem" "$work/theirs.pem"
  key_and_certificate
  AZURE_CLIENT_CERTIFICATE_PATH=$work/app.pem expect "a certificate that they do not know" "refused: " \
    doctor --client-id "$by_key" "${at[@]}"
  (cd "$work" && node -e "
    const { createPrivateKey, sign } = require('node:crypto');
    const fs = require('node:fs');
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const now = Math.floor(Date.now() / 1000);
    const text = part({ alg: 'RS256' }) + '.' + part({
      iss: '$by_key', sub: '$by_key', aud: '$login', jti: 'one', iat: now, exp: now + 600 });
    const key = createPrivateKey(fs.readFileSync('theirs.pem'));
    fs.writeFileSync('federated', text + '.' + sign('sha256', Buffer.from(text), key).toString('base64url'));")
  AZURE_FEDERATED_TOKEN_FILE=$work/federated expect "a federated token" "ok    sign-in " \
    doctor --client-id "$by_key" "${at[@]}"
  expect "a device code" "ok    sign-in " doctor --client-id "$public" --credential device-code "${at[@]}"
  grep -q 'approved' "$log" && ok "which a person approved" || miss "nobody approved"
  sed 's/^/      /' "$log"
  stop_serving
}

run_parts "endpoints oauth" "endpoints oauth" "$@"
finish
