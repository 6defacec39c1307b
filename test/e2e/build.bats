# The programs in bin/ build themselves. Here with a project of a few lines whose npm,
# buf and tsc only note that they ran, so that every case is quick.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  unset KEYRANGER_BUILT
  project=$BATS_TEST_TMPDIR/project
  calls=$BATS_TEST_TMPDIR/calls
  mkdir -p "$project"/{model,node,proto/kv,node_modules/.bin} "$BATS_TEST_TMPDIR/tools"
  cp -R "$ROOT/bin" "$project/bin"
  cd "$project"
  echo 'export const a = 1;' >model/a.ts
  echo 'console.log("node", process.cwd(), ...process.argv.slice(2));' >node/main.ts
  echo 'syntax = "proto3";' >proto/kv/kv.proto
  echo '{}' | tee package.json tsconfig.json tsconfig.build.json >/dev/null
  echo 'version: v2' | tee buf.yaml buf.gen.yaml >/dev/null
  echo '{"packages":{"":{},"node_modules/ts-proto":{"version":"1.0.0"}}}' >package-lock.json
  stub "$BATS_TEST_TMPDIR/tools/npm" 'mkdir -p node_modules; cp package-lock.json node_modules/.package-lock.json'
  stub node_modules/.bin/buf '[[ $1 == generate ]] || { mkdir -p proto/gen; echo image >proto/gen/image.binpb; }'
  stub node_modules/.bin/tsc 'for f in model/*.ts node/*.ts; do mkdir -p "dist/${f%/*}"; cp "$f" "dist/${f%.ts}.js"; done'
  export PATH=$BATS_TEST_TMPDIR/tools:$PATH calls
  : >"$calls"
}

# stub <path> <body>: a program that notes its name and first argument in $calls.
stub() {
  printf '#!/usr/bin/env bash\nset -e\necho "$(basename "$0") ${1:-}" >>"$calls"\n%s\n' "$2" >"$1"
  chmod +x "$1"
}

# ran: what was called since the last time, on one line.
ran() { tr '\n' ',' <"$calls"; : >"$calls"; }

@test "the first start installs, generates and compiles; the next does nothing" {
  run --separate-stderr bin/node hello
  [[ $output == "node $project hello" ]]
  [[ $stderr == *'installing dependencies'*'generating stubs'*'compiling'* ]]
  [[ $(ran) == 'npm ci,buf generate,buf build,tsc -p,' ]]
  run --separate-stderr bin/node again
  [[ $output == "node $project again" && -z $stderr ]]
  [[ $(ran) == '' ]]
}

@test "a source that changes, comes or goes is compiled, and what it made goes too" {
  bin/node
  ran
  echo 'export const a = 2;' >model/a.ts
  bin/node
  [[ $(ran) == 'tsc -p,' ]]
  echo 'export const b = 1;' >model/b.ts
  bin/node
  [[ $(ran) == 'tsc -p,' && -f dist/model/b.js ]]
  rm model/b.ts
  bin/node
  [[ $(ran) == 'tsc -p,' && ! -f dist/model/b.js && -f dist/model/a.js ]]
  # An older time is a change as well: a checkout of an older state.
  touch -d '2001-01-01' model/a.ts
  bin/node
  [[ $(ran) == 'tsc -p,' ]]
  bin/node
  [[ $(ran) == '' ]]
}

@test "tests are not part of what runs" {
  bin/node
  ran
  echo 'x' >model/a.test.ts
  bin/node
  [[ $(ran) == '' ]]
}

@test "a .proto that changes is generated anew" {
  bin/node
  ran
  echo '// more' >>proto/kv/kv.proto
  bin/node
  [[ $(ran) == 'buf generate,buf build,tsc -p,' ]]
}

@test "a lock file that changes is installed anew, also when node_modules was changed by hand" {
  bin/node
  ran
  sed -i 's/1.0.0/1.0.1/' package-lock.json
  bin/node
  [[ $(ran) == 'npm ci,buf generate,buf build,tsc -p,' ]]
  rm node_modules/.package-lock.json
  bin/node
  [[ $(ran) == 'npm ci,tsc -p,' ]]
}

@test "output that was removed is made again" {
  bin/node
  ran
  rm -rf dist
  bin/node
  [[ $(ran) == 'tsc -p,' ]]
  rm -rf proto/gen dist
  bin/node
  [[ $(ran) == 'buf generate,buf build,tsc -p,' ]]
}

@test "many started at once build once" {
  stub node_modules/.bin/tsc 'sleep 0.5; mkdir -p dist/node; cp node/main.ts dist/node/main.js'
  local pids=() pid
  for _ in 1 2 3 4 5 6; do bin/node 3>&- >/dev/null 2>>"$BATS_TEST_TMPDIR/err" & pids+=($!); done
  for pid in "${pids[@]}"; do wait "$pid"; done
  [[ $(ran) == 'npm ci,buf generate,buf build,tsc -p,' ]]
  grep -q 'waiting for another process that is building' "$BATS_TEST_TMPDIR/err"
}

@test "many started at once build once where there is no flock, also after one was killed" {
  mkdir -p "$BATS_TEST_TMPDIR/few"
  for tool in bash env readlink find node cat mkdir rm rmdir cp grep sed sleep basename dirname tr; do ln -s "$(command -v $tool)" "$BATS_TEST_TMPDIR/few/$tool"; done
  stub node_modules/.bin/tsc 'sleep 0.5; mkdir -p dist/node; cp node/main.ts dist/node/main.js'
  mkdir -p .cache/setup/lock.d
  # A process that is surely not there any more.
  bash -c 'echo $$' >.cache/setup/lock.d/pid
  local pids=() pid
  for _ in 1 2 3 4; do PATH=$BATS_TEST_TMPDIR/tools:$BATS_TEST_TMPDIR/few bin/node 3>&- >>"$BATS_TEST_TMPDIR/err" 2>&1 & pids+=($!); done
  for pid in "${pids[@]}"; do wait "$pid" || { cat "$BATS_TEST_TMPDIR/err"; false; }; done
  [[ $(ran) == 'npm ci,buf generate,buf build,tsc -p,' ]]
}

@test "a step that fails is shown, and is tried again by the next start" {
  stub node_modules/.bin/tsc 'echo "model/a.ts(1,1): error TS1: no"; exit 2'
  run bin/node
  [[ $status -eq 1 && $output == *'error TS1: no'*'do not compile'* ]]
  stub node_modules/.bin/tsc 'mkdir -p dist/node; cp node/main.ts dist/node/main.js'
  ran
  run bin/node
  [[ $status -eq 0 && $(ran) == 'tsc -p,' ]]
}

@test "works from any folder and through symbolic links, to the file or the project" {
  bin/node
  cd /
  ln -s "$project/bin/node" "$BATS_TEST_TMPDIR/link"
  ln -s "$project" "$BATS_TEST_TMPDIR/elsewhere"
  [[ $("$BATS_TEST_TMPDIR/link" a 'b  c') == 'node / a b  c' ]]
  [[ $("$BATS_TEST_TMPDIR/elsewhere/bin/node") == 'node /' ]]
}

@test "works with bin/ on the PATH, where our node hides the real one" {
  PATH=$project/bin:$BATS_TEST_TMPDIR/tools:$PATH
  hash -r
  [[ $(timeout 20 node x) == "node $project x" ]]
  ln -s "$project/bin" "$BATS_TEST_TMPDIR/mybin"
  [[ $(PATH=$BATS_TEST_TMPDIR/mybin:$PATH timeout 20 node y) == "node $project y" ]]
}

@test "what is started by a program that saw to the build does not look again" {
  bin/node
  ran
  echo 'export const a = 3;' >model/a.ts
  KEYRANGER_BUILT=$project bin/node
  [[ $(ran) == '' ]]
}
