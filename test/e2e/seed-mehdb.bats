# The usage of mehdb: its commands, as its document has them.

bats_require_minimum_version 1.5.0
load helpers
load seed

setup_file() {
  primary_and_replica
  export HOSTS="mehdb-1.mehdb:9876 localhost:$REPLICA
mehdb:9876 localhost:$PRIMARY
localhost:9999 localhost:$PRIMARY
localhost:9876 localhost:$REPLICA
/tmp/test $BATS_FILE_TMPDIR/payload"
  # `http` is HTTPie, which need not be there.
  mkdir "$BATS_FILE_TMPDIR/bin"
  printf '#!/bin/sh\nexec node "%s" "$@"\n' "$ROOT/test/e2e/tools/httpie.mjs" >"$BATS_FILE_TMPDIR/bin/http"
  chmod +x "$BATS_FILE_TMPDIR/bin/http"
  export PATH=$BATS_FILE_TMPDIR/bin:$PATH
}
teardown_file() { stop_cluster; }

@test "access: write through any node, read from each" {
  as_written 'echo "test data" > /tmp/test'
  as_written 'curl -L -XPUT -T /tmp/test mehdb:9876/set/test'
  [[ $(as_written 'curl mehdb:9876/get/test') == 'test data' ]]
  until_true 'the follower has it' replica_has test 'test data'
  [[ $(as_written 'curl mehdb-1.mehdb:9876/get/test') == 'test data' ]]
}

@test "access: a follower sends the writer on, with what it writes" {
  as_written 'echo "more data" > /tmp/test'
  HOSTS="mehdb:9876 localhost:$REPLICA
/tmp/test $BATS_FILE_TMPDIR/payload" as_written 'curl -L -XPUT -T /tmp/test mehdb:9876/set/more'
  [[ $(as_written 'curl mehdb:9876/get/more') == 'more data' ]]
}

@test "endpoints: 404, status, and status in full" {
  [[ $(curl -s -o /dev/null -w '%{http_code}' "localhost:$PRIMARY/get/none") == 404 ]]
  [[ $(curl -s "localhost:$PRIMARY/status" | json it.role) == leader ]]
  [[ $(curl -s "localhost:$REPLICA/status" | json it.role) == follower ]]
  [[ $(curl -s "localhost:$PRIMARY/status?level=full" | json it.keys) == 2 ]]
}

@test "local development: write to the leader, read from both" {
  mkdir -p "$SCRATCH/test" && echo 'some data' >"$SCRATCH/test/somedata"
  as_written 'http PUT localhost:9999/set/abc < test/somedata'
  [[ $(as_written 'http localhost:9999/get/abc') == *'some data'* ]]
  until_true 'the follower has it' replica_has abc 'some data'
  [[ $(as_written 'http localhost:9876/get/abc') == *'some data'* ]]
}

@test "local development: a write to the follower is redirected" {
  mkdir -p "$SCRATCH/test" && echo 'some data' >"$SCRATCH/test/somedata"
  run -0 as_written 'http PUT localhost:9876/set/abc < test/somedata'
  [[ ${lines[0]} == 'HTTP/1.1 307 Temporary Redirect' ]]
  [[ ${output,,} == *'content-length: 0'* && ${output,,} == *"location: http://localhost:$PRIMARY/set/abc"* ]]
}
