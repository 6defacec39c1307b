# The SDK as it is published: packed, unpacked elsewhere, and the examples of its README
# compiled against it under both ways to resolve types, and run on real processes.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
  start_cluster
  program=$BATS_FILE_TMPDIR/program
  mkdir -p "$program/node_modules/keyranger"
  ln -s "$ROOT"/node_modules/* "$program/node_modules/"
  (cd "$ROOT" && npm pack --silent --ignore-scripts --offline --pack-destination "$BATS_FILE_TMPDIR" >/dev/null)
  tar -xzf "$BATS_FILE_TMPDIR"/keyranger-*.tgz -C "$program/node_modules/keyranger" --strip-components=1
  echo '{"type":"module"}' >"$program/package.json"
  node "$ROOT/test/e2e/tools/examples.mjs" "$ROOT/client/README.md" "$program" \
    "localhost:5100=$(address_of proxy.1)" "localhost:5000=$(address_of controller.1)"
  export program
}
teardown_file() { stop_cluster; }

compiles() { (cd "$program" && "$ROOT/node_modules/.bin/tsc" --strict --target es2022 --types node "$@" ./*.ts); }

@test "the examples compile where types are resolved as by a bundler" {
  compiles --noEmit --module esnext --moduleResolution bundler
}

@test "the examples compile where types are resolved as by Node, and print what the README says" {
  local printed
  compiles --module node16 --moduleResolution node16
  for printed in "$program"/*.txt; do
    (cd "$program" && node "$(basename "${printed%.txt}.js")") | diff "$printed" -
  done
}

@test "the package has what the SDK needs, and neither tests nor servers" {
  local files
  files=$(tar -tzf "$BATS_FILE_TMPDIR"/keyranger-*.tgz)
  [[ $files == *package/dist/client/index.js* && $files == *package/LICENSE* ]]
  [[ $files != *.test.* && $files != */testing/* && $files != *dist/node/* && $files != *dist/controller/* ]]
}

@test "nothing else of the package can be imported" {
  cd "$program"
  run node --input-type=module -e "await import('keyranger/dist/client/router.js')"
  [[ $status -ne 0 && $output == *ERR_PACKAGE_PATH_NOT_EXPORTED* ]]
}

@test "a counter counts right, and a watch tells each step once, while the range moves and the proxy and the owner are killed" {
  local out=$BATS_TEST_TMPDIR/counted
  cp "$ROOT/test/e2e/tools/counters.mjs" "$program/"
  in_background "$out" node "$program/counters.mjs" "$(address_of proxy.1)" "embedded://$(address_of controller.1)"
  local counters=$BACKGROUND_PID
  goes_on "$out"
  rctl move 1 "$(port_of node.2)"
  goes_on "$out"
  kill_hard proxy.1
  start_again proxy.1
  goes_on "$out"
  kill_hard node.2
  start_again node.2
  goes_on "$out"
  kill -TERM "$counters"
  until_true 'it has ended' test -s "$out.exit"
  [[ $(<"$out.exit") == 0 ]] || { cat "$out.err" >&2; return 1; }
  [[ $(tail -1 "$out") == "counted $(($(wc -l <"$out") - 1))" ]]
}

# goes_on <file>: until it has more lines than now.
goes_on() { until_true "$1 grows" has_lines "$1" $(($(wc -l <"$1") + 20)); }
has_lines() { [[ $(wc -l <"$1") -ge $2 ]]; }
