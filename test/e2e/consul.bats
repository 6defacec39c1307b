# What only a cluster on Consul can meet: its agent going away and coming back.

bats_require_minimum_version 1.5.0
load helpers

setup() { start_on consul; }
teardown() { stop_all; }

catalogue() {
  node -e 'fetch(process.argv[1].replace("consul", "http") + "/v1/health/service/" + process.argv[2] + "?passing").then((r) => r.json())
    .then((all) => console.log(all.map((one) => one.Service.ID).sort().join(" ")))' "$COORDINATION" "$1"
}
registered() { [[ $(catalogue node 2>/dev/null) == "$(port_of node.1) $(port_of node.2) $(port_of node.3)" ]]; }

@test "consul: nodes are found by their ident in the service node, healthy by their gRPC check" {
  until_true 'all nodes pass their checks' registered
  becomes "1:$(owner_of 1)"
  # The keyspace is one document a range below ranges/.
  node -e 'fetch(process.argv[1].replace("consul", "http") + "/v1/kv/ranges/?keys").then((r) => r.json()).then((keys) => { if (!keys.some((key) => /^ranges\/0*1$/.test(key))) throw new Error(keys.join()); })' "$COORDINATION"
}

three_parts() {
  until_true 'all nodes pass their checks' registered
  kv put "$(address_of proxy.1)" a:100:100 z:100:100
  rctl split 1 m "$(port_of node.1)" "$(port_of node.2)"
}

# agent_restarts: under load, of which nothing fails
agent_restarts() {
  start_hammer
  stop_consul
  kv check "$(address_of proxy.1)" a:100:100 z:100:100
  start_consul
  until_true 'all nodes are registered again' registered
  until_true 'the controller is registered again' controller_registered
  stop_hammer
}
controller_registered() { [[ $(catalogue controller 2>/dev/null) == controller-$BASE_PORT ]]; }

@test "consul: an agent that is killed and comes back with its data is survived, and operations go on" {
  three_parts
  agent_restarts
  becomes "2:$(port_of node.1) 3:$(port_of node.2)"
  rctl move 2 "$(port_of node.3)"
  becomes "2:$(port_of node.3) 3:$(port_of node.2)"
  kv check "$(address_of proxy.1)" a:100:100 z:100:100
}

@test "consul: an agent that comes back without memory stops no serving, and nothing is served empty" {
  three_parts
  CONSUL_KEEPS=''
  agent_restarts
  kv check "$(address_of proxy.1)" a:100:100 z:100:100
  # The nodes have what nobody else knows any more; no new range may take its place.
  until_true 'it is said that a keyspace was lost' says_lost
  kv check "$(address_of proxy.1)" a:100:100 z:100:100
}
says_lost() { rctl ranges | grep -q 'knows nothing: its data directory may have been lost'; }

@test "consul: the second of two nodes with one ident is refused and told so" {
  until_true 'all nodes pass their checks' registered
  refused 1 "$(port_of node.1)" timeout 30 "$ROOT/bin/node" --listen localhost:0 --ident "$(port_of node.1)" --coordination "$COORDINATION" --data-dir "$BATS_TEST_TMPDIR/second"
  registered
}
