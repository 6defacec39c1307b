# The usage of MetroDB: its REST commands and its utility's, as its document has them.

bats_require_minimum_version 1.5.0
load helpers
load seed

setup_file() {
  start_cluster
  until_placed
  export REST_PORT
  REST_PORT=$(free_ports 1)
  "$ROOT/bin/proxy" --listen localhost:0 --ident rest --coordination "embedded://localhost:$BASE_PORT" --rest-addr "localhost:$REST_PORT" >"$BATS_FILE_TMPDIR/proxy.log" 2>&1 3>&- &
  echo $! >"$BATS_FILE_TMPDIR/proxy.pid"
  until_true 'the proxy answers REST' answers_rest
  export HOSTS="localhost:7080 localhost:$REST_PORT
/<my>/<file>/<location>.<fileending> $BATS_FILE_TMPDIR/my.file
<key> a-key
<value> a value"
}
teardown_file() {
  kill "$(<"$BATS_FILE_TMPDIR/proxy.pid")"
  stop_cluster
}

answers_rest() { [[ $(curl -s -o /dev/null -w '%{http_code}' "localhost:$REST_PORT/none") == 404 ]]; }

@test "REST: a value from the command line" {
  as_written 'curl -X POST localhost:7080/<key> -d "<value>"'
  [[ $(as_written 'curl localhost:7080/<key>') == 'a value' ]]
}

@test "REST: a value from a file, and into one" {
  printf 'of a file' >"$BATS_FILE_TMPDIR/my.file"
  as_written 'curl -X POST localhost:7080/<key> -d "@/<my>/<file>/<location>.<fileending>"'
  rm "$BATS_FILE_TMPDIR/my.file"
  as_written 'curl localhost:7080/<key> --output /<my>/<file>/<location>.<fileending>'
  [[ $(<"$BATS_FILE_TMPDIR/my.file") == 'of a file' ]]
}

@test "every write answers with its offset, which grows" {
  local first second
  first=$(as_written 'curl -X POST localhost:7080/<key> -d "<value>"' | json it.offset)
  second=$(as_written 'curl -X POST localhost:7080/<key> -d "<value>"' | json it.offset)
  ((second > first))
}

@test "the utility's set is put" {
  rctl put a-key 'by the utility'
  [[ $(as_written 'curl localhost:7080/<key>') == 'by the utility' ]]
}
