# rangerctl as scripts use it: JSON into pipes, exit codes, the flags of older tools.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
  start_on embedded
}
teardown_file() { stop_all; }

@test "a pipe gets JSON in the names of proto/, as jq would read it" {
  [[ $("$ROOT/bin/rangerctl" --addr "localhost:$BASE_PORT" nodes | node -e '
    const { nodes } = JSON.parse(require("fs").readFileSync(0, "utf8"));
    console.log(nodes.map((n) => n.node.ident).join("\n"));') == $(printf '%s\n' "$(port_of node.1)" "$(port_of node.2)" "$(port_of node.3)") ]]
  [[ $(rctl nodes | json 'it.nodes[0].node.want_drain') == false ]]
  [[ $(rctl ranges | json 'it.ranges.map((r) => [r.meta.ident, r.meta.start, r.state, r.placements[0].placement.state, r.placements[0].range_info.state].join())[0]') == 1,,RS_ACTIVE,PS_ACTIVE,ACTIVE ]]
  [[ $(rctl range 1 | json 'it.meta.ident') == 1 && $(rctl r R1 | json 'it.meta.ident') == 1 ]]
  [[ $(rctl node "$(port_of node.2)" | json 'it.node.address') == "$(address_of node.2)" ]]
  [[ $(rctl n "$(port_of node.2)" | json 'it.node.ident') == "$(port_of node.2)" ]]
}

@test "tables and Graphviz on request" {
  run rctl --no-json nodes
  [[ ${lines[0]} == NODE* && ${lines[1]} == *"$(address_of node.1)"*up* ]]
  run rctl ranges --no-json
  [[ ${lines[0]} == RANGE* && ${lines[1]} == R1*'[-inf, +inf)'*Active* ]]
  [[ $(rctl ranges -render) == digraph*R1* ]]
}

@test "--request prints what would be sent, and sends nothing" {
  [[ $(rctl --request move 1 5201 | json '`${it.range} ${it.node}`') == '1 5201' ]]
  [[ $(rctl -request split 1 b64:gA== | json '`${it.range} ${it.boundary}`') == '1 gA==' ]]
  [[ $(rctl j -request 1 2 | json '`${it.range_left} ${it.range_right}`') == '1 2' ]]
  [[ $(rctl --request put k v | json '`${it.key} ${it.value}`') == 'aw== dg==' ]]
  [[ $(rctl --request del k | json '"value" in it') == false ]]
  refused 3 absent rctl get k
  [[ $(rctl ranges | json 'it.ranges.length') == 1 ]]
}

@test "flags with one dash, before and behind the command" {
  [[ $("$ROOT/bin/rangerctl" -addr "localhost:$BASE_PORT" range 1 | json 'it.meta.ident') == 1 ]]
  [[ $("$ROOT/bin/rangerctl" nodes -addr "localhost:$BASE_PORT" -timeout 5s | json 'it.nodes.length') == 3 ]]
  "$ROOT/bin/rangerctl" put -addr "$(address_of proxy.1)" dash one
  # A flag that was typed wins over a variable.
  [[ $(RANGERCTL_PROXY=localhost:1 "$ROOT/bin/rangerctl" get dash -addr "$(address_of proxy.1)") == one ]]
  "$ROOT/bin/hammer" -addr "$(address_of proxy.1)" -duration 500ms -json | json 'it.passed || process.exit(1)'
}

@test "exit codes tell what went wrong" {
  refused 1 'move refused' rctl move 99
  refused 2 'unknown flag' rctl nodes --nope
  refused 2 'did you mean move?' rctl mvoe 1
  refused 2 'must be the number of a range' rctl move one
  refused 2 'must be host:port' rctl --addr nowhere nodes
  refused 3 'no range 99' rctl range 99
  refused 3 'absent' rctl get nothing
  refused 4 'connection refused' rctl --addr localhost:1 nodes
  # A proxy is no controller.
  refused 1 'is no controller' rctl --addr "$(address_of proxy.1)" nodes
}

@test "programs say all that is wrong with their configuration, and exit with 2" {
  local program
  for program in controller node proxy; do
    refused 2 '--grace' "$ROOT/bin/$program" --grace soon --log-level loud --nope
    [[ $stderr == *--log-level* && $stderr == *nope* ]]
    run "$ROOT/bin/$program" --help
    [[ $status -eq 0 && $output == *--listen*LISTEN*--coordination*COORDINATION* ]]
  done
  refused 2 '--duration' "$ROOT/bin/hammer" --duration soon --closed 0
  [[ $stderr == *--closed* ]]
}

@test "health, readiness, metrics and reflection are on the one port of each process" {
  local name
  for name in controller.1 proxy.1 node.1; do
    node -e '
      (async () => {
        const at = `http://localhost:${process.argv[1]}`;
        for (const path of ["/health", "/ready", "/metrics"]) {
          const response = await fetch(at + path);
          const text = await response.text();
          if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
          if (path === "/metrics" && !text.includes("# TYPE")) throw new Error(text.slice(0, 200));
        }
        const missing = await fetch(at + "/nothing");
        if (missing.status !== 404) throw new Error(`/nothing: ${missing.status}`);
      })();' "$(port_of $name)"
  done
}
