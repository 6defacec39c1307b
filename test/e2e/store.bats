# kv.Store and HTTP on real processes, while ranges move.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
  start_cluster
  until_placed
}
teardown_file() { stop_cluster; }

proxy() { address_of proxy.1; }
lines() { wc -l <"$1"; }
has_lines() { [[ $(lines "$1") -ge $2 ]]; }

@test "a watch tells each acknowledged write once, a scan sees every key, while ranges move, split, and join" {
  local watched=$SCRATCH/watched wrote=$SCRATCH/wrote id i
  seq 3000 | sed 's/.*/{"key":"n&","value":"&"}/' | rctl import -
  in_background "$watched" rctl watch-keys
  local watcher=$BACKGROUND_PID
  until_true 'the watch has begun' has_lines "$watched" 1
  in_background "$wrote.a" node "$ROOT/test/e2e/tools/writer.mjs" "$(proxy)" a 5
  local writers=$BACKGROUND_PID
  in_background "$wrote.z" node "$ROOT/test/e2e/tools/writer.mjs" "$(proxy)" z 5
  writers+=" $BACKGROUND_PID"
  id=1
  for i in 1 2; do
    rctl move $id "$(port_of "node.$((i + 1))")"
    rctl split $id n2 "$(port_of node.1)" "$(port_of node.3)" &
    [[ $(rctl scan n --keys-only | wc -l) -eq 3000 ]]
    [[ $(rctl scan n --keys-only --reverse | sort -u | wc -l) -eq 3000 ]]
    wait $!
    rctl join $((id + 1)) $((id + 2)) "$(port_of node.2)" &
    [[ $(curl -sf "http://$(proxy)/kv/?prefix=n&keys_only" | json it.items.length) -eq 3000 ]]
    [[ $(curl -sfL "http://$(address_of node.3)/kv/?prefix=n&keys_only" | json it.items.length) -eq 3000 ]]
    wait $!
    id=$((id + 3))
  done
  kill -TERM $writers
  until_true 'the writers have stopped' test -s "$wrote.a.exit" -a -s "$wrote.z.exit"
  [[ $(<"$wrote.a.exit")$(<"$wrote.z.exit") == 00 ]] || { cat "$wrote".*.err >&2; return 1; }
  cat "$wrote.a" "$wrote.z" | sort >"$wrote"
  until_true 'everything was told' has_lines "$watched" $(($(lines "$wrote") + 1))
  kill -INT "$watcher"
  sed 's/,"token":[^}]*//; /^{"token"/d' "$watched" | sort | diff - "$wrote"
  echo "# $(lines "$wrote") writes" >&3
}

@test "grpcurl's calls are answered by node and proxy: conditional put, batch, delete" {
  local name put
  put='{"key":"Z3JwYw==","value":"MQ==","condition":{"absent":true}}'
  for name in proxy.1 node.2; do
    [[ $(grpc "$name" Put "$put" | json it.applied) == true ]]
    [[ $(grpc "$name" Put "$put" | json '`${it.applied} ${it.present}`') == 'false true' ]]
    [[ $(grpc "$name" Batch '{"operations":[{"get":{"key":"Z3JwYw=="}},{"get":{"key":"bm9uZQ=="}}]}' | json 'it.answers.map((a) => a.value ? "value" : a.failure.code).join()') == value,5 ]]
    [[ $(grpc "$name" Delete '{"key":"Z3JwYw=="}' | json it.applied) == true ]]
  done
}

grpc() { node "$ROOT/test/e2e/tools/store.mjs" "$(address_of "$1")" "$2" "$3"; }
