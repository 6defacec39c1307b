# Data directories that cannot be used: said clearly, and nothing is damaged.

bats_require_minimum_version 1.5.0
load helpers

setup() { mounts=(); }
teardown() {
  stop_cluster
  local at
  for at in ${mounts[@]+"${mounts[@]}"}; do umount -l "$at" 2>/dev/null || true; done
}

# A node that is alone: what is wrong with its directory it must say before it looks for others.
lone_node() { timeout 30 "$ROOT/bin/node" --listen localhost:0 --coordination embedded://localhost:1 --data-dir "$1"; }
lone_controller() { timeout 30 "$ROOT/bin/controller" --listen localhost:0 --coordination embedded --data-dir "$1"; }

# with_data: a cluster that has one key, stopped; its directories are in NODE_DIR and CONTROLLER_DIR
with_data() {
  start_cluster -m controller=1,proxy=1,node=1
  rctl put kept value
  NODE_DIR=$DATA/node-$(port_of node.1) CONTROLLER_DIR=$DATA/controller
}
still_there() {
  start_cluster -m controller=1,proxy=1,node=1
  [[ $(rctl get kept) == value ]]
}

@test "a directory that another process uses" {
  with_data
  refused 1 "'$NODE_DIR' is in use by node $(port_of node.1) (process $(pid_of node.1))" lone_node "$NODE_DIR"
  refused 1 'is in use by a controller' lone_controller "$CONTROLLER_DIR"
  # Whoever holds it is not harmed, and after a kill -9 nothing is left that locks it.
  [[ $(rctl get kept) == value ]]
  kill_hard node.1
  start_again node.1
  until_true 'the key is served again' rctl get kept
}

@test "a directory that cannot be written" {
  with_data
  stop_cluster
  if [[ $(id -u) -eq 0 ]]; then
    # Nothing is forbidden to root but what is mounted so.
    mount --bind "$DATA" "$DATA" 2>/dev/null && mounts+=("$DATA") && mount -o remount,bind,ro "$DATA" || skip 'root here can neither be denied a directory nor mount one'
  else
    chmod a-w "$NODE_DIR" "$CONTROLLER_DIR"
  fi
  refused 1 "'$NODE_DIR' cannot be used" lone_node "$NODE_DIR"
  refused 1 "'$CONTROLLER_DIR' cannot be used" lone_controller "$CONTROLLER_DIR"
  refused 1 "'$NODE_DIR/new' cannot be used" lone_node "$NODE_DIR/new"
  if [[ $(id -u) -eq 0 ]]; then umount -l "$DATA"; else chmod u+w "$NODE_DIR" "$CONTROLLER_DIR"; fi
  still_there
}

# in_lmdb <file> <database> <script over db>: changes what is stored
in_lmdb() {
  (cd "$ROOT" && node --input-type=module -e '
    import { open } from "lmdb";
    const [file, name, script] = process.argv.slice(1);
    const env = open({ path: file, noSubdir: true, maxDbs: 8, encoding: "binary" });
    const db = env.openDB({ name, encoding: "binary" });
    await new Function("db", script)(db);
    await env.close();' "$@")
}

@test "a directory that a newer version wrote" {
  with_data
  stop_cluster
  local before
  before=$(cp "$NODE_DIR/data.mdb" "$BATS_TEST_TMPDIR/copy" && echo yes)
  in_lmdb "$NODE_DIR/data.mdb" meta 'return db.put("format", Buffer.from("99"))'
  refused 1 'format 99' lone_node "$NODE_DIR"
  [[ $output$stderr == *'version'* ]]
  in_lmdb "$NODE_DIR/data.mdb" meta 'return db.put("format", Buffer.from("1"))'
  still_there
}

@test "a damaged file is not opened, not changed, and does not crash anything" {
  with_data
  stop_cluster
  local file
  for file in "$NODE_DIR/data.mdb" "$CONTROLLER_DIR/coordination.mdb"; do
    cp "$file" "$BATS_TEST_TMPDIR/sound"
    head -c 8192 /dev/urandom | dd of="$file" conv=notrunc status=none
    cp "$file" "$BATS_TEST_TMPDIR/damaged"
    case $file in
      "$NODE_DIR"*) refused 1 'damaged' lone_node "$NODE_DIR" ;;
      *) refused 1 'damaged' lone_controller "$CONTROLLER_DIR" ;;
    esac
    cmp "$file" "$BATS_TEST_TMPDIR/damaged"
    # Cut off in the middle.
    cp "$BATS_TEST_TMPDIR/sound" "$file"
    truncate -s 12288 "$file"
    case $file in
      "$NODE_DIR"*) refused 1 'damaged' lone_node "$NODE_DIR" ;;
      *) refused 1 'damaged' lone_controller "$CONTROLLER_DIR" ;;
    esac
    cp "$BATS_TEST_TMPDIR/sound" "$file"
  done
  still_there
}

@test "a full disk refuses writes while reads go on, and takes them again when there is space" {
  [[ $(id -u) -eq 0 ]] || skip 'only root can mount a small disk'
  BASE_PORT=$(free_base_port) DATA=$BATS_TEST_TMPDIR/data
  local small=$DATA/node-$((BASE_PORT + 200)) i
  mkdir -p "$small"
  mount -t tmpfs -o size=48m none "$small" 2>/dev/null || skip 'this root may not mount a small disk'
  mounts+=("$small")
  head -c 16M /dev/zero >"$small/ballast"
  start_cluster -m controller=1,proxy=1,node=1
  rctl put kept value
  head -c 2M /dev/urandom >"$BATS_TEST_TMPDIR/value"
  for i in {1..40}; do
    rctl put "fill$i" "@$BATS_TEST_TMPDIR/value" 2>"$BATS_TEST_TMPDIR/why" || break
  done
  cat "$BATS_TEST_TMPDIR/why" >&2
  grep -q 'the disk is full' "$BATS_TEST_TMPDIR/why"
  refused 1 'the disk is full' rctl --addr "$(address_of node.1)" put one "@$BATS_TEST_TMPDIR/value"
  # Reads go on, and what was refused is not there.
  [[ $(rctl get kept) == value ]]
  rctl get fill1 | cmp - "$BATS_TEST_TMPDIR/value"
  refused 3 absent rctl get "fill$i"
  refused 3 absent rctl get one
  rm "$small/ballast"
  until_true 'writes are taken again' rctl put one "@$BATS_TEST_TMPDIR/value"
  rctl get one | cmp - "$BATS_TEST_TMPDIR/value"
  alive "$(pid_of node.1)"
  # And all of it is on the disk.
  kill_hard node.1
  start_again node.1
  until_true 'the key is served again' rctl get kept
  rctl get one | cmp - "$BATS_TEST_TMPDIR/value"
}

@test "the second of two nodes with one ident is refused and told so, and the first serves on" {
  with_data
  refused 1 "$(port_of node.1)" timeout 30 "$ROOT/bin/node" --listen localhost:0 --ident "$(port_of node.1)" \
    --coordination "embedded://localhost:$BASE_PORT" --data-dir "$BATS_TEST_TMPDIR/second"
  [[ $output$stderr == *'is taken'* || $output$stderr == *already* ]]
  [[ $(rctl get kept) == value ]]
}
