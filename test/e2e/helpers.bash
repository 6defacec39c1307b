# What the tests with real processes share. Every cluster has ports and a data
# directory of its own, so tests may run side by side. Nothing here sleeps for luck:
# each wait looks at what it waits for, and has an end.
#
#   setup()    { start_cluster; }          arguments go to bin/dev
#   teardown() { stop_cluster; stop_consul; }
#
# The same in setup_file and teardown_file shares one cluster among the tests of a file.

ROOT=$(cd -P "$BATS_TEST_DIRNAME/../.." && pwd)
# A cluster that the file's set-up started is this test's too; what else is set is somebody else's.
[[ -n ${CLUSTER_STARTED:-} ]] || unset COORDINATION BASE_PORT DATA DEV_LOG DEV_PID CONSUL_PID CONSUL_PORTS
unset CONSUL_HTTP_ADDR DATA_DIR IDENT LISTEN PORT

# Of this test, or of this file's set-up.
SCRATCH=${BATS_TEST_TMPDIR:-${BATS_FILE_TMPDIR:-}}

# How long any one thing may take. A healthy machine needs a small part of it.
PATIENCE_S=${PATIENCE_S:-60}

# until_true <what> <command…>: runs the command until it succeeds.
until_true() {
  local what=$1 end=$((SECONDS + PATIENCE_S))
  shift
  until "$@"; do
    if ((SECONDS >= end)); then
      printf 'waited %s s in vain until %s\n' "$PATIENCE_S" "$what" >&2
      return 1
    fi
    sleep 0.05
  done
}

alive() { kill -0 "$1" 2>/dev/null; }
dead() { ! alive "$1"; }

# free_base_port: a port such that it and all that bin/dev counts from it are free.
# Below the ports that the system gives out by itself, and above those that fetch() refuses.
free_base_port() {
  node -e '
    const { createServer } = require("net");
    const free = (port) => new Promise((resolve) => {
      const server = createServer().once("error", () => resolve(false)).listen(port, "localhost", () => server.close(() => resolve(true)));
    });
    (async () => {
      for (let i = 0; i < 200; i++) {
        const base = 11000 + 10 * Math.floor(Math.random() * 1900);
        const ports = [0, 1, 100, 101, 200, 201, 202, 203, 204].map((n) => base + n);
        if ((await Promise.all(ports.map(free))).every(Boolean)) return console.log(base);
      }
      process.exitCode = 1;
    })();'
}

# start_cluster <arguments of bin/dev…>: runs bin/dev in the background, and waits
# until every process says that it is ready. Sets BASE_PORT and DATA. COORDINATION
# says which, if it is not embedded. A cluster that stopped comes back with its data.
start_cluster() {
  export DATA=${DATA:-$SCRATCH/data} DEV_LOG=${DEV_LOG:-$SCRATCH/dev.log} BASE_PORT DEV_PID CLUSTER_STARTED=yes
  local attempt keep=${BASE_PORT:-}
  for attempt in 1 2 3 4 5; do
    [[ -n $keep ]] || BASE_PORT=$(free_base_port)
    : >>"$DEV_LOG"
    LOG_FROM=$(($(wc -l <"$DEV_LOG") + 1))
    "$ROOT/bin/dev" --base-port "$BASE_PORT" --data-dir "$DATA" --coordination "${COORDINATION:-embedded}" "$@" >>"$DEV_LOG" 2>&1 3>&- &
    DEV_PID=$!
    until_true 'the cluster is ready' cluster_settled || { show_log; return 1; }
    since_start | grep -q 'all ready after' && return
    # Somebody took one of the ports after we had looked.
    since_start | grep -q 'is taken by another process' && [[ -z $keep ]] && stop_cluster && continue
    show_log
    return 1
  done
  return 1
}

cluster_settled() { since_start | grep -Eq 'all ready after|is taken by another process' || dead "$DEV_PID"; }
since_start() { tail -n "+$LOG_FROM" "$DEV_LOG"; }

show_log() { sed 's/^/# /' "$DEV_LOG" >&2; }

# stop_cluster: as Ctrl-C does; then whatever was started again by hand. Safe to call twice.
stop_cluster() {
  local pid
  # A test that failed left its load behind.
  if [[ -n ${HAMMER_PID:-} && ! -s $HAMMER_REPORT.exit ]]; then kill -9 "$HAMMER_PID" 2>/dev/null || true; fi
  # What a test of the file started again, the set-up of the file does not know.
  if [[ -f ${DATA:-}/run/again ]]; then AGAIN_PIDS+=" $(<"$DATA/run/again")" && rm "$DATA/run/again"; fi
  for pid in ${AGAIN_PIDS:-} ${DEV_PID:-}; do
    kill -TERM "$pid" 2>/dev/null || continue
    PATIENCE_S=20 until_true "process $pid stopped" dead "$pid" || kill -9 "$pid"
  done
  for pid in ${DEV_PID:-}; do wait "$pid" 2>/dev/null || true; done
  AGAIN_PIDS='' DEV_PID=''
}

# port_of node.2
port_of() {
  local entry=${1%.*} index=${1##*.} line
  line=$(grep -o '^[a-z]*:' "$ROOT/Procfile" | grep -n "^$entry:" | cut -d: -f1)
  echo $((BASE_PORT + 100 * (line - 1) + index - 1))
}

pid_of() { cat "$DATA/run/$1.pid"; }

# kill_hard node.1: kill -9, and waits until it is gone.
kill_hard() {
  local pid
  pid=$(pid_of "$1")
  kill -9 "$pid"
  until_true "$1 is gone" dead "$pid"
}

# until_heard, until_missed <ident>: as far as the controller says.
until_heard() { until_shown 'it.node.reachable' node "$1"; }
until_missed() { until_shown '!it?.node.reachable' node "$1"; }

# start_again node.1: with the same port, data and coordination, as bin/dev had it.
start_again() {
  local name=$1 entry=${1%.*} port command coordination data
  port=$(port_of "$name")
  command=$(sed -n "s/^$entry: *//p" "$ROOT/Procfile")
  data=$DATA/$entry-$port
  [[ $name != controller.1 ]] || data=$DATA/controller
  coordination=${COORDINATION:-embedded}
  [[ $coordination != embedded || $entry == controller ]] || coordination=embedded://localhost:$BASE_PORT
  (cd "$ROOT" && PORT=$port COORDINATION=$coordination DATA_DIR=$data LOG_FORMAT=bare exec sh -c "exec $command") >>"$DEV_LOG" 2>&1 3>&- &
  mkdir -p "$DATA/run"
  echo $! >>"$DATA/run/again"
  echo $! >"$DATA/run/$name.pid"
  wait_ready "$port"
}

# hold node.1: what it prepares from now on, until it is started again, takes long enough
# to look, kill and start again meanwhile. Each of its copies is Preparing for that long.
hold() {
  kill_hard "$1"
  FAILPOINT=before-prepare-commit=delay:5000 start_again "$1"
  # Or an operation would be refused, for want of the node.
  until_heard "$(port_of "$1")"
}
until_preparing() { until_shown 'it.ranges.some((r) => r.info?.state === "PREPARING")' node "$1"; }

# bounce node.1: kill -9, and back at once without anything that holds it
bounce() {
  kill_hard "$1"
  start_again "$1"
}

# wait_ready <port>: until the process there says that it is.
wait_ready() {
  node -e '
    const [port, seconds] = process.argv.slice(1).map(Number);
    const end = performance.now() + seconds * 1000;
    (async () => {
      let why = "no answer";
      while (performance.now() < end) {
        try {
          const response = await fetch(`http://localhost:${port}/ready`);
          const body = await response.json();
          if (body.ready) return;
          why = body.reason;
        } catch (error) { why = error.cause?.code ?? error.message; }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      console.error(`port ${port} was not ready after ${seconds} s: ${why}`);
      process.exitCode = 1;
    })();' "$1" "$PATIENCE_S"
}

# rctl <arguments…>: rangerctl for this cluster.
rctl() { RANGERCTL_ADDR=localhost:$BASE_PORT RANGERCTL_PROXY=localhost:$((BASE_PORT + 100)) "$ROOT/bin/rangerctl" "$@"; }

# until_shown '<expression over it>' <arguments of rangerctl…>: until what it shows is so. One process
# asks again and again, so that waiting leaves the machine to those who are waited for.
until_shown() { RANGERCTL_ADDR=localhost:$BASE_PORT RANGERCTL_PROXY=localhost:$((BASE_PORT + 100)) node "$ROOT/test/e2e/tools/until.mjs" "$PATIENCE_S" "$@"; }

# Every range is active, and served by one node.
until_placed() {
  until_shown 'const open = it.ranges.filter((r) => r.state === "RS_ACTIVE");
    open.length > 0 && open.every((r) => r.placements.filter((p) => p.range_info?.serving).length === 1)' ranges
}

# Nothing goes on any more: every range that is left is available, with its one copy.
until_settled() {
  until_shown 'const open = it.ranges.filter((r) => r.state !== "RS_OBSOLETE" || r.placements.length > 0);
    open.length > 0 && open.every((r) => r.state === "RS_ACTIVE" && !r.unavailable && r.placements.length === 1 && r.placements[0].range_info?.state === "ACTIVE" && r.placements[0].range_info.serving)' ranges
}

# until_owned <range> <ident>: by the node on which it is to be active.
until_owned() { until_shown "it.placements.some((p) => p.placement.state === 'PS_ACTIVE' && p.placement.node === '$2')" range "$1"; }
until_unavailable() { until_shown 'it.unavailable' range "$1"; }
until_empty() { until_shown 'it.ranges.length === 0' node "$1"; }

# json '<expression over it>': reads JSON on standard input, as `jq` would, which may not be there.
json() { node -e 'const it = JSON.parse(require("fs").readFileSync(0, "utf8")); const out = eval(process.argv[1]); console.log(typeof out === "string" ? out : JSON.stringify(out));' "$1"; }

# start_consul: a real agent on free ports; sets COORDINATION. stop_consul ends it. One
# that was stopped comes back on its ports, with its data unless CONSUL_KEEPS is empty.
start_consul() {
  export CONSUL_PID COORDINATION CONSUL_PORTS
  local attempt binary keep=${CONSUL_PORTS:-}
  binary=$("$ROOT/bin/consul")
  for attempt in 1 2 3; do
    [[ -n $keep ]] || CONSUL_PORTS=$(free_ports 4)
    run_consul "$binary" $CONSUL_PORTS
    until_true 'Consul has a leader' consul_settled || { cat "$SCRATCH/consul.log" >&2; return 1; }
    alive "$CONSUL_PID" && return
    [[ -z $keep ]] || break
  done
  cat "$SCRATCH/consul.log" >&2
  return 1
}

run_consul() {
  local mode=(-dev)
  [[ -z ${CONSUL_KEEPS=yes} ]] || mode=(-server -bootstrap-expect 1 -data-dir "$SCRATCH/consul")
  "$1" agent "${mode[@]}" -bind 127.0.0.1 -client 127.0.0.1 -http-port "$2" -server-port "$3" \
    -serf-lan-port "$4" -serf-wan-port "$5" -dns-port -1 -grpc-port -1 -log-level warn >"$SCRATCH/consul.log" 2>&1 3>&- &
  CONSUL_PID=$!
  COORDINATION=consul://127.0.0.1:$2
}

consul_settled() { dead "$CONSUL_PID" || consul_leads; }

consul_leads() {
  node -e 'fetch(process.argv[1].replace("consul", "http") + "/v1/status/leader").then((r) => r.json()).then((leader) => process.exit(leader ? 0 : 1), () => process.exit(1))' "$COORDINATION"
}

stop_consul() {
  [[ -n ${CONSUL_PID:-} ]] || return 0
  kill -9 "$CONSUL_PID" 2>/dev/null || true
  wait "$CONSUL_PID" 2>/dev/null || true
  until_true 'Consul is gone' dead "$CONSUL_PID"
  CONSUL_PID=''
}

# free_ports <count>: on one line
free_ports() {
  node -e '
    const { createServer } = require("net");
    Promise.all(Array.from({ length: Number(process.argv[1]) }, () => new Promise((resolve) => { const s = createServer().listen(0, "127.0.0.1", () => resolve(s)); })))
      .then((servers) => { console.log(servers.map((s) => s.address().port).join(" ")); servers.forEach((s) => s.close()); });' "$1"
}

# start_on embedded|consul <arguments of bin/dev…>: a cluster on that coordination, which serves.
start_on() {
  [[ $1 != consul ]] || start_consul
  start_cluster "${@:2}"
  until_placed
}

stop_all() {
  stop_cluster
  stop_consul
}

# each_test <group>: registers every function test_* as a test, in the order in which they
# stand; its words are its name.
each_test() {
  local name words
  shopt -s extdebug
  local names
  names=$(for name in $(compgen -A function test_); do declare -F "$name"; done | sort -k2,2n | cut -d' ' -f1)
  shopt -u extdebug
  for name in $names; do
    words=${name#test_}
    bats_test_function --description "$1: ${words//_/ }" -- "$name"
  done
}

# address_of node.1
address_of() { echo "localhost:$(port_of "$1")"; }

# kv put|check <address> <prefix>:<count>:<bytes>…: many keys; values follow from keys
kv() { node "$ROOT/test/e2e/tools/kv.mjs" "$@"; }

# start_hammer <arguments…>: in the background, through the proxy, until stop_hammer, which
# fails on any error, wrong or missing value; what may fail is said by a --max-errors. Returns
# when the first request was answered.
start_hammer() {
  HAMMER_REPORT=$SCRATCH/hammer.json
  in_background "$HAMMER_REPORT" "$ROOT/bin/hammer" --addr "$(address_of proxy.1)" --max-errors 0 --json "$@"
  HAMMER_PID=$BACKGROUND_PID
  until_true 'the hammer is answered' hammer_runs
  [[ ! -s $HAMMER_REPORT.exit ]] || { cat "$HAMMER_REPORT" "$HAMMER_REPORT.err" >&2; return 1; }
}
hammer_runs() { [[ -s $HAMMER_REPORT.exit ]] || grep -q '^hammering ' "$HAMMER_REPORT.err" 2>/dev/null; }

stop_hammer() {
  kill -INT "$HAMMER_PID"
  until_true 'the hammer has stopped' test -s "$HAMMER_REPORT.exit"
  if [[ $(<"$HAMMER_REPORT.exit") -ne 0 ]]; then
    cat "$HAMMER_REPORT" "$HAMMER_REPORT.err" >&2
    return 1
  fi
  json 'it.passed && it.wrong === 0 && it.missing === 0 && it.verification.unreadable === 0 ? `${it.operations.all.ok} requests, longest gap ${it.longest_gap_ms} ms` : process.exit(1)' <"$HAMMER_REPORT"
}

# in_background <file> <command…>: its output goes to the file, its exit code to <file>.exit,
# where another test of the file can find it too. Sets BACKGROUND_PID.
in_background() {
  local file=$1
  shift
  rm -f "$file" "$file.err" "$file.exit" "$file.pid"
  {
    "$@" >"$file" 2>"$file.err" &
    echo $! >"$file.pid"
    wait $! && echo 0 >"$file.exit" || echo $? >"$file.exit"
  } 3>&- &
  until_true "$1 was started" test -s "$file.pid"
  BACKGROUND_PID=$(<"$file.pid")
}

# owner_of <range>: the ident of the node on which it is active, if it is.
owner_of() { rctl range "$1" | json 'it.placements.filter((p) => p.placement.state === "PS_ACTIVE").map((p) => p.placement.node).join()'; }
owned_by() { [[ $(owner_of "$1" 2>/dev/null) == "$2" ]]; }

# layout: `1:14200 2:14201`, the ranges that serve and where they do, in the order of their keys.
layout() { node "$ROOT/test/e2e/tools/layout.mjs" "localhost:$BASE_PORT"; }
is_layout() { [[ $(layout 2>/dev/null) == "$*" ]]; }
becomes() { node "$ROOT/test/e2e/tools/layout.mjs" "localhost:$BASE_PORT" "$PATIENCE_S" "$*"; }

# refused <exit code> <part of the message> <command…>: one that must fail, with that said.
refused() {
  local code=$1 part=$2
  shift 2
  run --separate-stderr "$@"
  [[ $status -eq $code && $output$stderr == *"$part"* ]] && return
  printf 'wanted exit code %s and "%s", got %s and:\n%s\n%s\n' "$code" "$part" "$status" "$output" "$stderr" >&2
  return 1
}
