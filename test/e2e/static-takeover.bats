# Taking static nodes over with a controller, with and without Consul: the commands of
# docs/static.md. Nothing is exported, imported or emptied.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  unset ROLE PRIMARY_URL REPLICA_URLS
  read -r CONTROLLER PROXY PRIMARY REPLICA THIRD <<<"$(free_ports 5)"
  BASE_PORT=$CONTROLLER
  export RANGERCTL_ADDR=localhost:$CONTROLLER RANGERCTL_PROXY=localhost:$PROXY
  declare -gA PID=()
  KEYS=(a:200:100 m:200:100 z:200:100)
}

teardown() {
  local name
  for name in "${!PID[@]}"; do kill -9 "${PID[$name]}" 2>/dev/null || true; done
  stop_consul
}

# run_as <name> <port> <program> <arguments…>: in the background, until it answers; ROLE and what belongs to it come from the environment.
run_as() {
  local name=$1 port=$2 program=$3
  shift 3
  "$ROOT/bin/$program" --listen "localhost:$port" "$@" >>"$SCRATCH/$name.log" 2>&1 3>&- &
  PID[$name]=$!
  until_true "$name answers" answers "$port"
}
answers() { curl -s -o /dev/null "http://localhost:$1/health"; }

# end <name> [signal]
end() {
  kill "-${2:-TERM}" "${PID[$1]}"
  until_true "$1 has ended" dead "${PID[$1]}"
}

controller() { run_as controller "$CONTROLLER" controller --coordination "${COORDINATION:-embedded}" --data-dir "$SCRATCH/controller" --replicas 2; }
node_of_cluster() { run_as "$1" "$2" node --coordination "${COORDINATION:-embedded://localhost:$CONTROLLER}" --data-dir "$SCRATCH/$1"; }
static_primary() { ROLE=primary run_as primary "$PRIMARY" node --data-dir "$SCRATCH/primary"; }
static_replica() { ROLE=replica PRIMARY_URL=localhost:$PRIMARY run_as replica "$REPLICA" node --data-dir "$SCRATCH/replica"; }

says() { [[ $("$ROOT/bin/rangerctl" --no-json status 2>&1) == *"$1"* ]]; }
in_sync() { [[ $(rctl range 1 | json '`${it.copies.in_sync} of ${it.copies.wanted}`' 2>/dev/null) == "$1" ]]; }
rctl() { "$ROOT/bin/rangerctl" "$@"; }
follows_all() { [[ $(first_of "$REPLICA") == "$(first_of "$PRIMARY")" && $(keys_at "$REPLICA") == 600 ]]; }
keys_at() { curl -s "http://localhost:$1/ready" | json it.keys; }
# The first write of the log there: a copy made by a snapshot has a log that begins later.
first_of() { rctl log 1 --proxy "localhost:$1" --json | head -n 1 | json '`${it.key} ${it.offset}`'; }

is_told() { [[ $(rctl range 1 | json 'it.placements[0].range_info.replica.static ?? false') == false ]]; }

take_over() {
  local written
  static_primary
  static_replica
  wait_ready "$PRIMARY"
  kv put "localhost:$PRIMARY" "${KEYS[@]}"
  until_true 'the replica has it all' follows_all
  written=$(first_of "$REPLICA")

  # In any order: here the replica first, beside an empty node that is there for later.
  [[ $1 != consul ]] || start_consul
  controller
  run_as proxy "$PROXY" proxy --coordination "${COORDINATION:-embedded://localhost:$CONTROLLER}"
  end replica
  node_of_cluster replica "$REPLICA"
  until_true 'the replica is seen' says "$REPLICA has a copy of a static primary's keys"
  node_of_cluster third "$THIRD"
  refused 1 "$REPLICA was a static replica" rctl adopt "$REPLICA"
  kv put "localhost:$PRIMARY" b:10:100
  end primary
  node_of_cluster primary "$PRIMARY"
  until_true 'what is to be done is said' says "to do: rangerctl adopt $PRIMARY"
  refused 1 "has keys of a static node" rctl range reset 1 --accept-data-loss
  [[ $(rctl ranges | json 'it.ranges.map((r) => r.placements?.length ?? 0).join()') == 0 ]]
  # It serves before anybody said anything.
  kv check "localhost:$PROXY" "${KEYS[@]}" b:10:100

  [[ $(rctl --no-json adopt "$PRIMARY") == "an operator had R1 [-inf, +inf) taken over from the static primary $PRIMARY, with all that is in it" ]]
  end controller KILL
  controller
  until_true 'the replica is let in' in_sync '2 of 2'
  [[ $(rctl --no-json adopt "$PRIMARY") == "the keys of $PRIMARY were taken over already" ]]
  [[ $(rctl range 1 | json 'it.placements.map((p) => p.placement.node).sort().join()') == "$(printf '%s\n' "$PRIMARY" "$REPLICA" | sort | paste -sd,)" ]]
  # Nothing was copied: its log begins where it began.
  [[ $(first_of "$REPLICA") == "$written" ]]
  kv put "localhost:$PROXY" c:10:100
  rctl --no-json verify 1 | grep -q 'are alike: 620 keys'

  # ROLE is refused from now on.
  end replica
  refused 1 'of a cluster with a controller: start it without a role' env ROLE=replica PRIMARY_URL="localhost:$PRIMARY" "$ROOT/bin/node" --listen "localhost:$REPLICA" --data-dir "$SCRATCH/replica"
  node_of_cluster replica "$REPLICA"
  until_true 'it is back' in_sync '2 of 2'

  # A range like any other.
  rctl move 1 "$THIRD"
  [[ $(rctl range 1 | json 'it.placements.filter((p) => p.primary).map((p) => p.placement.node).join()') == "$THIRD" ]]
  rctl split 1 m
  kv check "localhost:$PROXY" "${KEYS[@]}" b:10:100 c:10:100
  end third KILL
  kv check "localhost:$PROXY" "${KEYS[@]}" b:10:100 c:10:100
  kv put "localhost:$PROXY" d:10:100
  kv check "localhost:$PROXY" d:10:100
}

@test "a static primary and its replica are taken over by a controller" {
  take_over embedded
}

@test "a static primary and its replica are taken over by a controller, with Consul" {
  take_over consul
}

@test "an adopted primary is refused its role" {
  static_primary
  wait_ready "$PRIMARY"
  kv put "localhost:$PRIMARY" a:10:10
  end primary
  controller
  node_of_cluster primary "$PRIMARY"
  until_true 'it is seen' says "to do: rangerctl adopt $PRIMARY"
  # Not taken over yet, it can still go back.
  end primary
  static_primary
  wait_ready "$PRIMARY"
  kv check "localhost:$PRIMARY" a:10:10
  until_true 'what is to be done is said' says "start $PRIMARY again, without a role"
  end primary
  node_of_cluster primary "$PRIMARY"
  until_true 'it is seen again' says "to do: rangerctl adopt $PRIMARY"
  rctl adopt "$PRIMARY"
  until_true 'it was told' is_told
  end primary
  refused 1 'of a cluster with a controller: start it without a role' env ROLE=primary "$ROOT/bin/node" --listen "localhost:$PRIMARY" --data-dir "$SCRATCH/primary"
}
