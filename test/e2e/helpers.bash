# What the tests with real processes share. Every cluster has ports and a data
# directory of its own, so tests may run side by side. Nothing here sleeps for luck:
# each wait looks at what it waits for, and has an end.
#
#   setup()    { start_cluster; }          arguments go to bin/dev
#   teardown() { stop_cluster; }

ROOT=$(cd -P "$BATS_TEST_DIRNAME/../.." && pwd)
unset CONSUL_HTTP_ADDR COORDINATION DATA_DIR IDENT LISTEN BASE_PORT PORT

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
# Below the ports that the system gives out by itself.
free_base_port() {
  node -e '
    const { createServer } = require("net");
    const free = (port) => new Promise((resolve) => {
      const server = createServer().once("error", () => resolve(false)).listen(port, "localhost", () => server.close(() => resolve(true)));
    });
    (async () => {
      for (let i = 0; i < 200; i++) {
        const base = 10000 + 10 * Math.floor(Math.random() * 2000);
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
  DATA=${DATA:-$BATS_TEST_TMPDIR/data}
  DEV_LOG=${DEV_LOG:-$BATS_TEST_TMPDIR/dev.log}
  local attempt keep=${BASE_PORT:-}
  for attempt in 1 2 3 4 5; do
    [[ -n $keep ]] || BASE_PORT=$(free_base_port)
    : >"$DEV_LOG"
    "$ROOT/bin/dev" --base-port "$BASE_PORT" --data-dir "$DATA" --coordination "${COORDINATION:-embedded}" "$@" >>"$DEV_LOG" 2>&1 3>&- &
    DEV_PID=$!
    until_true 'the cluster is ready' cluster_settled || { show_log; return 1; }
    grep -q 'all ready after' "$DEV_LOG" && return
    # Somebody took one of the ports after we had looked.
    grep -q 'is taken by another process' "$DEV_LOG" && [[ -z $keep ]] && stop_cluster && continue
    show_log
    return 1
  done
  return 1
}

cluster_settled() { grep -Eq 'all ready after|is taken by another process' "$DEV_LOG" || dead "$DEV_PID"; }

show_log() { sed 's/^/# /' "$DEV_LOG" >&2; }

# stop_cluster: as Ctrl-C does; then whatever was started again by hand. Safe to call twice.
stop_cluster() {
  local pid
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
  AGAIN_PIDS="${AGAIN_PIDS:-} $!"
  mkdir -p "$DATA/run"
  echo $! >"$DATA/run/$name.pid"
  wait_ready "$port"
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
rctl() { RANGERCTL_ADDR=localhost:$(port_of controller.1) RANGERCTL_PROXY=localhost:$(port_of proxy.1) "$ROOT/bin/rangerctl" "$@"; }

# json '<expression over it>': reads JSON on standard input, as `jq` would, which may not be there.
json() { node -e 'const it = JSON.parse(require("fs").readFileSync(0, "utf8")); const out = eval(process.argv[1]); console.log(typeof out === "string" ? out : JSON.stringify(out));' "$1"; }

# start_consul: a real agent on free ports; sets COORDINATION. stop_consul ends it.
start_consul() {
  local ports port
  ports=$(node -e '
    const { createServer } = require("net");
    Promise.all([1, 2, 3, 4].map(() => new Promise((resolve) => { const s = createServer().listen(0, "127.0.0.1", () => resolve(s)); })))
      .then((servers) => { console.log(servers.map((s) => s.address().port).join(" ")); servers.forEach((s) => s.close()); });')
  set -- $ports
  port=$1
  "$("$ROOT/bin/consul")" agent -dev -bind 127.0.0.1 -client 127.0.0.1 -http-port "$1" -server-port "$2" \
    -serf-lan-port "$3" -serf-wan-port "$4" -dns-port -1 -grpc-port -1 >"$BATS_TEST_TMPDIR/consul.log" 2>&1 3>&- &
  CONSUL_PID=$!
  COORDINATION=consul://127.0.0.1:$port
  until_true 'Consul has a leader' consul_leads "$port"
}

consul_leads() {
  alive "$CONSUL_PID" || { cat "$BATS_TEST_TMPDIR/consul.log" >&2; return 1; }
  node -e 'fetch(`http://127.0.0.1:${process.argv[1]}/v1/status/leader`).then((r) => r.json()).then((leader) => process.exit(leader ? 0 : 1), () => process.exit(1))' "$1"
}

stop_consul() {
  [[ -n ${CONSUL_PID:-} ]] || return 0
  kill -9 "$CONSUL_PID" 2>/dev/null || true
  wait "$CONSUL_PID" 2>/dev/null || true
  CONSUL_PID=''
}
