# Placing, moving, splitting and joining on a healthy cluster. The tests of a file share
# one, which holds keys of all kinds from the start; each begins by making one range of it.

bats_require_minimum_version 1.5.0

share_cluster() {
  start_on "$1"
  kv put "$(address_of proxy.1)" a:300:100 s:300:100 z:2:8388608
}

data_is_there() {
  kv check "${1:-$(address_of proxy.1)}" a:300:100 s:300:100 z:2:8388608
}

ident_of() { port_of "$1"; }

# one_range: joins whatever there is, and has it on node.1. Sets R.
one_range() {
  local ranges
  until
    read -ra ranges <<<"$(layout)"
    [[ ${#ranges[@]} -eq 1 ]]
  do rctl join "${ranges[0]%:*}" "${ranges[1]%:*}" >/dev/null; done
  R=${ranges[0]%:*}
  [[ ${ranges[0]#*:} == "$(ident_of node.1)" ]] || rctl move "$R" "$(ident_of node.1)" >/dev/null
  becomes "$R:$(ident_of node.1)"
}

test_the_first_range_is_placed_by_itself_and_serves() {
  [[ $(rctl nodes | json 'it.nodes.map((n) => n.node.ident).sort().join(" ")') == "$(ident_of node.1) $(ident_of node.2) $(ident_of node.3)" ]]
  [[ $(rctl range 1 | json '`${it.state} ${it.meta.start}-${it.meta.end} ${it.parents}`') == 'RS_ACTIVE - ' ]]
  [[ $(rctl nodes | json 'it.nodes.flatMap((n) => n.ranges).filter((r) => r.state === "PS_ACTIVE").length') == 1 ]]
  data_is_there
}

test_keys_are_put_got_and_deleted_through_the_proxy_and_straight_to_the_node() {
  one_range
  local owner
  owner=$(address_of node.1)
  rctl put greeting hello
  [[ $(rctl get greeting) == hello && $(rctl --addr "$owner" get greeting) == hello ]]
  rctl --addr "$owner" put greeting goodbye
  [[ $(rctl get greeting) == goodbye ]]
  # An empty value is a value.
  rctl put greeting ''
  run rctl get greeting
  [[ $status -eq 0 && $output == '' ]]
  rctl del greeting
  refused 3 'greeting' rctl get greeting
  refused 3 'greeting' rctl --addr "$owner" get greeting
  # A node without the range says so, so that the caller looks for a newer map.
  refused 1 'stale' rctl --addr "$(address_of node.2)" get greeting
}

test_values_of_8_MiB_and_no_byte_more() {
  one_range
  local value=$BATS_TEST_TMPDIR/value to
  node -e 'process.stdout.write(require("crypto").randomBytes(8 * 1024 * 1024))' >"$value"
  for to in proxy.1 node.1; do
    rctl --addr "$(address_of $to)" put big <"$value"
    rctl --addr "$(address_of $to)" get big | cmp - "$value"
  done
  printf x >>"$value"
  refused 2 '8388608 bytes (8 MiB)' rctl put big "@$value"
  rctl del big
}

test_keys_and_values_of_any_bytes() {
  one_range
  # 00 ff fe
  rctl put b64:AP/+ b64 </dev/null
  [[ $(rctl get b64:AP/+) == b64 ]]
  printf '\0\xff\n\n' | rctl put b64:AP/+
  [[ $(rctl get b64:AP/+ | od -An -tx1 | tr -d ' ') == 00ff0a0a ]]
  rctl split "$R" b64:AP/+
  [[ $(rctl ranges | json 'it.ranges.filter((r) => r.state === "RS_ACTIVE").map((r) => r.meta.start + "-" + r.meta.end).sort().join()') == -AP/+,AP/+- ]]
  [[ $(rctl get b64:AP/+ | od -An -tx1 | tr -d ' ') == 00ff0a0a ]]
  rctl del b64:AP/+
  refused 3 b64:AP/+ rctl get b64:AP/+
}

test_move_to_a_named_node_and_to_one_that_the_controller_chooses() {
  one_range
  data_is_there
  [[ $(rctl move "$R" "$(ident_of node.2)") == '{}' ]]
  is_layout "$R:$(ident_of node.2)"
  data_is_there "$(address_of node.2)"
  refused 1 'stale' rctl --addr "$(address_of node.1)" get a
  until_empty "$(ident_of node.1)"
  rctl move "$R"
  [[ $(owner_of "$R") =~ ^($(ident_of node.1)|$(ident_of node.3))$ ]]
  data_is_there
}

test_split_in_place_and_join_in_place() {
  one_range
  local here
  here=$(ident_of node.1)
  rctl --steps split "$R" m 2>"$BATS_TEST_TMPDIR/steps"
  becomes "$((R + 1)):$here $((R + 2)):$here"
  data_is_there
  refused 1 "no range $R any more" rctl split "$R" x
  rctl --steps join $((R + 1)) $((R + 2)) 2>>"$BATS_TEST_TMPDIR/steps"
  becomes "$((R + 3)):$here"
  data_is_there
  # Nothing was copied.
  grep -q '"kind":"step"' "$BATS_TEST_TMPDIR/steps"
  ! grep -q '"kind":"progress"' "$BATS_TEST_TMPDIR/steps"
}

test_split_to_named_nodes_and_join_on_a_third_by_a_name_that_is_nearly_right() {
  one_range
  local left=$((R + 1)) right=$((R + 2)) target near
  rctl split "$R" m "$(ident_of node.3)" "$(ident_of node.1)"
  becomes "$left:$(ident_of node.3) $right:$(ident_of node.1)"
  data_is_there
  [[ $(rctl range $right | json 'Buffer.from(it.meta.start, "base64") + " " + it.parents') == "m $R" ]]
  target=$(ident_of node.2)
  # Two digits the wrong way round, as one types them.
  near=${target:0:2}${target:3:1}${target:2:1}${target:4}
  if [[ $near == "$target" ]]; then near=${target}9; fi
  refused 1 "there is no node $near; did you mean $target?" rctl join $left $right "$near"
  is_layout "$left:$(ident_of node.3)" "$right:$(ident_of node.1)"
  rctl join $left $right "$target"
  becomes "$((R + 3)):$target"
  data_is_there
  until_empty "$(ident_of node.1)"
}

test_a_hammer_meets_no_error_while_ranges_are_moved_split_and_joined() {
  one_range
  start_hammer
  local nodes=("$(ident_of node.1)" "$(ident_of node.2)" "$(ident_of node.3)") round
  for round in 0 1; do
    rctl move "$R" "${nodes[(round + 1) % 3]}"
    rctl split "$R" n
    rctl move $((R + 1))
    rctl move $((R + 2)) "${nodes[(round + 2) % 3]}"
    rctl join $((R + 1)) $((R + 2)) "${nodes[round]}"
    rctl split $((R + 3)) f "${nodes[round]}" "${nodes[(round + 2) % 3]}"
    rctl join $((R + 4)) $((R + 5)) "${nodes[round]}"
    R=$((R + 6))
  done
  stop_hammer
  data_is_there
}
