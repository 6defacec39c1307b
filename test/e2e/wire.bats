# The wire contract is other people's too: what breaks it must not pass.

setup() {
  ROOT=$(cd -P "$BATS_TEST_DIRNAME/../.." && pwd)
  cd "$BATS_TEST_TMPDIR"
  cp "$ROOT/buf.yaml" .
  cp -R "$ROOT/proto" proto
  rm -rf proto/gen
}

breaking() { "$ROOT/node_modules/.bin/buf" breaking --against "$ROOT/proto/wire.baseline.binpb"; }

# changed <file> <sed script>: fails when the script changes nothing.
changed() {
  cp "$1" before
  sed -i.bak "$2" "$1"
  ! cmp -s "$1" before
}

@test "the contract as it is passes" {
  breaking
}

@test "a field with another number is caught" {
  changed proto/kv/kv.proto '/^message PutRequest/,/^}/s/value = 2/value = 3/'
  run breaking
  [[ $status -ne 0 && $output == *PutRequest* ]]
}

@test "a field with another type or name is caught" {
  changed proto/ranger/types.proto '/^message RangeMeta/,/^}/s/uint64 ident/string ident/'
  run breaking
  [[ $status -ne 0 && $output == *RangeMeta* ]]
  changed proto/ranger/types.proto '/^message RangeMeta/,/^}/s/string ident/uint64 id/'
  run breaking
  [[ $status -ne 0 ]]
}

@test "a method or an enum value that is gone is caught" {
  changed proto/kv/kv.proto '/rpc Dump/d'
  run breaking
  [[ $status -ne 0 && $output == *Dump* ]]
  cp "$ROOT/proto/kv/kv.proto" proto/kv/kv.proto
  changed proto/ranger/types.proto '/PS_DROPPED/d'
  run breaking
  [[ $status -ne 0 && $output == *PlacementState* ]]
}

@test "an addition of ours may change" {
  changed proto/kv/kv.proto 's/uint64 epoch = 100/uint64 epoch = 110/'
  breaking
}
