# What the tests of deploy/ share. All that they make is below .cache/deploy.

ROOT=$(cd -P "$BATS_TEST_DIRNAME/../.." && pwd)
CACHE=$ROOT/.cache/deploy
PATIENCE_S=${PATIENCE_S:-120}
unset COORDINATION CONSUL_HTTP_ADDR DATA_DIR IDENT LISTEN PORT REPLICAS

# until_true <what> <command…>: runs the command until it succeeds.
until_true() {
  local what=$1 end=$((SECONDS + PATIENCE_S))
  shift
  until "$@"; do
    if ((SECONDS >= end)); then
      printf 'waited %s s in vain until %s\n' "$PATIENCE_S" "$what" >&2
      return 1
    fi
    sleep 0.5
  done
}

# json '<expression over it>': of JSON on standard input.
json() { node -e 'const it = JSON.parse(require("fs").readFileSync(0, "utf8")); const out = eval(process.argv[1]); console.log(typeof out === "string" ? out : JSON.stringify(out));' "$1"; }

# free_ports <count>: on one line
free_ports() {
  node -e '
    const { createServer } = require("net");
    Promise.all(Array.from({ length: Number(process.argv[1]) }, () => new Promise((resolve) => { const s = createServer().listen(0, "127.0.0.1", () => resolve(s)); })))
      .then((servers) => { console.log(servers.map((s) => s.address().port).join(" ")); servers.forEach((s) => s.close()); });' "$1"
}

source "$ROOT/test/deploy/tools/store.bash"

# Without systemd, podman says with every container that it cannot time its health checks;
# the tests do. And what stays behind a container must not hold what bats waits for.
pod() { podman --log-level fatal "${STORE[@]}" "$@" 3>&-; }

# detached <flags and command…>: a container in the background; prints its id.
detached() {
  local file
  file=$(mktemp)
  pod run --detach "$@" >"$file" 2>>"$CACHE/podman.log" </dev/null
  cat "$file"
  rm "$file"
}

# run_image <flags of podman run, image, command…>: as read-only as deploy/ has it
run_image() { pod run --rm --read-only "$@"; }

# need_images: builds what the tests run, once; says what is missing.
need_images() { "$ROOT/test/deploy/tools/images" "$@"; }

IMAGE=localhost/keyranger:test
