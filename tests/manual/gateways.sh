#!/usr/bin/env bash
# The real binary behind throttling gateways that we did not write and whose counting is not ours: HAProxy's rate counter
# of a stick table (two buckets, the older one weighted; refused calls count, too) and nginx's limit_req (a leaky bucket).
# Both let a first burst pass and refuse a second one. They do not say how much they allow.
#
#   tests/manual/gateways.sh [GATEWAY[/CASE]]...    haproxy and nginx, each in all cases, where none is named; some five minutes each
#
#   at       passes as much in the long run as our short window would send: 100 per 6 s
#   below    passes less than we believe to be allowed: 60 per 6 s
#   hint     the same, and says Retry-After: 6
#
# What is let through must be nine tenths of what the gateway can pass: in case `at`, and in case `below` by the true clock,
# for our own waits after a refusal do not shrink with the quotas. In case `hint` each refusal costs a whole period by the
# gateway's own word, and the search for its rate needs about six; that figure is shown and not judged.
#
# ROWS (900) actions under quotas scaled 1:10. PERIOD=60 is the true clock, and takes ten times as long.
# What a gateway can pass is measured: even clients with counters of their own feed the same gateway meanwhile, at 100,
# 98 and 95 % of its configured rate, and the one counts of which most came through. The first refused period goes from
# the first 429 to one period later; what comes after it is judged, from the gateway's log, up to the last row.
#
# Needs haproxy and nginx (Debian packages of these names), python3, and what pace.sh needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/manual/lib.sh
. tests/manual/lib.sh
PATH=$PATH:/usr/sbin

ROWS=${ROWS:-900}
PERIOD=${PERIOD:-6}

# free_port: one that nobody has at the moment; neither gateway can say which port it took.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Both log a line for each cancel: seconds of the wall clock when it came, the status, the token, the action.

# haproxy_conf PORT ALLOWED HINT
haproxy_conf() {
  cat <<CONF
global
  log stdout format raw local0
defaults
  mode http
  log global
  option dontlognull
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend gateway
  bind 127.0.0.1:$1
  acl cancel path_end /cancel
  stick-table type string len 64 size 100 expire $((10 * PERIOD))s store http_req_rate(${PERIOD}s)
  http-request set-var(txn.at) date(0,ms)
  http-request set-var(txn.by) req.hdr(authorization),word(2," ")
  http-request set-var(txn.id) path,field(4,/)
  http-request track-sc0 var(txn.by) if METH_POST cancel
  http-request deny deny_status 429 ${3:+content-type text/plain string later hdr Retry-After $3} if METH_POST cancel { sc_http_req_rate(0) gt $2 }
  http-request set-log-level silent if !cancel
  log-format "%[var(txn.at)] %ST %[var(txn.by)] %[var(txn.id)]"
  default_backend sandbox
backend sandbox
  server sandbox ${url#http://}
CONF
}

start_haproxy() { haproxy -db -f "$work/haproxy.conf" >"$work/haproxy.log" 2>"$work/haproxy.err" & }

# arrivals_at_haproxy: its log with times in seconds.
arrivals_at_haproxy() { awk '{ printf "%.3f %s %s %s\n", $1 / 1000, $2, $3, $4 }' "$work/haproxy.log"; }

# nginx_conf PORT ALLOWED HINT
nginx_conf() {
  cat <<CONF
daemon off;
master_process off;
pid $work/nginx.pid;
error_log $work/nginx.err crit;
events { worker_connections 256; }
http {
  client_body_temp_path $work/nginx-body;
  proxy_temp_path $work/nginx-proxy;
  fastcgi_temp_path $work/nginx-fastcgi;
  uwsgi_temp_path $work/nginx-uwsgi;
  scgi_temp_path $work/nginx-scgi;
  # A call with an empty key is not counted.
  map "\$request_method \$uri \$http_authorization" \$caller {
    "~^POST \S+/cancel Bearer (?<token>\S+)\$" \$token;
    default "";
  }
  map \$uri \$action { "~^/api/machineactions/(?<id>[^/]+)/cancel\$" \$id; default ""; }
  # nginx takes the rate a minute as a whole number only.
  limit_req_zone \$caller zone=cancels:1m rate=$(($2 * 60 / PERIOD))r/m;
  log_format line "\$msec \$request_time \$status \$caller \$action";
  upstream sandbox { server ${url#http://}; keepalive 32; }
  server {
    listen 127.0.0.1:$1;
    keepalive_requests 100000;
    access_log $work/nginx.log line;
    location / {
      limit_req zone=cancels burst=$(($2 / 5)) nodelay;
      limit_req_status 429;
      ${3:+error_page 429 = @later;}
      proxy_pass http://sandbox;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
    ${3:+location @later { add_header Retry-After $3 always; return 429; \}}
  }
}
CONF
}

start_nginx() { nginx -p "$work" -e "$work/nginx.err" -c "$work/nginx.conf" >"$work/nginx.out" 2>&1 & }

arrivals_at_nginx() { awk '$4 != "" && $5 != "" { printf "%.3f %s %s %s\n", $1 - $2, $3, $4, $5 }' "$work/nginx.log"; }

# passed TOKEN SECONDS: cancels a second that came through, from the second period on.
passed() {
  sort -n "$work/came" | awk -v token="$1" -v span="$2" -v period="$PERIOD" '$3 == token {
      if (!first) first = $1
      if ($1 >= first + period && $2 != 429) n++
    } END { printf "%.4f", n / (span - period) }'
}

# judge NAME GATEWAY ALLOWED CASE: by the gateway's log, the sandbox's log and the report.
judge() {
  local name=$1 allowed=$3 best=0 configured share through took first early calls late rate
  "arrivals_at_$2" >"$work/came"
  configured=$(ratio "$allowed" "$PERIOD")
  for share in 100 98 95; do
    through=$(passed "even-$share" "$((6 * PERIOD))")
    note "even client at $share %, passed / configured rate" "$(ratio "$through" "$configured")"
    best=$(awk -v a="$best" -v b="$through" 'BEGIN { print (a > b ? a : b) }')
  done
  check "what the gateway can pass / configured rate" "$(ratio "$best" "$configured")" "x >= 0.94 && x <= 1.02"
  read -r took first early calls late rate < <(
    awk '$3 == "any-word"' "$work/came" | sort -n | awk -v period="$PERIOD" '
      { at[NR] = $1; no[NR] = $2 == 429; if (no[NR] && !first) first = $1; if (!no[NR]) last = $1 }
      END {
        from = first ? first + period : at[1]
        for (n = 1; n <= NR; n++) {
          if (at[n] < from) { early += no[n]; continue }
          calls++
          refused += no[n]
          through += !no[n]
        }
        printf "%.1f %.1f %d %d %d %.4f\n", last - at[1], (first ? first - at[1] : -1), early, calls, refused, \
          (last > from ? through / (last - from) : 0)
      }')
  note "first to last cancel that was let through, s" "$took"
  note "first 429 after, s (-1: never)" "$first"
  note "429s in the first refused period" "$early"
  note "429s after it, of $calls calls" "$late"
  check "the same, as a share" "$(awk -v a="$late" -v b="$calls" 'BEGIN { printf "%.4f", b ? a / b : 1 }')" "x <= 0.01"
  if [ "$4" = at ] || [ "$4" = below ] && [ "$PERIOD" -ge 60 ]; then
    check "let through after it / what the gateway can pass" "$(ratio "$rate" "$best")" "x >= 0.9"
  else
    note "let through after it / what the gateway can pass" "$(ratio "$rate" "$best")"
  fi
  check "rows whose outcome is not what the sandbox did" \
    "$(rows_untrue "$work/actions.csv" "$work/$name.csv" "$work/$name.log")" "x == 0"
  check "rows of the report that are cancelled" "$(cancelled "$work/$name.csv")" "x == $ROWS"
}

# behind GATEWAY CASE
behind() {
  local gateway=$1 allowed=100 hint='' name=$1-$2 port code=0 helpers=()
  [ "$2" = at ] || allowed=60
  [ "$2" != hint ] || hint=$PERIOD
  echo "== $gateway passes $allowed per $PERIOD s${hint:+ and says Retry-After: $hint}; $ROWS actions, quotas 100 per $PERIOD s and 1,500 per $((60 * PERIOD)) s"
  serve --seed "$work/actions.csv" --quota none --latency 50ms --log "$work/$name.log"
  port=$(free_port)
  "${gateway}_conf" "$port" "$allowed" "$hint" >"$work/$gateway.conf"
  rm -f "$work/$gateway.log"
  "start_$gateway"
  helpers=("$!")
  run_pid=${helpers[*]}
  until_reached "$port"
  for share in 100 98 95; do
    python3 tests/manual/even_rate.py "http://127.0.0.1:$port" "even-$share" \
      "$(awk -v allowed="$allowed" -v period="$PERIOD" -v share="$share" 'BEGIN { print allowed / period * share / 100 }')" "$((6 * PERIOD))" &
    helpers+=("$!")
  done
  run_pid=${helpers[*]}
  # However badly it goes, an end must come.
  "$BIN" run --yes --no-precheck --api-url "http://127.0.0.1:$port" --state-dir "$work/state-$name" --progress never \
    --quota "100/${PERIOD}s" --quota "1500/$((60 * PERIOD))s" --timeout-grace "$((2 * PERIOD))s" --stop-after "$((100 * PERIOD))s" \
    --report "$work/$name.csv" "$work/actions.csv" >"$work/$name.out" 2>"$work/$name.err" &
  helpers+=("$!")
  run_pid=${helpers[*]}
  wait "$!" || code=$?
  wait "${helpers[@]:1:3}"
  end_of "${helpers[0]}"
  run_pid=
  stop_serving
  judge "$name" "$gateway" "$allowed" "$2"
  check "exit code" "$code" "x == 0"
}

[ $# -gt 0 ] || set -- haproxy nginx
wanted=()
for part in "$@"; do
  case $part in
    haproxy | nginx) wanted+=("$part/at" "$part/below" "$part/hint") ;;
    haproxy/at | haproxy/below | haproxy/hint | nginx/at | nginx/below | nginx/hint) wanted+=("$part") ;;
    *) echo "no such part: $part" >&2 && exit 2 ;;
  esac
done
for part in "${wanted[@]}"; do
  command -v "${part%/*}" >/dev/null || { echo "no ${part%/*}: install the Debian package ${part%/*}" >&2; exit 2; }
done
open_actions "$ROWS" >"$work/actions.csv"
check "open actions made up" "$(($(wc -l <"$work/actions.csv") - 1))" "x == $ROWS"
for part in "${wanted[@]}"; do behind "${part%/*}" "${part#*/}"; done
finish
