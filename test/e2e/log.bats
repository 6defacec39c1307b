# A range's log by way of the proxy, while its primary changes and dies.

bats_require_minimum_version 1.5.0
load helpers

setup() { start_cluster --replicas 3; }
teardown() { stop_cluster; }

proxy() { address_of proxy.1; }
lines() { wc -l <"$1"; }
has_lines() { [[ $(lines "$1") -ge $2 ]]; }
three_in_sync() {
  [[ $(rctl range 1 | json '
    const primary = it.placements.find((p) => p.placement.state === "PS_ACTIVE");
    primary.range_info.replica.followers.filter((f) => f.in_sync && Number(f.silent_ms) < 2000).length') == 2 ]]
}

@test "who follows a log hears each acknowledged write once, over transfers, a fail-over and a split, and then that it ended" {
  local followed=$SCRATCH/followed wrote=$SCRATCH/wrote i owner
  until_true 'three copies are in sync' three_in_sync
  in_background "$wrote" node "$ROOT/test/e2e/tools/writer.mjs" "$(proxy)" w 100
  local writer=$BACKGROUND_PID
  until_true 'it writes' has_lines "$wrote" 10
  in_background "$followed" rctl log 1 --from 1 --follow
  for i in 1 2 3; do
    owner=$(owner_of 1)
    rctl transfer 1 "$(for i in 1 2 3; do port_of "node.$i"; done | grep -v "$owner" | head -1)"
  done
  kill -TERM "$writer"
  until_true 'the writer has stopped' test -s "$wrote.exit"
  [[ $(<"$wrote.exit") == 0 ]] || { cat "$wrote.err" >&2; return 1; }
  owner=$(owner_of 1)
  for i in 1 2 3; do [[ $(port_of "node.$i") != "$owner" ]] || break; done
  kill_hard "node.$i"
  rctl put --json w-after after --timeout 60s | json '({ key: "w-after", value: "after", epoch: +it.epoch, offset: +it.offset })' >>"$wrote"
  until_true 'everything was told' has_lines "$followed" "$(lines "$wrote")"
  start_again "node.$i"
  sed 's/,"time":[^}]*//' "$followed" | diff - "$wrote"
  until_true 'three copies are in sync again' three_in_sync
  rctl split 1 m
  until_true 'the log was ended' test -s "$followed.exit"
  [[ $(<"$followed.exit") == 3 && $(<"$followed.err") == *"R1 is no more, R2 has its keys: its log was told up to offset $(tail -n 1 "$wrote" | json it.offset)"* ]] || { cat "$followed.err" "$followed.exit" >&2; return 1; }
  refused 3 'R99 is on no node that is there' rctl log 99
  echo "# $(lines "$wrote") writes" >&3
}
