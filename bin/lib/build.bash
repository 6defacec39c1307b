# Sourced by the programs in bin/ once they have set `root`: makes sure that what
# they run is built, and runs it.

# With bin/ on the PATH, our own `node` would stand for the one that runs everything.
without_own_bin() {
  local folder path='' IFS=:
  for folder in $PATH; do [[ $folder -ef $root/bin ]] || path+=${path:+:}$folder; done
  PATH=$path
}
without_own_bin

# Everything the build depends on, with times and sizes: a file that changed, came,
# or went, changes this text. The text of the last build is kept.
inputs() {
  local format=(-printf '%p %T@ %s\n') folders=() folder
  for folder in model runtime proto coordination rangelet client controller node proxy gateway rangerctl tools test/simulator; do
    [[ -d $root/$folder ]] && folders+=("$folder")
  done
  cd "$root" || exit
  # Other systems' find cannot print times; their ls can.
  [[ $OSTYPE == linux-gnu* ]] || format=(-exec ls -ln {} +)
  find "${folders[@]}" bin/lib package.json package-lock.json tsconfig.json tsconfig.build.json buf.yaml buf.gen.yaml \
    -path proto/gen -prune -o -type f ! -name '*.test.ts' \
    \( -name '*.ts' -o -name '*.proto' -o -name '*.json' -o -name '*.yaml' -o -path 'bin/lib/*' \) "${format[@]}"
}

is_built() {
  [[ -f $root/.cache/setup/built && -f $root/dist/proto/gen/image.binpb && -f $root/node_modules/.package-lock.json ]] &&
    [[ $(inputs) == "$(<"$root/.cache/setup/built")" ]]
}

# Whoever started this program may have seen to it already; then it stays as it was.
ensure_built() {
  [[ ${KEYRANGER_BUILT:-} == "$root" ]] || is_built || "$root/bin/lib/setup" || exit 1
}

# What `run` gives the runtime itself; a program may set it.
runtime_flags=()

# run <entry point below dist/> <arguments…>
run() {
  local entry=$1
  shift
  ensure_built
  exec node ${runtime_flags[@]+"${runtime_flags[@]}"} "$root/dist/$entry" "$@"
}
