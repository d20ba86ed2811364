# shellcheck shell=bash disable=SC2154 # run.sh sets what is not set here
# The service on the machine: what it is configured to, what state it is in, who asks it. Sourced by run.sh.

export sickness=/etc/tined-sickness # what the third version suffers from

declare -A now # what look has seen

# furnish puts onto the machine, before it boots, what the clients download and the packages.
furnish() {
  mkdir -p "$root/srv/load" "$root/srv/packages"
  # The same as streamContent in scripts/storm.
  yes 0123456789abcdef | tr -d '\n' | head -c $((1 << 20)) >"$root/srv/load/stream" || true # yes ends by SIGPIPE
  cp "$packages"/tined* "$root/srv/packages/"
  install -m 755 packaging/test/look.sh "$root/.look"
}

# configure writes the site that the load asks, and the times of an upgrade: short ones, or with "defaults" those of the package.
configure() {
  local times='upgrade {
  timeout      = "6s"
  canary       = "500ms"
  probation    = "500ms"
  min_requests = 10
}'
  [[ ${1:-} != defaults ]] || times=
  mkdir -p "$root/etc/tined/conf.d"
  cat >"$root/etc/tined/conf.d/load.hcl" <<EOF
limits {
  idle_timeout = "1h"
}
$times
site "load" {
  hosts = ["storm"]
  access_log {
    file = "/var/log/tined/load.log"
  }
  route "GET /plain" {
    respond {
      body = "0"
    }
  }
  route "GET /hello/{name}" {
    function "hello" {}
  }
  route "POST /echo" {
    function "echo" {}
  }
  route "/files/" {
    static {
      root = "/srv/load"
    }
  }
}
EOF
  chmod 644 "$root/etc/tined/conf.d/load.hcl"
}

# look reads the state of package and service into now.
look() {
  local key value
  now=()
  while IFS='=' read -r key value; do
    now[$key]=$value
  done < <(inside /.look 2>"$log/look")
}

# is TEXT KEY=VALUE… looks, and holds what it sees against the values.
is() {
  local text=$1 pair wrong='' seen=''
  shift
  look
  for pair in "$@"; do
    [[ ${now[${pair%%=*}]:-} == "${pair#*=}" ]] || wrong+="wanted $pair, got ${now[${pair%%=*}]:-nothing}"$'\n'
    seen+=", $pair"
  done
  if [[ -z $wrong ]]; then
    ok "$text: ${seen#, }"
  else
    printf '%s' "$wrong" >"$log/is"
    fail "$text" "$log/is" "$log/look"
  fi
}

# alone waits until the unit has as many processes as given: those of a version that leaves are gone.
alone() {
  look
  [[ ${now[processes]:-0} -eq $1 ]]
}

# fetch PATH [HOST] prints the answer of the server on port 80, with its head.
fetch() {
  # shellcheck disable=SC2016 # the inner shell's
  beside timeout 10 bash -c 'exec 3<>/dev/tcp/127.0.0.1/80 && printf "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" "$1" "$2" >&3 && cat <&3' \
    fetch "$1" "${2:-localhost}" 2>>"$log/calls"
}

# answers PATH TEXT [HOST]: is that a 200 with the text in it?
answers() {
  local answer
  answer=$(fetch "$1" "${3:-localhost}") && [[ $answer == "HTTP/1."?" 200 "* && $answer == *"$2"* ]]
}

load_pid=
load_count=0

# load_begin [FLAG…] lets strict clients loose, and returns when all are there. The flags are storm's.
load_begin() {
  load_count=$((load_count + 1))
  load_out=$log/load-$load_count.out
  load_err=$log/load-$load_count.err
  : >"$load_err"
  # As beside does it, and no function: the pid is then that of storm.
  nsenter --target "$machine_pid" --net -- setpriv --pdeathsig TERM \
    "$work/bin/storm" -scenario load -over 5m -json "$log/load-$load_count.json" "$@" >"$load_out" 2>"$load_err" &
  load_pid=$!
  if ! load_says 'all clients are there'; then
    fail "clients" "$load_err" "$load_out"
    load_abandon
    return 1
  fi
}

# load_says TEXT waits until the load has said something. One that has ended says nothing more.
load_says() {
  local deadline=$((SECONDS + 20))
  until grep -q "$1" "$load_err"; do
    [[ $SECONDS -lt $deadline ]] && kill -0 "$load_pid" 2>/dev/null || return 1
    sleep 0.05
  done
}

# load_stop tells the clients to begin nothing more, and returns when they know.
load_stop() {
  kill -TERM "$load_pid" && load_says ending
}

# load_end TEXT ends the clients: none of them may have lost anything.
load_end() {
  local status=0 figures
  [[ -n $load_pid ]] || return 0
  kill -TERM "$load_pid" 2>/dev/null || true
  wait "$load_pid" || status=$?
  load_pid=
  figures=$(awk -F '  +' '
    $2 ~ /slowest answer/ && $3 > slowest { slowest = $3 }
    $2 == "in all: answers" { answers = $3 }
    $2 == "in all: failed" { failed = $3 }
    $2 == "in all: connections closed" { closed = $3 }
    $2 ~ /answers of 500$/ { more = more ", " $3 " answers of 500 where they were asked for" }
    $2 == "on loopback" { more = more ", on loopback, for there is no link with a delay here" }
    END { printf "%d answers, %d failed, %d connections closed, slowest %d ms%s", answers, failed, closed, slowest, more }
  ' "$load_out")
  # It is lenient to a machine that is too slow; this is not, when something was lost.
  if [[ $status -ne 0 || $figures != *" 0 failed, 0 connections closed"* ]]; then
    fail "$1: $figures" "$load_out" "$load_err"
  else
    ok "$1: $figures"
  fi
}

load_abandon() {
  [[ -n $load_pid ]] || return 0
  kill -KILL "$load_pid" 2>/dev/null || true
  wait "$load_pid" 2>/dev/null || true
  load_pid=
}

call_count=0

# call COMMAND… runs a command on the machine: call_status, call_seconds, and the files call_out and call_err.
call() {
  local from
  from=$(milliseconds)
  call_count=$((call_count + 1))
  call_out=$log/call-$call_count.out
  call_err=$log/call-$call_count.err
  call_status=0
  inside "$@" </dev/null >"$call_out" 2>"$call_err" || call_status=$?
  sed -i 's/\r$//; s/.*\r//' "$call_out" # dpkg counts the files that it reads
  call_seconds=$(since "$from")
  {
    echo "+ $* (status $call_status, $call_seconds s)"
    cat "$call_out" "$call_err"
  } >>"$log/calls"
  [[ -z $verbose ]] || sed 's/^/     : /' "$call_out" "$call_err"
}

# quiet TEXT: the last call has succeeded, and has printed nothing on standard error.
quiet() {
  if [[ $call_status -eq 0 && ! -s $call_err ]]; then
    ok "$1: status 0, nothing on stderr, $call_seconds s"
  else
    fail "$1: status $call_status, and nothing may be on stderr" "$call_err" "$call_out"
  fi
}

# refused TEXT PATTERN: the last call has failed, and says why in words that match.
refused() {
  local reason
  if [[ $call_status -ne 0 ]] && reason=$(cat "$call_err" "$call_out" | grep -E -m 1 "$2"); then
    ok "$1: status $call_status, $call_seconds s: $reason"
  else
    fail "$1: status $call_status, and the reason has to match: $2" "$call_err" "$call_out"
  fi
}

# says TEXT PATTERN: the last call has printed exactly one line that matches.
says() {
  local lines
  lines=$(cat "$call_err" "$call_out" | grep -E "$2") || true
  if [[ -n $lines && $lines != *$'\n'* ]]; then
    ok "$1: $lines"
  else
    fail "$1: one line has to match $2" "$call_err" "$call_out"
  fi
}
