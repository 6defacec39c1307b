# What an operator does besides moving ranges, with real processes: drain, cordon,
# reset, status and watch.

bats_require_minimum_version 1.5.0
load helpers.bash

setup() { start_cluster; }
teardown() { stop_all; }

count_on() { rctl node "$1" | json 'it.ranges.length'; }
is_empty() { [[ $(count_on "$1") == 0 ]]; }
status_is() { local code=0; rctl status >/dev/null 2>&1 || code=$?; [[ $code == "$1" ]]; }
unavailable() { rctl ranges | json 'it.ranges.filter((r) => r.unavailable).length'; }
is_unavailable() { rctl range "$1" | json 'it.unavailable ? it.waiting : process.exit(1)'; }

# three_ranges: R2 to R5 all on the first node.
three_ranges() {
  local first
  first=$(port_of node.1)
  rctl split 1 m
  rctl split 2 g
  for range in $(rctl ranges | json 'it.ranges.filter((r) => r.state === "RS_ACTIVE").map((r) => r.meta.ident).join(" ")'); do
    owned_by "$range" "$first" || rctl move "$range" "$first"
  done
}

@test "operator: a drain under load empties the node, and nobody notices" {
  three_ranges
  local node
  node=$(port_of node.1)
  run -0 status_is 0
  rctl --timeout 30s watch >"$BATS_TEST_TMPDIR/watch" 2>&1 3>&- &
  start_hammer
  run -0 rctl drain "$node"
  [[ $(json 'it.done && it.left === 0 ? it.moved : -1' <<<"$output") == 3 ]]
  stop_hammer
  is_empty "$node"
  [[ $(rctl nodes | json "it.nodes.find((n) => n.node.ident === '$node').node.want_drain") == true ]]
  run -0 status_is 0
  run -1 rctl move 3 "$node"
  [[ $output == *draining* ]]
  run -0 rctl undrain "$node"
  rctl move 3 "$node"
  owned_by 3 "$node"
  grep -q '"kind":"step"' "$BATS_TEST_TMPDIR/watch"
}

@test "operator: what was ordered survives the controller; a cordoned node keeps what it has" {
  local first second
  first=$(owner_of 1)
  second=$(port_of node.2)
  [[ $first != "$second" ]] || second=$(port_of node.3)
  rctl cordon "$second"
  kill_hard controller.1
  start_again controller.1
  until_owned 1 "$first"
  run -1 rctl move 1 "$second"
  [[ $output == *cordoned* ]]
  rctl uncordon "$second"
  rctl move 1 "$second"
  rctl cordon "$second"
  owned_by 1 "$second"
}

@test "operator: a node told to stop with --drain leaves nothing behind" {
  local node=node.1 port pid
  port=$(owner_of 1)
  node=node.$((port - BASE_PORT - 200 + 1))
  kv put "$(address_of proxy.1)" a:100:100
  kill_hard "$node"
  DRAIN=true start_again "$node"
  pid=$(pid_of "$node")
  until_owned 1 "$port"
  kill -TERM "$pid"
  until_true 'the node has stopped' dead "$pid"
  run ! owned_by 1 "$port"
  kv check "$(address_of proxy.1)" a:100:100
}

@test "operator: a node that is killed is shown with what waits for it; back, all is well; lost, a reset begins anew" {
  local port node
  port=$(owner_of 1)
  node=node.$((port - BASE_PORT - 200 + 1))
  kv put "$(address_of proxy.1)" a:100:100
  run -1 rctl range reset 1 --accept-data-loss
  [[ $output == *'nothing is lost'* ]]
  kill_hard "$node"
  until_unavailable 1
  is_unavailable 1 | grep -q "$port is gone"
  run -1 rctl status
  json 'it.health === "DEGRADED" && it.items.some((i) => i.todo.includes("range reset 1 --accept-data-loss")) || process.exit(1)' <<<"$output"
  start_again "$node"
  until_shown 'code === 0' status
  kv check "$(address_of proxy.1)" a:100:100

  kill_hard "$node"
  until_unavailable 1
  run -1 rctl range reset 1
  [[ $output == *--accept-data-loss* ]]
  run -0 rctl range reset 1 --accept-data-loss
  until_shown 'it.ranges.every((r) => !r.unavailable)' ranges
  run ! owned_by 1 "$port"
  run -3 rctl get a00000
  rctl put after reset
  # The copy that was given up does not come back to life.
  start_again "$node"
  until_empty "$port"
  until_shown 'code === 0' status
  [[ $(rctl get after) == reset ]]
}
