# deploy/docker-compose.yml as it is, run by podman-compose. Its containers are those of
# one stack for the whole file; each test leaves it well.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
  source "$BATS_TEST_DIRNAME/helpers.bash"
  need_images
  export STACK=kr$$ KEYRANGER_IMAGE=$IMAGE CONSUL_IMAGE=localhost/consul:test
  export CONSUL_PORT CONTROLLER_PORT PROXY_PORT REST_PORT
  read -r CONSUL_PORT CONTROLLER_PORT PROXY_PORT REST_PORT <<<"$(free_ports 4)"
  compose up --detach --no-build >"$CACHE/compose.log" 2>&1 </dev/null || { cat "$CACHE/compose.log"; return 1; }
  until_true 'all are well' all_well
}

teardown_file() {
  source "$BATS_TEST_DIRNAME/helpers.bash"
  pod rm --force --volumes --time 5 "${STACK}_hammer" "${STACK}_node-4" >/dev/null 2>&1
  compose down --volumes >"$CACHE/compose-down.log" 2>&1
  pod network rm --force "${STACK}_default" >/dev/null 2>&1 || true
}

teardown() { [[ -n ${BATS_TEST_COMPLETED:-} ]] || show_logs >&2; }

compose() { podman-compose --project-name "$STACK" --file "$ROOT/deploy/docker-compose.yml" --podman-args "${STORE[*]}" "$@" 3>&-; }
name() { echo "${STACK}_$1_1"; }
inside() { pod exec "$(name "$1")" "${@:2}"; }
rctl() { inside "${CONTROLLER:-controller-1}" rangerctl "$@"; }
all_well() { [[ $(rctl status | json it.health) == HEALTHY && $(rctl nodes | json it.nodes.length) == 3 ]]; }
primary() { rctl ranges | json 'it.ranges[0].placements.find((p) => p.placement.state === "PS_ACTIVE")?.placement.node ?? "none"'; }
primary_is_other_than() { [[ $(primary) != "$1" && $(primary) != none ]]; }
exited() { [[ $(pod inspect --format '{{.State.Status}}' "$1") == exited ]]; }

show_logs() {
  local container
  for container in $(pod ps --all --format '{{.Names}}' --filter "name=$STACK"); do
    printf '# %s\n' "$container"
    pod logs --tail 20 "$container" 2>&1 | cut -c 1-300
  done
}

# start_hammer, stop_hammer: load from a container of its own; no error, no wrong and no missing value.
start_hammer() {
  detached --read-only --name "${STACK}_hammer" --network "${STACK}_default" "$IMAGE" hammer --addr proxy:5100 --timeout 30s --max-errors 0 --json >/dev/null
  until_true 'there is load' under_load
}
under_load() { (($(rctl ranges | json 'it.ranges.reduce((sum, range) => sum + Number(range.placements.find((p) => p.placement.state === "PS_ACTIVE")?.range_info?.info?.keys ?? 0), 0)') > 50)); }
stop_hammer() {
  pod kill --signal INT "${STACK}_hammer" >/dev/null
  until_true 'the hammer has stopped' exited "${STACK}_hammer"
  pod logs "${STACK}_hammer" >"$BATS_TEST_TMPDIR/hammer.json"
  [[ $(pod inspect --format '{{.State.ExitCode}}' "${STACK}_hammer") == 0 ]] || { cat "$BATS_TEST_TMPDIR/hammer.json" >&2; return 1; }
  json 'it.passed && it.wrong === 0 && it.missing === 0 ? `${it.operations.all.ok} requests, longest gap ${it.longest_gap_ms} ms` : process.exit(1)' <"$BATS_TEST_TMPDIR/hammer.json" >&3
  pod rm "${STACK}_hammer" >/dev/null
}

@test "every container is healthy, runs as nobody in particular and cannot write to its root" {
  local service
  pod healthcheck run "$(name consul)"
  for service in controller-1 controller-2 proxy node-1 node-2 node-3; do
    pod healthcheck run "$(name "$service")"
    [[ $(inside "$service" id -u) == 10001 ]]
    run ! inside "$service" touch /opt/x
  done
}

@test "values go in and come out at each door" {
  curl -sSf -X POST "localhost:$REST_PORT/greeting" -d hello
  [[ $(curl -sSf "localhost:$REST_PORT/greeting") == hello ]]
  curl -sSf -X PUT "localhost:$PROXY_PORT/kv/name" -d alice
  [[ $(curl -sSf "localhost:$PROXY_PORT/kv/name") == alice ]]
  [[ $("$ROOT/bin/rangerctl" --proxy "localhost:$PROXY_PORT" get greeting) == hello ]]
  [[ $("$ROOT/bin/rangerctl" --addr "localhost:$CONTROLLER_PORT" nodes | json 'it.nodes.map((n) => n.node.ident).sort().join()') == node-1,node-2,node-3 ]]
}

@test "hammered, it loses the node that serves with -9 and goes on; the node comes back and catches up" {
  local lost
  start_hammer
  lost=$(primary)
  pod kill --signal KILL "$(name "$lost")" >/dev/null
  until_true 'another node serves' primary_is_other_than "$lost"
  curl -sSf -m 30 -X POST "localhost:$REST_PORT/after" -d 'the loss'
  pod start "$(name "$lost")" >/dev/null 2>&1
  until_true 'all are well' all_well
  stop_hammer
  [[ $(curl -sSf "localhost:$REST_PORT/after") == 'the loss' ]]
}

@test "hammered, it loses a controller with -9; the other one splits and joins" {
  local lost=controller-1 other=controller-2
  [[ $(rctl status | json it.controller) == leads* ]] || { lost=controller-2 other=controller-1; }
  start_hammer
  pod kill --signal KILL "$(name "$lost")" >/dev/null
  CONTROLLER=$other until_true 'the other one leads' leads
  CONTROLLER=$other rctl split 1 m
  CONTROLLER=$other rctl join 2 3
  pod start "$(name "$lost")" >/dev/null 2>&1
  until_true 'all are well' all_well
  stop_hammer
}
leads() { [[ $(rctl status | json it.controller) == leads* ]]; }

@test "a node that is stopped as Kubernetes stops it hands over what it serves first: nobody notices" {
  local hook range
  hook=$(sed -n 's/^ *command: \[sh, -c, "\(kill -TERM .*\)"\]$/\1/p' "$ROOT/deploy/helm/templates/node-statefulset.yaml")
  [[ -n $hook ]]
  detached --read-only --cap-drop ALL --name "${STACK}_node-4" --hostname node-4 --network "${STACK}_default" --network-alias node-4 --volume /data \
    --env IDENT=node-4 --env COORDINATION=consul://consul:8500 --env DRAIN=true --env DRAIN_PRIMARIES=true --env DRAIN_TIMEOUT=60s "$IMAGE" node >/dev/null
  until_true 'the fourth node is there' has_node_4
  range=$(rctl ranges | json 'it.ranges[0].meta.ident')
  start_hammer
  rctl move "$range" node-4
  [[ $(primary) == node-4 ]]
  pod exec "${STACK}_node-4" sh -c "$hook" || true
  until_true 'it has stopped' exited "${STACK}_node-4"
  [[ $(pod inspect --format '{{.State.ExitCode}}' "${STACK}_node-4") == 0 ]]
  pod logs "${STACK}_node-4" | grep -q '"message":"drained"'
  primary_is_other_than node-4
  stop_hammer
}
has_node_4() { rctl nodes | grep -q node-4; }
