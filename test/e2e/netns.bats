# Five nodes with three copies of each range, each on a host of its own, made of network
# namespaces: what one sends to another can be lost without a word, as with real cables.
# NETNS_SECONDS is how long partitions are made, NETNS_SEED makes the same ones again.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  export NETNS_PREFIX=kr$BASHPID NETNS_DATA=$BATS_TEST_TMPDIR IP_BIN
  IP_BIN=$(find_ip)
  local reason
  reason=$(netns possible) || skip "$reason"
}

teardown() {
  # A run that was ended by force has not cleaned up.
  netns clean 2>/dev/null || true
}

netns() { node "$ROOT/test/e2e/tools/netns.mjs" "$@"; }

# told <arguments…>: runs it, and passes on what it says
told() {
  run netns "$@"
  sed 's/^/# /' <<<"$output" >&3
  [[ $status -eq 0 ]]
}

# find_ip: iproute2's `ip`; fetched from the package mirror of this machine if it is not here.
find_ip() {
  local cache=$ROOT/.cache/iproute2
  PATH=$PATH:/usr/sbin:/sbin command -v ip && return
  [[ -x $cache/ip ]] || fetch_ip "$cache" >/dev/null 2>&1 || true
  echo "$cache/ip"
}

fetch_ip() {
  local cache=$1 libraries package
  rm -rf "$cache" && mkdir -p "$cache/packages"
  libraries=$(apt-cache depends iproute2 libbsd0 | sed -n 's/^ *Depends: \(lib[a-z0-9.+-]*\)$/\1/p' | grep -v '^libc6$' | sort -u)
  (cd "$cache/packages" && apt-get --quiet download iproute2 $libraries) || return
  for package in "$cache"/packages/*.deb; do dpkg -x "$package" "$cache/unpacked"; done
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$(dirname "$(find "$cache/unpacked" -name 'libmnl.so.0' -print -quit)")" "$(find "$cache/unpacked" -path '*bin/ip' -print -quit)" >"$cache/ip"
  chmod +x "$cache/ip"
}

@test "a primary that stands still for longer than a lease never answers with an old value" {
  told frozen
}

@test "a primary that is cut off from everybody but its client never answers with an old value" {
  told cut-off
}

@test "hosts are parted and joined at random, and the histories of the clients are linearizable" {
  told weather "${NETNS_SECONDS:-20}" "${NETNS_SEED:-$RANDOM}"
}
