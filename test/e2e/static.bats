# Static mode: a primary and a replica without controller or Consul, from the variables of
# the two StatefulSet documents, with their commands.

bats_require_minimum_version 1.5.0
load helpers
load seed

setup() {
  read -r PRIMARY REPLICA <<<"$(free_ports 2)"
  HOSTS="http://localhost:8081 http://localhost:$PRIMARY
http://localhost:8082 http://localhost:$REPLICA
8081 $PRIMARY
8082 $REPLICA
localhost:9999 localhost:$PRIMARY
localhost:9876 localhost:$REPLICA
MEHDB_PORT=9999 MEHDB_PORT=$PRIMARY
MEHDB_LOCAL=yes MEHDB_PORT=$REPLICA PRIMARY_URL=localhost:$PRIMARY MEHDB_LOCAL=yes
./kvstore exec $ROOT/bin/node
main.go $ROOT/bin/node"
  # What theirs is run with.
  mkdir "$SCRATCH/bin"
  printf '#!/bin/sh\nexec "$2"\n' >"$SCRATCH/bin/go"
  printf '#!/bin/sh\nexec node "%s" "$@"\n' "$ROOT/test/e2e/tools/httpie.mjs" >"$SCRATCH/bin/http"
  chmod +x "$SCRATCH/bin/"*
  PATH=$SCRATCH/bin:$PATH
  unset ROLE PRIMARY_URL REPLICA_URLS MEHDB_HOST MEHDB_PORT MEHDB_LOCAL MEHDB_DATADIR
}

teardown() {
  local pid
  for pid in ${PIDS:-}; do kill_tree "$pid"; done
}

# kill_tree <process>: kill -9 of it and of all that it started, which the shell may be between.
kill_tree() {
  local child
  for child in $(pgrep -P "$1"); do kill_tree "$child"; done
  kill -9 "$1" 2>/dev/null || true
}

# run_node <name> <commands of a document>: in the background; <name>_PID is its process.
run_node() {
  as_written "$2" >>"$SCRATCH/$1.log" 2>&1 3>&- &
  declare -g "$1_PID=$!"
  PIDS+=" $!"
}

# stop_hard <name> <port>: kill -9, and waits until nobody answers there.
stop_hard() {
  local name=$1_PID
  kill_tree "${!name}"
  until_true "$1 is gone" silent "$2"
}

answers() { curl -s -o /dev/null "http://localhost:$1/health"; }
silent() { ! answers "$1"; }

primary() {
  run_node primary 'export PORT=8081
export ROLE=primary
export DATA_DIR=./data/primary
export REPLICA_URLS=http://localhost:8082
./kvstore'
}

replica() {
  run_node replica 'export PORT=8082
export ROLE=replica
export DATA_DIR=./data/replica
export PRIMARY_URL=http://localhost:8081
./kvstore'
}

@test "primary and replica: the commands of their document, and kill -9 of each" {
  primary
  replica
  wait_ready "$PRIMARY"
  wait_ready "$REPLICA"
  as_written 'curl -X PUT http://localhost:8081/kv/name -d "alice"'
  [[ $(as_written 'curl http://localhost:8081/kv/name') == alice ]]
  until_true 'the replica has it' replica_has name alice
  run -0 as_written 'curl -si -X PUT http://localhost:8082/kv/name -d "bob"'
  [[ $output == *'307 Temporary Redirect'* && $output == *"location: http://localhost:$PRIMARY/kv/name"* ]]
  [[ $(as_written 'curl http://localhost:8081/kv/' | json 'it.items.map((item) => `${item.key}=${item.value}`).join()') == name=alice ]]
  [[ $(as_written 'curl http://localhost:8081/role' | json it.role) == primary ]]
  [[ $(as_written 'curl http://localhost:8082/role' | json it.role) == replica ]]
  [[ $(as_written 'curl http://localhost:8081/health' | json it.status) == ok ]]
  [[ $(as_written 'curl http://localhost:8081/ready' | json '`${it.ready} ${it.role} ${it.keys}`') == 'true primary 1' ]]

  stop_hard replica "$REPLICA"
  as_written 'curl -X PUT http://localhost:8081/kv/name -d "carol"'
  [[ $(as_written 'curl http://localhost:8081/kv/name') == carol ]]
  replica
  wait_ready "$REPLICA"
  until_true 'the replica has what it missed' replica_has name carol

  stop_hard primary "$PRIMARY"
  [[ $(as_written 'curl http://localhost:8082/kv/name') == carol ]]
  primary
  wait_ready "$PRIMARY"
  [[ $(as_written 'curl http://localhost:8081/kv/name') == carol ]]
  as_written 'curl -X PUT http://localhost:8081/kv/name -d "dave"'
  until_true 'the replica goes on' replica_has name dave
  [[ $("$ROOT/bin/rangerctl" log 1 --proxy "localhost:$REPLICA" --json | json_lines 'it.value') == 'alice carol dave' ]]
  as_written 'curl -X DELETE http://localhost:8081/kv/name'
  [[ $(as_written 'curl http://localhost:8081/kv/name' | json it.code) == not_found ]]
}

json_lines() { node -e 'console.log(require("fs").readFileSync(0, "utf8").trimEnd().split("\n").map((line) => { const it = JSON.parse(line); return eval(process.argv[1]); }).join(" "));' "$1"; }

@test "leader and follower: the commands of their document" {
  run_node primary 'MEHDB_HOST=mehdb-0 MEHDB_PORT=9999 go run main.go'
  wait_ready "$PRIMARY"
  run_node replica 'MEHDB_LOCAL=yes MEHDB_DATADIR=./follower-data go run main.go'
  wait_ready "$REPLICA"
  mkdir -p "$SCRATCH/test" && echo 'some data' >"$SCRATCH/test/somedata"
  as_written 'http PUT localhost:9999/set/abc < test/somedata'
  [[ $(as_written 'http localhost:9999/get/abc') == *'some data'* ]]
  until_true 'the follower has it' replica_has abc 'some data'
  [[ $(as_written 'http localhost:9876/get/abc') == *'some data'* ]]
  run -0 as_written 'http PUT localhost:9876/set/abc < test/somedata'
  [[ ${lines[0]} == 'HTTP/1.1 307 Temporary Redirect' && ${output,,} == *"location: http://localhost:$PRIMARY/set/abc"* ]]
  [[ -d $SCRATCH/follower-data ]]
  [[ $(curl -s "localhost:$REPLICA/status" | json it.role) == follower ]]
}

@test "a role and a data directory that do not fit are refused, and so is a replica of nobody" {
  primary
  wait_ready "$PRIMARY"
  stop_hard primary "$PRIMARY"
  run ! as_written 'PORT=8082 ROLE=replica PRIMARY_URL=http://localhost:8081 DATA_DIR=./data/primary ./kvstore'
  [[ $output == *'the data directory is that of the primary'* ]]
  run ! as_written 'PORT=8082 ROLE=replica DATA_DIR=./data/other ./kvstore'
  [[ $output == *'a replica has to be told where its primary is'* ]]
  run -2 as_written 'PORT=8082 ROLE=leader ./kvstore'
  [[ $output == *'ROLE is "leader", but must be one of off, primary, replica'* ]]
}
