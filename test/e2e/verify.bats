# Copies of a range are compared, and one that is damaged on its disk is found and made anew.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  start_cluster --replicas 3
  until_three_in_sync
}

teardown() {
  [[ -z ${HAMMER_PID:-} ]] || kill -9 "$HAMMER_PID" 2>/dev/null || true
  stop_cluster
}

# Each copy that is wanted is there, the primary waits for both others, and that is persisted.
until_three_in_sync() {
  until_shown 'const there = it.placements.filter((p) => p.range_info && p.placement.state !== "PS_DROPPED");
    const primary = there.find((p) => p.range_info.state === "ACTIVE");
    const followers = primary.range_info.replica.followers.filter((f) => f.in_sync && Number(f.silent_ms) < 2000);
    there.length === 3 && there.every((p) => p.in_sync) && followers.length === 2' range 1
}

# a_follower: the name of a process that has one, such as node.2
a_follower() {
  local owner
  owner=$(owner_of 1)
  [[ $owner == "$(port_of node.1)" ]] && echo node.2 || echo node.1
}

damage() { node "$ROOT/test/e2e/tools/damage.mjs" "$DATA/node-$(port_of "$1")" "${@:2}"; }
until_alike() { until_shown 'code === 0' verify; }
logged() { since_start | grep -q "$1"; }

@test "copies are compared under load, and are alike" {
  kv put "$(address_of proxy.1)" a:3000:100
  start_hammer
  run --separate-stderr rctl verify --no-json
  echo "# ${lines[0]}" >&3
  stop_hammer >"$SCRATCH/load"
  [[ $status -eq 0 && $output == *'are alike:'*'1 range compared: all copies are alike'* ]]
}

@test "a follower that is damaged on its disk is found, reported and made anew" {
  local follower port
  kv put "$(address_of proxy.1)" a:3000:100
  for key in k1 k2 k3; do rctl put "$key" "value of $key"; done
  follower=$(a_follower) port=$(port_of "$(a_follower)")
  kill_hard "$follower"
  # Or what is said of the copies until then would be taken for what is so when it is back.
  until_missed "$port"
  damage "$follower" rot k1
  damage "$follower" remove k2
  damage "$follower" revive zombie
  start_again "$follower"
  until_three_in_sync
  run --separate-stderr rctl verify 1 --no-json
  echo "$output" | sed 's/^/# /' >&3
  [[ $status -eq 1 ]]
  [[ $output == *"R1: $port is wrong in 3 keys of 3,003, and is made anew"* ]]
  [[ $output == *"k1: $port has another value"* && $output == *"k2: $port lacks it"* && $output == *"zombie: $port has it, though it was deleted"* ]]
  logged 'a copy is damaged, and is to be made anew'
  until_true 'the controller gives it up' logged "R1 is to have a new copy: the copy on $port is damaged"
  until_three_in_sync
  until_alike
  [[ $(rctl verify | json 'it.ranges[0].copies.filter((copy) => copy.differences === 0 && copy.skipped === "").length') -eq 3 ]]
  [[ $(rctl get k1) == 'value of k1' && $(rctl get k2) == 'value of k2' ]]
  rctl status >/dev/null
}

@test "a primary that is damaged finds it out by itself, and another copy takes its place" {
  local follower port
  for key in k1 k2; do rctl put "$key" "value of $key"; done
  follower=$(a_follower) port=$(port_of "$(a_follower)")
  kill_hard "$follower"
  # Or what is said of the copies until then would be taken for what is so when it is back.
  until_missed "$port"
  damage "$follower" rot k1
  # As a follower it compares nothing.
  VERIFY_EVERY=1s start_again "$follower"
  until_three_in_sync
  rctl transfer 1 "$port" >/dev/null
  until_true 'another takes its place' logged "R1 fails over from $port to .*: the copy on $port is damaged"
  since_start | grep 'copies of a range differ' | sed 's/^/# /' >&3
  until_three_in_sync
  until_alike
  [[ $(owner_of 1) != "$port" && $(rctl get k1) == 'value of k1' && $(rctl get k2) == 'value of k2' ]]
}
