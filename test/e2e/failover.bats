# Several controllers on a real Consul: one leads, and another takes over when it is
# gone, in the middle of whatever it did. Nodes take their time at every commit, so
# that there is a middle.

bats_require_minimum_version 1.5.0
load helpers

SLOW=before-prepare-commit=delay:300,before-deactivate-commit=delay:300,before-hand-over-commit=delay:300,before-activate-commit=delay:600,before-drop-commit=delay:300

setup() {
  start_consul
  export FAILPOINT=$SLOW
  start_cluster -m controller=2,proxy=1,node=3
  N1=$(port_of node.1) N2=$(port_of node.2) N3=$(port_of node.3)
  until_true 'the first range serves' serves
}

teardown() {
  [[ -z ${STOPPED_PID:-} ]] || kill -CONT "$STOPPED_PID" 2>/dev/null || true
  [[ -z ${HAMMER_PID:-} ]] || kill -9 "$HAMMER_PID" 2>/dev/null || true
  stop_all
}

serves() { [[ $(layout 2>/dev/null) == 1:[0-9]* ]]; }

# lock: who leads, as Consul has it: `controller.1 3` is its name and its term
lock() {
  node -e '
    const [address, base] = process.argv.slice(1);
    fetch(address.replace("consul", "http") + "/v1/kv/controller/leader").then((r) => r.json()).then(([pair]) => {
      if (!pair.Session) process.exit(1);
      const { ident, term } = JSON.parse(Buffer.from(pair.Value, "base64"));
      console.log(`controller.${Number(ident) - base + 1} ${term}`);
    }).catch(() => process.exit(1));' "$COORDINATION" "$BASE_PORT"
}
leader() { local held; held=$(lock) && echo "${held% *}"; }
term() { local held; held=$(lock) && echo "${held#* }"; }
follower() { [[ $(leader) == controller.1 ]] && echo controller.2 || echo controller.1; }
leads() { [[ $(leader 2>/dev/null) == "$1" ]]; }

at() { RANGERCTL_ADDR=$(address_of "$1") "$ROOT/bin/rangerctl" "${@:2}"; }
now_ms() { date +%s%3N; }

# settled <controller>: every range that serves has one copy, which is active and serving, and nothing else is left
settled() {
  at "$1" ranges | json 'const open = it.ranges.filter((r) => r.state !== "RS_OBSOLETE" || r.placements.length > 0);
    process.exit(open.length > 0 && open.every((r) => r.state === "RS_ACTIVE" && r.placements.length === 1 && r.placements[0].range_info?.state === "ACTIVE" && r.placements[0].range_info.serving) ? 0 : 1)'
}
is_settled() { settled "$1" >/dev/null 2>&1; }
logged() { since_start | grep -q "$1"; }

# other_than <ident>: a node that the range is not on
other_than() { [[ $1 == "$N2" ]] && echo "$N3" || echo "$N2"; }

@test "any controller may be asked: a follower answers what is, and passes commands on with their reports" {
  local second target
  second=$(follower)
  target=$(other_than "$(owner_of 1)")
  run --separate-stderr at "$second" move 1 "$target" --steps
  [[ $status -eq 0 && $stderr == *'"kind":"step"'* ]]
  until_true 'the follower has read of it' is_settled "$second"
  [[ $(at "$second" range 1 | json 'it.placements[0].placement.node') == "$target" ]]
  refused 1 'already has R1' at "$second" move 1 "$target"
}

@test "the leader killed in the middle of a move: another finishes it, and nobody notices" {
  local first second target killed
  first=$(leader) second=$(follower)
  target=$(other_than "$(owner_of 1)")
  start_hammer
  # Asked at the one that follows: it passes the move on, and sees it through.
  in_background "$SCRATCH/move" at "$second" move 1 "$target"
  until_true 'the hand-over is under way' logged 'R1 P.@.*: Active -> Inactive'
  killed=$(now_ms)
  kill_hard "$first"
  run --separate-stderr at "$second" status
  # That nobody leads is trouble; on a busy machine somebody may by now.
  [[ $status -eq 1 && $output == *DEGRADED* ]] || leads "$second"
  until_true 'another leads' leads "$second"
  echo "# another leads after $(($(now_ms) - killed)) ms" >&3
  until_true 'the move is over' is_settled "$second"
  echo "# the move was over after $(($(now_ms) - killed)) ms" >&3
  until_true 'whoever asked for it is told so' test -s "$SCRATCH/move.exit"
  cat "$SCRATCH/move" "$SCRATCH/move.err" | sed 's/^/# /' >&3
  [[ $(<"$SCRATCH/move.exit") -eq 0 ]]
  [[ $(at "$second" range 1 | json 'it.placements[0].placement.node') == "$target" ]]
  start_again "$first"
  stop_hammer >"$SCRATCH/load"
  echo "# $(<"$SCRATCH/load")" >&3
}

@test "the leader killed again and again, in moves, splits and joins, at whatever moment" {
  local first second round ids
  start_hammer
  for round in 0.2 0.7 1.2; do
    first=$(leader) second=$(follower)
    ids=($(at "$second" ranges | json 'it.ranges.filter((r) => r.state === "RS_ACTIVE").sort((a, b) => Buffer.compare(Buffer.from(a.meta.start, "base64"), Buffer.from(b.meta.start, "base64"))).map((r) => r.meta.ident).join(" ")'))
    if [[ ${#ids[@]} -eq 1 ]]; then at "$first" split "${ids[0]}" m "$N2" "$N3" >/dev/null 2>&1 3>&- &
    else at "$first" join "${ids[0]}" "${ids[1]}" "$N1" >/dev/null 2>&1 3>&- & fi
    sleep "$round"
    kill_hard "$first"
    until_true 'another leads' leads "$second"
    until_true 'the operation is over' is_settled "$second"
    start_again "$first"
  done
  stop_hammer >"$SCRATCH/load"
  echo "# $(<"$SCRATCH/load")" >&3
}

@test "a leader that stood still and wakes up when another has taken over does no harm" {
  local first second old target layout
  first=$(leader) second=$(follower) old=$(term)
  target=$(other_than "$(owner_of 1)")
  start_hammer
  at "$first" move 1 "$target" >/dev/null 2>&1 3>&- &
  until_true 'the move has begun' logged 'began an operation'
  STOPPED_PID=$(pid_of "$first")
  kill -STOP "$STOPPED_PID"
  until_true 'another leads' leads "$second"
  until_true 'the move is over' is_settled "$second"
  at "$second" move 1 "$N1" >/dev/null 2>&1 || [[ $(at "$second" range 1 | json 'it.placements[0].placement.node') == "$N1" ]]
  kill -CONT "$STOPPED_PID"
  until_true 'the old leader knows' logged "$first .*no longer leading"
  [[ $(term) -gt $old ]]
  is_settled "$second"
  [[ $(at "$second" range 1 | json 'it.placements[0].placement.node') == "$N1" ]]
  # What it might still have sent is refused, whatever its epoch.
  run node "$ROOT/test/e2e/tools/stale.mjs" "$(address_of node.1)" 1 "$old"
  [[ $output == *FAILED_PRECONDITION*"term $old"*"term $(term)"* ]]
  is_settled "$second"
  stop_hammer >"$SCRATCH/load"
  echo "# $(<"$SCRATCH/load")" >&3
}
