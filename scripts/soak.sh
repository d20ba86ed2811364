#!/usr/bin/env bash
# The bars at full size. Prints every figure, and fails at the end when a bar is missed.
# Usage: soak.sh [bench] [storm] [reload] [vote] [scale] [hang] [master] [kills] [upgrade]
# [handoff] [rollback] [assault] [replace] [sqlite] [hostile] [fuzz], without a part all of them. The whole takes hours: leave the machine alone
# meanwhile. Run by `make soak`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

failed=0
step() { # step COMMAND...
  echo "soak: $*"
  "$@" || failed=1
}

next_version() { # another version for the upgrades
  step env CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=0.0.0-next' -o bin/tined-next ./cmd/tined
}

parts=("$@")
if [[ ${#parts[@]} -eq 0 ]]; then
  parts=(bench storm reload vote scale hang master kills upgrade handoff rollback assault replace sqlite hostile fuzz)
fi
for part in "${parts[@]}"; do
  case $part in
    bench | storm | reload | vote | scale | hang | master | kills | hostile | fuzz) ;;
    upgrade | handoff | rollback | assault | replace | sqlite) ;;
    *)
      echo "soak: there is no part $part, but bench, storm, reload, vote, scale, hang, master, kills, upgrade, handoff, rollback, assault, replace, sqlite, hostile and fuzz" >&2
      exit 2
      ;;
  esac
done
for part in "${parts[@]}"; do
  case $part in
    bench)
      step bin/bench -rounds "${ROUNDS:-15}" -seconds "${SECONDS_EACH:-3}" -fair -blocked -readers -fail missed -json bin/bench.json
      ;;
    storm)
      step bin/storm -kills 50
      step bin/storm -kills 50 -children 4 -clients 64
      ;;
    reload)
      step bin/storm -scenario reload -reloads 200 -over 60s
      step bin/storm -scenario reload -reloads 200 -over 60s -children 4 -link -1s -rate 1000
      ;;
    vote)
      for _ in {1..10}; do
        step bin/storm -scenario vote
      done
      ;;
    scale)
      step bin/storm -scenario scale -connects 100000 -rate 8000
      step bin/storm -scenario scale -connects 100000 -rate 2000 -cycles 10
      # Slow enough for the shards that have left to be closed.
      step bin/storm -scenario scale -connects 90000 -rate 1000 -cycles 2
      ;;
    hang)
      step bin/storm -scenario hang -children 4 -clients 400 -ways spin,block,wedge,SIGSTOP
      step bin/storm -scenario hang -link 50ms -ways spin,block,wedge,SIGSTOP
      ;;
    master)
      step bin/storm -scenario master -kills 20
      # Long enough for the shards that have left to be closed.
      step bin/storm -scenario master -kills 5 -link 50ms -children 4 -rate 1000 -over 15s
      ;;
    kills)
      step bin/storm -kills 1000 -over 5m -children 4
      ;;
    upgrade)
      next_version
      step bin/storm -scenario upgrade -upgrades 20 -clients 1000 -idle 1000 -streams 8 -uploads 8 -canary 1s -probation 1s
      step bin/storm -scenario upgrade -upgrades 20 -clients 1000 -idle 1000 -streams 8 -uploads 8 -canary 1s -probation 1s -link -1s -children 4
      ;;
    handoff)
      next_version
      for _ in {1..5}; do
        step bin/storm -scenario handoff
      done
      step bin/storm -scenario handoff -link 50ms
      ;;
    rollback)
      step bin/storm -scenario rollback -cases all
      step bin/storm -scenario rollback -cases all -link 50ms -children 4
      ;;
    assault)
      step bin/storm -scenario assault -kills 50
      step bin/storm -scenario assault -kills 50 -link 50ms -children 4
      ;;
    replace)
      step bin/storm -scenario replace -seconds 60
      step bin/storm -scenario replace -seconds 60 -children 4 -rate 3000
      # Without a disk, where the server tells in another way what it need not wait for.
      step env TMPDIR=/dev/shm bin/storm -scenario replace -seconds 60 -children 4 -rate 3000
      ;;
    sqlite)
      step bin/storm -scenario sqlite -seconds 60
      step bin/storm -scenario sqlite -kills 50
      step bin/storm -scenario sqlite -kills 50 -children 4
      step bin/storm -scenario sqlite -full -seconds 20
      step bin/bench -case sqlite -rounds "${ROUNDS:-15}" -seconds "${SECONDS_EACH:-3}" -fail missed
      ;;
    hostile)
      step bin/hostile -connections 300 -seconds 30 -fail missed -json bin/hostile.json
      ;;
    fuzz)
      step scripts/fuzz.sh "${SOAK_FUZZTIME:-10m}"
      ;;
  esac
done
exit "$failed"
