# shellcheck shell=bash disable=SC2154 # run.sh sets what is not set here
# What the parts print: a line for each check. Sourced by run.sh.

passed=0
failed=0

milliseconds() { date +%s%3N; }

# since prints the seconds since a moment, with one digit.
since() {
  local tenths=$((($(milliseconds) - $1 + 50) / 100))
  echo "$((tenths / 10)).$((tenths % 10))"
}

ok() {
  passed=$((passed + 1))
  echo "ok   $*"
}

# fail TEXT [FILE…] prints the ends of the files too.
fail() {
  local file
  failed=$((failed + 1))
  echo "FAIL $1"
  for file in "${@:2}"; do
    [[ -s $file ]] || continue
    echo "     ${file##*/}:"
    tail -n 40 "$file" | sed 's/^/     | /'
  done
}

# check TEXT COMMAND… is ok when the command succeeds; else it prints what that has printed.
check() {
  local text=$1 out=$log/check
  shift
  if "$@" >"$out" 2>&1; then
    ok "$text"
  else
    fail "$text" "$out"
  fi
}

# same TEXT WANTED GOT
same() {
  if [[ $2 == "$3" ]]; then
    ok "$1: $3"
  else
    printf 'wanted: %s\ngot:    %s\n' "$2" "$3" >"$log/check"
    fail "$1" "$log/check"
  fi
}

# within SECONDS COMMAND… waits until the command succeeds, and fails when it has not.
within() {
  local deadline=$(($(milliseconds) + $1 * 1000))
  shift
  until "$@"; do
    [[ $(milliseconds) -lt $deadline ]] || return 1
    sleep 0.05
  done
}
