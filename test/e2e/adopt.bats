# A static primary and its replica are taken over by a controller: where they are, with what they have.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  unset ROLE PRIMARY_URL REPLICA_URLS
  read -r PRIMARY REPLICA <<<"$(free_ports 2)"
  run_static primary "$PRIMARY"
  run_static replica "$REPLICA" PRIMARY_URL="http://localhost:$PRIMARY"
  kv put "localhost:$PRIMARY" a:200:100 z:200:100
  until_true 'the replica has them' replica_has_all
}

teardown() {
  local pid
  for pid in ${PIDS:-}; do kill -9 "$pid" 2>/dev/null || true; done
  stop_cluster
}

# run_static <role> <port> <variables…>
run_static() {
  in_background "$SCRATCH/$1" env PORT="$2" ROLE="$1" DATA_DIR="$SCRATCH/data-$1" "${@:3}" "$ROOT/bin/node"
  remember "$1"
  wait_ready "$2"
}

# run_again <role it had> <port>: without a role, in the cluster
run_again() {
  in_background "$SCRATCH/$1" "$ROOT/bin/node" --listen "localhost:$2" --data-dir "$SCRATCH/data-$1" --coordination "embedded://localhost:$BASE_PORT"
  remember "$1"
  wait_ready "$2"
}

remember() {
  declare -g "$1_PID=$BACKGROUND_PID"
  PIDS+=" $BACKGROUND_PID"
}

# stop_gently <role>: SIGTERM, and it exits with 0
stop_gently() {
  local name=$1_PID
  kill -TERM "${!name}"
  until_true "the $1 has stopped" test -s "$SCRATCH/$1.exit"
  [[ $(<"$SCRATCH/$1.exit") == 0 ]]
}

# As far as its log: nothing is written meanwhile.
replica_has_all() { [[ $(log_end "$REPLICA") == "$(log_end "$PRIMARY")" ]]; }
log_end() { "$ROOT/bin/rangerctl" log 1 --proxy "localhost:$1" --json | tail -n 1 | json it.offset; }
keys_are_there() { kv check "$(address_of proxy.1)" a:200:100 z:200:100; }
until_in_sync() { until_shown 'it.copies.in_sync === 2 && it.copies.catching_up === 0' range "$1"; }

@test "a static primary and its replica are taken over where they are, and nothing is copied" {
  stop_gently replica
  stop_gently primary
  start_cluster -m controller=1 --replicas 2
  run_again primary "$PRIMARY"
  run_again replica "$REPLICA"
  start_again proxy.1

  # Nothing begins beside them, and it is said what to do.
  until_shown "code === 1 && it.items.some((item) => item.todo === 'rangerctl adopt $PRIMARY')" status
  [[ $(rctl range 1 | json 'it.placements.length') == 0 ]]
  refused 1 "have $PRIMARY taken over" rctl adopt "$REPLICA"

  run -0 --separate-stderr rctl adopt "$PRIMARY" --no-json
  [[ $output == *"taken over from the static primary $PRIMARY"* ]]
  # It is written down: a controller that dies in that moment changes nothing.
  kill_hard controller.1
  REPLICAS=2 start_again controller.1
  until_in_sync 1
  keys_are_there
  run -0 --separate-stderr rctl adopt "$PRIMARY" --no-json
  [[ $output == *'taken over already'* ]]

  # The replica went on with the log that it had: its copy was not made anew.
  run -1 grep -h 'R1 .*"from":"NotFound"' "$SCRATCH/replica" "$SCRATCH/replica.err"

  # From here on it is a range like any other.
  rctl split 1 m
  rctl transfer 2 "$REPLICA"
  until_in_sync 2
  keys_are_there
  rctl put new one
  kill -9 "$primary_PID"
  until_shown 'it.ranges.filter((r) => r.state === "RS_ACTIVE").every((r) => !r.unavailable)' ranges
  keys_are_there
  [[ $(rctl get new) == one ]]

  # What a controller has had is no static node's any more.
  run env PORT="$PRIMARY" ROLE=primary DATA_DIR="$SCRATCH/data-primary" "$ROOT/bin/node"
  [[ $status -eq 1 && $output == *'of a cluster with a controller: start it without a role'* ]]
}
