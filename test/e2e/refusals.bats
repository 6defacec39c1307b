# What cannot be done is refused before anything changes, with the reason and what would
# work; what is malformed, and what is no request at all, harms nobody.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
  start_on embedded
  rctl split 1 m "$(port_of node.1)" "$(port_of node.2)"
  becomes "2:$(port_of node.1) 3:$(port_of node.2)"
  export UNCHANGED="2:$(port_of node.1) 3:$(port_of node.2)"
  # Their time-outs are long, so they go on beside the other tests; the last one looks.
  start_hammer
  export HAMMER_PID HAMMER_REPORT SCRATCH_OF_FILE=$BATS_FILE_TMPDIR
  in_background "$BATS_FILE_TMPDIR/noise" node "$ROOT/test/e2e/tools/noise.mjs" "$(port_of proxy.1)" "$(port_of node.1)" "$(port_of controller.1)"
}
teardown_file() { stop_all; }
setup() {
  one=$(port_of node.1) two=$(port_of node.2) three=$(port_of node.3)
}
unchanged() { is_layout $UNCHANGED; }

@test "an unknown range or node" {
  refused 1 'no range 99' rctl move 99
  refused 1 'no range 99' rctl split 99 x
  refused 1 'no range 99' rctl join 2 99
  refused 1 "there is no node nowhere; there are $one, $two, $three" rctl move 2 nowhere
  refused 1 'did you mean' rctl move 2 "${two}0"
  refused 1 'there is no node' rctl split 2 c nowhere
  refused 1 'there is no node' rctl join 2 3 nowhere
  refused 1 'no range 1 any more' rctl move 1
  refused 3 'no range 99' rctl range 99
  refused 3 'did you mean' rctl node "${three}0"
  unchanged
}

@test "a boundary outside the range, or at its start" {
  refused 1 'x is not in R2 [-inf, m)' rctl split 2 x
  refused 1 'not in R3 [m, +inf)' rctl split 3 a
  refused 1 'm' rctl split 3 m
  refused 2 'key is empty' rctl split 2 ''
  refused 2 'the limit is 1024 bytes' rctl split 2 "$(printf 'a%.0s' {1..1025})"
  unchanged
}

@test "ranges that are not adjacent, or the wrong way round" {
  refused 2 'cannot be joined with itself' rctl join 2 2
  refused 1 'R2' rctl join 3 2
  unchanged
  rctl split 3 t "$two" "$two"
  refused 1 'adjacent' rctl join 2 5
  rctl join 4 5 "$two"
  becomes "2:$one 6:$two"
  rctl move 2 "$three"
  rctl move 2 "$one"
  becomes "2:$one 6:$two"
}

@test "a destination that already has the range" {
  refused 1 "$one already has R2" rctl move 2 "$one"
}

@test "a range that is in an operation already" {
  hold node.3
  rctl move 2 "$three" >"$BATS_TEST_TMPDIR/move" 2>&1 3>&- &
  local move=$!
  until_preparing "$three"
  run --separate-stderr rctl move 2 "$two"
  wait "$move" || cat "$BATS_TEST_TMPDIR/move"
  # It serves nothing when it is started anew.
  rctl move 2 "$one"
  bounce node.3
  [[ $status -eq 1 && $stderr == *"R2 is already being moved to $three"* ]] || { echo "$stderr" >&2; false; }
}

@test "keys and values beyond the limits are refused by proxies and nodes, and nothing is stored" {
  local key to value=$BATS_TEST_TMPDIR/value
  key=$(printf 'k%.0s' {1..1024})
  head -c 8388609 /dev/zero >"$value"
  for to in "$(address_of proxy.1)" "$(address_of node.2)"; do
    rctl --addr "$to" put "$key" x || true
    node "$ROOT/test/e2e/tools/malformed.mjs" "$to" kv.KV
  done
  rctl put "$key" longest
  [[ $(rctl get "$key") == longest ]]
  refused 2 'key is empty' rctl put '' x
  refused 2 'the limit is 1024 bytes (1 KiB)' rctl put "${key}k" x
  refused 2 'the limit is 8388608 bytes (8 MiB)' rctl put k "@$value"
  refused 3 absent rctl get k
}

@test "malformed requests on every call are INVALID_ARGUMENT and name the field" {
  node "$ROOT/test/e2e/tools/malformed.mjs" "$(address_of controller.1)" ranger.Orchestrator ranger.Operations ranger.Debug ranger.Discovery
  node "$ROOT/test/e2e/tools/malformed.mjs" "$(address_of node.3)" ranger.Node kv.KV kv.Pipe kv.Store kv.Follow
  node "$ROOT/test/e2e/tools/malformed.mjs" "$(address_of proxy.1)" kv.KV kv.Pipe kv.Store
  nobody_died
}

nobody_died() {
  local name
  for name in controller.1 proxy.1 node.1 node.2 node.3; do
    alive "$(pid_of $name)"
    wait_ready "$(port_of $name)"
  done
  # Whom a test killed does not count.
  ! grep -E 'died|uncaught|unhandled' "$DEV_LOG" | grep -v 'killed by SIGKILL'
}

@test "garbage, half a preface and 1,000 idle connections are closed after a time-out while others are served" {
  until_true 'all are closed' test -s "$SCRATCH_OF_FILE/noise.exit"
  cat "$SCRATCH_OF_FILE/noise" "$SCRATCH_OF_FILE/noise.err" >&2
  [[ $(<"$SCRATCH_OF_FILE/noise.exit") == 0 ]]
  stop_hammer
  nobody_died
}
