# Half of all control commands are delayed or fail, on every node, while operations are
# asked for one after the other and clients go on.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  export CHAOS=0.5 CHAOS_DELAY=100ms
  start_cluster -m controller=1,proxy=1,node=3
  until_settled
}

teardown() {
  [[ -z ${HAMMER_PID:-} ]] || kill -9 "$HAMMER_PID" 2>/dev/null || true
  stop_cluster
}

# Every range has one copy, which serves, and nothing else is left of any operation.
ranges() { rctl ranges | json 'it.ranges.filter((r) => r.state === "RS_ACTIVE").sort((a, b) => Buffer.compare(Buffer.from(a.meta.start, "base64"), Buffer.from(b.meta.start, "base64"))).map((r) => r.meta.ident).join(" ")'; }

@test "ten operations with half of all commands disturbed: nothing wrong, and every range serves in the end" {
  local i ids node done=0 refused=0
  start_hammer
  for i in $(seq 10); do
    ids=($(ranges))
    node=$(port_of "node.$((i % 3 + 1))")
    case $((i % 4)) in
      0 | 1) run --separate-stderr rctl move "${ids[0]}" "$node" ;;
      2) run --separate-stderr rctl split "${ids[-1]}" "$(printf "\\$(printf %o $((97 + i)))")" ;;
      3) if [[ ${#ids[@]} -gt 1 ]]; then run --separate-stderr rctl join "${ids[0]}" "${ids[1]}"; else run --separate-stderr rctl move "${ids[0]}" "$node"; fi ;;
    esac
    if [[ $status -eq 0 ]]; then done=$((done + 1)); else refused=$((refused + 1)); fi
    PATIENCE_S=60 until_settled
  done
  echo "# $done done, $refused taken back or refused with a reason" >&3
  [[ $((done + refused)) -eq 10 && $done -gt 0 ]]
  stop_hammer >"$SCRATCH/load"
  echo "# $(<"$SCRATCH/load")" >&3
  PATIENCE_S=0 until_settled
}
