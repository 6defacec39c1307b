# The usage of the key-value example on Ranger: its commands, as its document has them.

bats_require_minimum_version 1.5.0
load helpers
load seed

setup_file() {
  start_cluster
  until_placed
  export RANGERCTL_ADDR=localhost:$BASE_PORT
  export HOSTS="localhost:5100 $(address_of proxy.1)
5200 $(port_of node.1)
5201 $(port_of node.2)
5202 $(port_of node.3)
5021 $(port_of node.2)
./hammer $ROOT/bin/hammer
rangerctl $ROOT/bin/rangerctl
60s 4s"
}
teardown_file() { stop_cluster; }


@test "a load test, during which range 1 moves, splits, and its parts join" {
  in_background "$SCRATCH/hammer" as_written './hammer -addr localhost:5100 -duration 60s'
  as_written 'rangerctl move 1 5201'
  becomes "1:$(port_of node.2)"
  as_written 'rangerctl split 1 m 5200 5202'
  becomes "2:$(port_of node.1)" "3:$(port_of node.3)"
  as_written 'rangerctl join 2 3 5021'
  becomes "4:$(port_of node.2)"
  until_true 'the load test is over' test -s "$SCRATCH/hammer.exit"
  [[ $(<"$SCRATCH/hammer.exit") -eq 0 ]] || { cat "$SCRATCH/hammer" "$SCRATCH/hammer.err" >&2; return 1; }
}
