# Nodes that come and go in the middle of operations, and nodes that stand still, or
# return without their data. There is one copy of each range: it may have to wait for its
# node, and nothing may be wrong, missing or owned twice.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  start_cluster -m controller=1,proxy=1,node=3
  until_placed
  kv put "$(address_of proxy.1)" a:200:100 z:200:100
  FROM=$(owner_of 1)
  TO=$(port_of node.2)
  [[ $FROM != "$TO" ]] || TO=$(port_of node.3)
  SOURCE=$(name_of "$FROM") TARGET=$(name_of "$TO")
}

teardown() {
  [[ -z ${STOPPED_PID:-} ]] || kill -CONT "$STOPPED_PID" 2>/dev/null || true
  [[ -z ${HAMMER_PID:-} ]] || kill -9 "$HAMMER_PID" 2>/dev/null || true
  stop_cluster
}

# name_of 14202: node.3
name_of() { echo "node.$(($1 - BASE_PORT - 200 + 1))"; }

keys_are_there() { kv check "$(address_of proxy.1)" a:200:100 z:200:100; }

# begin <command of rangerctl…>: in the background, until the target prepares
begin() {
  OPERATION=$SCRATCH/operation
  in_background "$OPERATION" rctl "$@"
  until_preparing "$TO"
  # It is in the middle: the operation has not ended.
  [[ ! -s $OPERATION.exit ]]
}

# ended: the operation was done, or refused with a reason
ended() {
  until_true 'the operation has ended' test -s "$OPERATION.exit"
  local code why
  code=$(<"$OPERATION.exit") why=$(tail -n 1 "$OPERATION.err")
  [[ $code -eq 0 ]] || echo "# $why" >&3
  [[ $code -eq 0 || ($code -eq 1 && $why == 'rangerctl: '*' refused: '?*) ]] || { cat "$OPERATION" "$OPERATION.err" >&2; return 1; }
}

# none_failed: what was under way when the node died was sent again, and applied once
none_failed() {
  json 'it.errors === 0 && it.unknown_outcomes === 0 || process.exit(1)' <"$HAMMER_REPORT" >/dev/null && return
  json 'it.errors_by_kind' <"$HAMMER_REPORT" >&2
  return 1
}

# all_is_well: after an operation in which a node died and was back within the deadline of a request
all_is_well() {
  until_settled
  stop_hammer >"$SCRATCH/load"
  echo "# $(<"$SCRATCH/load")" >&3
  none_failed
  keys_are_there
}

@test "the source of a move is killed while the copy is being prepared, and comes back" {
  hold "$TARGET"
  start_hammer --max-errors 1000000
  begin --steps move 1 "$TO"
  bounce "$SOURCE"
  ended
  all_is_well
  is_layout "1:$FROM" || is_layout "1:$TO"
}

@test "the destination of a move is killed while it prepares, and comes back" {
  hold "$TARGET"
  start_hammer --max-errors 1000000
  begin --steps move 1 "$TO"
  bounce "$TARGET"
  ended
  all_is_well
  is_layout "1:$FROM" || is_layout "1:$TO"
}

@test "the node of a child is killed in the middle of a split, and comes back" {
  hold "$TARGET"
  start_hammer --max-errors 1000000
  begin --steps split 1 m "$FROM" "$TO"
  bounce "$TARGET"
  ended
  all_is_well
  if [[ $(<"$OPERATION.exit") -eq 0 ]]; then is_layout "2:$FROM" "3:$TO"; else is_layout "1:$FROM"; fi
}

@test "the node of a parent is killed in the middle of a join, and comes back" {
  rctl split 1 m
  becomes "2:$FROM" "3:$FROM"
  hold "$TARGET"
  start_hammer --max-errors 1000000
  begin --steps join 2 3 "$TO"
  bounce "$SOURCE"
  ended
  all_is_well
  if [[ $(<"$OPERATION.exit") -eq 0 ]]; then is_layout "4:$TO"; else is_layout "2:$FROM" "3:$FROM"; fi
}

@test "the node of the child is killed in the middle of a join, and comes back" {
  rctl split 1 m
  becomes "2:$FROM" "3:$FROM"
  hold "$TARGET"
  start_hammer --max-errors 1000000
  begin --steps join 2 3 "$TO"
  bounce "$TARGET"
  ended
  all_is_well
  if [[ $(<"$OPERATION.exit") -eq 0 ]]; then is_layout "4:$TO"; else is_layout "2:$FROM" "3:$FROM"; fi
}

# owners <range>: the nodes that say that they have it active, one by one
owners() {
  local name
  for name in node.1 node.2 node.3; do
    rctl node "$(port_of $name)" | json "it.ranges.some((r) => r.info?.meta?.ident === '$1' && r.info.state === 'ACTIVE') ? it.node.ident : ''"
  done | tr -d '\n'
}

not_served_by() { refused 1 stale rctl --addr "$(address_of "$(name_of "$1")")" get a00000; }

@test "the owner stands still and goes on: its range waits for it, and nobody else takes it" {
  local owner since name
  start_hammer --max-errors 1000000
  STOPPED_PID=$(pid_of "$SOURCE")
  kill -STOP "$STOPPED_PID"
  since=$SECONDS
  until_unavailable 1
  # Even when somebody wants it elsewhere.
  run ! rctl --timeout 2s move 1 "$TO"
  # Longer than a request may take, and than a node is missed.
  until ((SECONDS - since >= 30)); do
    for name in node.1 node.2 node.3; do [[ $name == "$SOURCE" ]] || not_served_by "$(port_of $name)"; done
  done
  kill -CONT "$STOPPED_PID"
  until_settled
  owner=$(owners 1)
  [[ $owner == "$FROM" || $owner == "$TO" ]]
  stop_hammer >"$SCRATCH/load"
  echo "# $(<"$SCRATCH/load")" >&3
  keys_are_there
}

@test "a node back with an empty directory under its old name is a stranger; with the old one it serves" {
  local data=$DATA/node-$FROM
  start_hammer --max-errors 1000000
  kill_hard "$SOURCE"
  mv "$data" "$data.kept"
  start_again "$SOURCE"
  until_shown "it.ranges.filter((r) => r.unavailable).some((r) => r.meta.ident === '1' && r.waiting.startsWith('$FROM came back with another disk'))" ranges
  # Nobody says that there is no such key: nobody knows.
  run --separate-stderr rctl --timeout 2s get a00000
  [[ $status -ne 0 && $status -ne 3 && $output$stderr != *NOT_FOUND* ]]
  not_served_by "$FROM"
  kill_hard "$SOURCE"
  rm -r "$data"
  mv "$data.kept" "$data"
  start_again "$SOURCE"
  until_settled
  stop_hammer >"$SCRATCH/load"
  echo "# $(<"$SCRATCH/load")" >&3
  keys_are_there
}
