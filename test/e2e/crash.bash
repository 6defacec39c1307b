# Processes that are killed, or told to stop, in the middle of something. Each test has
# a cluster of its own.

bats_require_minimum_version 1.5.0

# keys_everywhere: three ranges, one a node, with keys in each. Their layout is in LAYOUT.
keys_everywhere() {
  kv put "$(address_of proxy.1)" a:200:100 n:200:100 z:200:100
  rctl split 1 m "$(port_of node.1)" "$(port_of node.2)"
  rctl split 3 t "$(port_of node.2)" "$(port_of node.3)"
  LAYOUT="2:$(port_of node.1) 4:$(port_of node.2) 5:$(port_of node.3)"
  becomes $LAYOUT
}
keys_are_there() { kv check "$(address_of proxy.1)" a:200:100 n:200:100 z:200:100; }

test_a_move_goes_on_after_its_controller_was_killed_in_the_middle() {
  kv put "$(address_of proxy.1)" a:200:100 n:200:100 z:200:100
  local from to
  from=$(owner_of 1)
  to=$(port_of node.3)
  [[ $from != "$to" ]] || to=$(port_of node.2)
  hold "node.$((to - BASE_PORT - 200 + 1))"
  rctl move 1 "$to" >"$BATS_TEST_TMPDIR/move" 2>&1 3>&- &
  local move=$!
  until_preparing "$to"
  kill_hard controller.1
  ! wait "$move"
  grep -q 'lost the connection\|cannot reach' "$BATS_TEST_TMPDIR/move"
  # Without a controller everything serves on.
  keys_are_there
  start_again controller.1
  becomes "1:$to"
  keys_are_there
  until_empty "$from"
  # And the next operation is taken.
  rctl move 1 "$from"
  keys_are_there
}

test_controllers_killed_at_each_step_of_moves_under_load() {
  keys_everywhere
  start_hammer
  local step to here=0 steps
  to=("$(port_of node.2)" "$(port_of node.3)" "$(port_of node.1)")
  for step in 'New -> Pending' 'Active -> Inactive' 'Inactive -> Active'; do
    # A file for each: under load the shell that truncates one may come later than who reads it.
    steps=$BATS_TEST_TMPDIR/move-$here
    in_background "$steps" rctl --steps move 2 "${to[here]}"
    until_true "the step $step" grep -q -- "$step" "$steps.err" || { cat "$steps.err" >&2; return 1; }
    kill_hard controller.1
    until_true 'rangerctl has ended' test -s "$steps.exit"
    start_again controller.1
    becomes "2:${to[here]}" "${LAYOUT#* }"
    here=$((here + 1))
  done
  stop_hammer
  keys_are_there
}

test_everything_is_there_after_every_process_was_killed_and_started_again() {
  keys_everywhere
  start_hammer
  # The hammer writes.
  until_shown 'it.ranges.reduce((n, r) => n + Number(r.info?.info?.keys ?? 0), 0) > 200' node "$(port_of node.1)"
  stop_hammer
  local name
  for name in controller.1 proxy.1 node.1 node.2 node.3; do kill -9 "$(pid_of $name)"; done
  stop_cluster
  start_cluster
  # Served at once, and without anybody doing anything.
  keys_are_there
  becomes $LAYOUT
  rctl put after all
  [[ $(rctl get after) == all ]]
  rctl move 2
  keys_are_there
}

test_a_node_that_was_killed_serves_again_and_has_lost_nothing() {
  keys_everywhere
  # What was on its way when the node died may fail; nothing may be lost.
  start_hammer --max-errors 1000000
  local name
  for name in node.1 node.3; do
    kill_hard $name
    start_again $name
    becomes $LAYOUT
  done
  stop_hammer
  keys_are_there
}

test_SIGTERM_finishes_what_is_in_flight_leaves_discovery_and_exits_with_0() {
  keys_everywhere
  start_hammer
  local name ident
  for name in node.2 node.3; do
    ident=$(port_of $name)
    kill -TERM "$(pid_of $name)"
    until_true "$name exits with 0" grep -Eq "$name (stopped|died|ended).*exit code 0" "$DEV_LOG"
    # Gone from the list at once, not when somebody misses it.
    ! rctl nodes | json 'it.nodes.map((n) => n.node.ident).join()' | grep -q "$ident"
    start_again $name
  done
  # The hammer met no error: its requests were finished, or held until the node was back.
  stop_hammer
  keys_are_there
  for name in proxy.1 controller.1; do
    kill -TERM "$(pid_of $name)"
    until_true "$name exits with 0" grep -Eq "$name (stopped|died|ended).*exit code 0" "$DEV_LOG"
  done
}
