# shellcheck shell=bash
# Sourced after env.sh by the tests that look at a running server from outside, script/test-e2e and script/test-browser:
# a server with new secrets on a free port, an operator, concerts on sale. What they leave ends with them.
#
# Needs DATABASE_URL and REDIS_URL (accounts and concerts are added to them) and the test tools. The program is
# ONSALE_E2E_BIN, or else target/debug/onsale. Other settings ONSALE_... of the caller are unset here.

: "${DATABASE_URL:?is not set; run: target/debug/onsale stack exec -- script/${0##*/}}"
: "${REDIS_URL:?is not set; run: target/debug/onsale stack exec -- script/${0##*/}}"

readonly onsale=${ONSALE_E2E_BIN:-$target_dir/debug/onsale}
readonly ready_secs=30 stop_secs=30

[[ -x $onsale ]] || die "$onsale is missing; run: cargo build"
# shellcheck disable=SC2154
[[ -x $tools_dir/bin/python ]] || die "the test tools are missing; run: script/bootstrap --tests"

# Settings of the caller's shell must not change what is tested.
for name in "${!ONSALE_@}"; do unset "$name"; done

work=$(mktemp -d)
server_log=$work/server.log
# Every secret that this run uses, one a line. None may appear in the server's log.
secrets=$work/secrets
server_pid=

stop_server() {
  [[ -n $server_pid ]] || return 0
  local pid=$server_pid code=0
  server_pid=
  kill -TERM "$pid" 2>/dev/null || true
  for _ in $(seq $((stop_secs * 10))); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  if kill -KILL "$pid" 2>/dev/null; then say "The server did not stop within $stop_secs s of SIGTERM."; fi
  wait "$pid" || code=$?
  return "$code"
}

finish() {
  local code=$?
  trap - EXIT
  stop_server || true
  if ((code != 0)) && [[ -s $server_log ]]; then
    say "--- the last lines of the server's log"
    tail -n 30 "$server_log" | cut -c 1-600 >&2
  fi
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

part() { printf '\n--- %s\n' "$*"; }

# Prints a new secret of 32 bytes in base64 and notes it as one that must not be logged.
new_secret() { head -c 32 /dev/urandom | base64 | tr -d '\n' | tee -a "$secrets" && echo >>"$secrets"; }

# Notes every long string of a JSON answer that stands under a name like "access_token" and passes the answer on.
# (Short ones are words: "token_type": "Bearer".)
note_tokens() {
  tee >(jq -r '.. | objects | to_entries[] | select(.key | test("token")) | .value | strings
    | select(length >= 16)' >>"$secrets")
}

# api METHOD PATH [JSON] [CURL ARGUMENTS...]: prints the body of the answer; any status but 2xx fails.
api() {
  local method=$1 path=$2 body=${3:-}
  shift $(($# < 3 ? $# : 3))
  local arguments=(--silent --show-error --fail-with-body --max-time 20 --request "$method")
  [[ -z $body ]] || arguments+=(--header 'Content-Type: application/json' --data @-)
  curl "${arguments[@]}" "$@" "$base_url/api/v1$path" <<<"$body" || die "$method $path failed"
}

# Prints the body of a login: login EMAIL PASSWORD.
login() { jq -nc --arg email "$1" --arg password "$2" '{email: $email, password: $password}'; }

# on_sale TITLE SHOWS ROWS [POLICY]: makes a concert as the operator, with so many shows of so many rows of ten seats,
# and puts it on sale. Without a POLICY its line has the defaults. $concert_id is the concert then; it is not printed,
# because bash forgets `set -e` inside $(...).
on_sale() {
  local title=$1 shows=$2 rows=$3 policy=${4:-null} draft show seats show_id version number
  draft=$(jq -nc --arg title "$title" --argjson policy "$policy" '{title: $title, queue_policy: $policy}')
  concert_id=$(api POST /admin/concerts "$draft" --header "$as_operator" | jq -er .id)
  seats=$(jq -nc --argjson rows "$rows" \
    '{blocks: [{section: "A", rows: $rows, seats_per_row: 10, price_minor: 150000}]}')
  for ((number = 1; number <= shows; number++)); do
    # One an evening, from a month from now on.
    show=$(jq -nc --argjson number "$number" \
      '{venue: "Olympic Hall", starts_at: (now + (30 + $number) * 86400 | floor | todate)}')
    show_id=$(api POST "/admin/concerts/$concert_id/shows" "$show" --header "$as_operator" | jq -er .id)
    api POST "/admin/shows/$show_id/seats" "$seats" --header "$as_operator" >/dev/null
  done
  # Last, as nothing goes on sale without a free seat.
  version=$(api GET "/admin/concerts/$concert_id" "" --header "$as_operator" | jq -er .version)
  api PATCH "/admin/concerts/$concert_id" '{"sale_state": "on_sale"}' --header "$as_operator" \
    --header "If-Match: \"$version\"" >/dev/null
}

ONSALE_AUTH_SECRET=$(new_secret)
ONSALE_AUTH_TICKET_KEY=$(new_secret)
port=$("$tools_dir/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
base_url=http://127.0.0.1:$port
export ONSALE_AUTH_SECRET ONSALE_AUTH_TICKET_KEY ONSALE_HTTP_BIND=127.0.0.1:$port
# Fans put money into a wallet, and nobody is paid for it.
export ONSALE_MONEY_FREE_TOP_UP=true

create_operator() {
  operator_email=operator-$RANDOM$RANDOM@e2e.example
  operator_password=$(new_secret)
  "$onsale" migrate
  ONSALE_OPERATOR_PASSWORD=$operator_password "$onsale" operator create --email "$operator_email" --name "End to end"
}

start_server() {
  local tries
  "$onsale" serve >"$server_log" 2>&1 &
  server_pid=$!
  for ((tries = ready_secs * 10; ; tries--)); do
    if curl --silent --fail --max-time 2 --output /dev/null "$base_url/readyz"; then return; fi
    kill -0 "$server_pid" 2>/dev/null || die "the server ended before it was ready"
    ((tries > 0)) || die "the server was not ready within $ready_secs s"
    sleep 0.1
  done
}

# Sets $operator_token and the header $as_operator.
log_operator_in() {
  operator_token=$(api POST /auth/login "$(login "$operator_email" "$operator_password")" | note_tokens |
    jq -er .access_token)
  as_operator="Authorization: Bearer $operator_token"
}
