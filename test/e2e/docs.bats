# A sample in the docs that does not run, or prints something else, is a bug.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  start_cluster
  until_placed
}

teardown() { stop_cluster; }


samples() { node "$ROOT/test/e2e/tools/samples.mjs" "$1" "$BASE_PORT" "$DATA"; }

@test "the tour of README.md runs, and prints what it shows" { samples README.md; }

@test "so do the samples of docs/rangerctl.md" { samples docs/rangerctl.md; }

@test "so do those of docs/http.md" { samples docs/http.md; }

@test "so do those of docs/operations/replicas.md, with three copies" {
  stop_cluster
  start_cluster --fresh --replicas 3
  until_shown 'code === 0 && it.nodes_reachable === "3" && it.ranges === "1"' status
  samples docs/operations/replicas.md
}

# Not docs/operations/drain.md: in which order ranges leave depends on the load at that moment.
@test "so do those of docs/hammer.md and docs/metrics.md" {
  samples docs/hammer.md
  samples docs/metrics.md
}

@test "docs/metrics.md names every metric that a process exposes, and no other" {
  rctl put a b
  local name
  for name in controller.1 proxy.1 node.1; do
    node -e '
      const { readFileSync } = require("fs");
      const [page, port, program] = process.argv.slice(1);
      const named = new Set([...readFileSync(page, "utf8").matchAll(/^\| `(keyranger_\w+)` /gm)].map(([, name]) => name).filter((name) => !/^keyranger_(controller|node|proxy)_/.test(name) || name.startsWith(`keyranger_${program}_`)));
      fetch(`http://localhost:${port}/metrics`).then((response) => response.text()).then((text) => {
        const exposed = new Set([...text.matchAll(/^# TYPE (keyranger_\w+) /gm)].map(([, name]) => name));
        const wrong = [...named].filter((name) => !exposed.has(name)).concat([...exposed].filter((name) => !named.has(name)));
        if (wrong.length > 0) throw new Error(`${program}: ${wrong.join(", ")}`);
      });' "$ROOT/docs/metrics.md" "$(port_of "$name")" "${name%.*}"
  done
}
