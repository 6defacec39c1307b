# bin/dev, over a Procfile whose processes are a few lines each.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  BASE_PORT=$(free_base_port)
  DATA=$BATS_TEST_TMPDIR/data
  DEV_LOG=$BATS_TEST_TMPDIR/dev.log
  cat >"$BATS_TEST_TMPDIR/serve.js" <<'JS'
const { PORT, COORDINATION, DATA_DIR, LOG_LEVEL } = process.env;
require('http')
  .createServer((request, response) => response.end('{"ready":true}'))
  .listen(PORT, 'localhost', () => console.log(process.argv[2], COORDINATION, DATA_DIR, LOG_LEVEL));
process.on('SIGTERM', () => process.exit(0));
JS
  cat >"$BATS_TEST_TMPDIR/Procfile" <<'PROCFILE'
controller: /usr/bin/env node serve.js controller
proxy: /usr/bin/env node serve.js proxy
node: /usr/bin/env node serve.js node
PROCFILE
}

teardown() { stop_cluster; }

dev() { start_cluster --procfile "$BATS_TEST_TMPDIR/Procfile" "$@"; }
logged() { sed -E 's/^[0-9:]{8} //' "$DEV_LOG"; }

@test "starts the formation with its ports, coordination and data, and stops it with exit code 0" {
  dev --log-level warn
  logged | grep -Fx "system       | coordination is embedded in the controller: as --coordination says"
  logged | grep -Fx "controller.1 | controller embedded $DATA/controller warn"
  logged | grep -Fx "proxy.1      | proxy embedded://localhost:$BASE_PORT $DATA/proxy-$((BASE_PORT + 100)) warn"
  for i in 0 1 2; do
    logged | grep -Fx "node.$((i + 1))       | node embedded://localhost:$BASE_PORT $DATA/node-$((BASE_PORT + 200 + i)) warn"
  done
  kill -INT "$DEV_PID"
  wait "$DEV_PID"
  logged | grep -Fx 'system       | node.2 stopped (exit code 0)'
  DEV_PID=''
}

@test "reports a death, goes on with the others, and one can be started again by hand" {
  dev
  kill_hard node.2
  until_true 'the death is reported' grep -q 'node.2 died: killed by SIGKILL. The others go on: controller.1, proxy.1, node.1, node.3' "$DEV_LOG"
  alive "$DEV_PID"
  wait_ready "$(port_of node.3)"
}

@test "says which formation, port or coordination it cannot have, before it starts anything" {
  run --separate-stderr bin_dev -m nod=1
  [[ $status -eq 2 && $stderr == *'did you mean node?'* ]]
  run --separate-stderr bin_dev --coordination consul
  [[ $status -eq 2 && $stderr == *'use embedded, embedded://host:5000 or consul://host:8500'* ]]
  dev -m controller=1,node=1
  run --separate-stderr bin_dev -m controller=1,node=2
  [[ $status -eq 2 && $stderr == *"port $((BASE_PORT + 200)), wanted for node.1, is taken by another process"* && $output == '' ]]
}

bin_dev() { "$ROOT/bin/dev" --procfile "$BATS_TEST_TMPDIR/Procfile" --base-port "$BASE_PORT" --data-dir "$DATA" "$@"; }

@test "keeps data from run to run, and --fresh removes it and nothing else" {
  mkdir -p "$DATA/node-$((BASE_PORT + 200))" "$DATA/mine"
  touch "$DATA/node-$((BASE_PORT + 200))/x" "$DATA/mine/y"
  dev -m controller=1,node=1
  stop_cluster
  [[ -f $DATA/node-$((BASE_PORT + 200))/x ]]
  dev -m controller=1,node=1 --fresh
  [[ ! -e $DATA/node-$((BASE_PORT + 200))/x && -f $DATA/mine/y ]]
}

# choosing_dev <CONSUL_HTTP_ADDR>: without --coordination, so that it looks for itself
choosing_dev() {
  CONSUL_HTTP_ADDR=$1 "$ROOT/bin/dev" --procfile "$BATS_TEST_TMPDIR/Procfile" --base-port "$BASE_PORT" --data-dir "$DATA" \
    -m controller=1,node=1 >"$DEV_LOG" 2>&1 3>&- &
  DEV_PID=$!
  until_true 'it is ready' grep -q 'all ready' "$DEV_LOG" || { show_log; return 1; }
}

@test "takes Consul where an agent answers, else embedded, and says why" {
  local free=$((BASE_PORT + 50))
  choosing_dev "localhost:$free"
  logged | grep -F "coordination is embedded in the controller: no Consul agent answers at CONSUL_HTTP_ADDR (localhost:$free) (connection refused)"
  stop_cluster
  node -e 'require("http").createServer((q, s) => s.end("{}")).listen(process.argv[1], "localhost")' "$free" 3>&- &
  AGAIN_PIDS=$!
  until_true 'the agent answers' node -e 'fetch(`http://localhost:${process.argv[1]}`).catch(() => process.exit(1))' "$free"
  choosing_dev "localhost:$free"
  logged | grep -F "coordination is consul://localhost:$free: an agent answers at CONSUL_HTTP_ADDR (localhost:$free)"
  logged | grep -F "node.1       | node consul://localhost:$free"
}

@test "prints no colours into a file, and shows its help" {
  dev -m node=1,controller=1
  ! grep -q $'\x1b' "$DEV_LOG"
  run bin_dev --help
  [[ $status -eq 0 && $output == *'--formation'*'--coordination'*'--fresh'* ]]
}
