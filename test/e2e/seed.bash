# Runs the commands of the documents that the project was made from as they are written
# there, apart from host names.

# as_written <command>: with the hosts of HOSTS, a list of `theirs ours` lines, in place of those in it.
as_written() {
  local command=$1 theirs ours n=0 all=()
  # What came in for one is not to be taken for another.
  while read -r theirs ours; do
    [[ -n $theirs ]] || continue
    command=${command//"$theirs"/$'\x01'$n$'\x02'}
    all+=("$ours")
    n=$((n + 1))
  done <<<"$HOSTS"
  for n in "${!all[@]}"; do command=${command//$'\x01'$n$'\x02'/"${all[n]}"}; done
  (cd "$SCRATCH" && bash -o pipefail -c "$command")
}

# role_at <node>: primary or replica
role_at() { curl -s "http://localhost:$(port_of "$1")/role" | json it.role; }
has_role() { [[ $(role_at "$1") == "$2" ]]; }

# primary_and_replica: two nodes with a copy each; sets PRIMARY and REPLICA, their ports.
primary_and_replica() {
  start_cluster --replicas 2
  until_true 'one of two nodes is primary' find_primary
  until_true 'the other one follows' follows
}

find_primary() {
  local name
  for name in node.1 node.2; do has_role "$name" primary && PRIMARY=$(port_of "$name") || REPLICA=$(port_of "$name"); done
  export PRIMARY REPLICA
  [[ -n ${PRIMARY:-} && -n ${REPLICA:-} ]]
}
follows() { [[ $(curl -s "http://localhost:$REPLICA/status?level=full" | json it.following) == 1 && $(curl -s -o /dev/null -w '%{http_code}' "http://localhost:$REPLICA/kv/none") == 404 ]]; }

# The replica may lag a little.
replica_has() { [[ $(curl -s "http://localhost:$REPLICA/kv/$1") == "$2" ]]; }
