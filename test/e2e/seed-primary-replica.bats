# The usage of the primary-replica store for Kubernetes: its commands, as its document has them.

bats_require_minimum_version 1.5.0
load helpers
load seed

setup_file() {
  primary_and_replica
  export HOSTS="localhost:8081 localhost:$PRIMARY
localhost:8082 localhost:$REPLICA"
}
teardown_file() { stop_cluster; }

@test "test: write to the primary, read from both" {
  as_written 'curl -X PUT http://localhost:8081/kv/name -d "alice"'
  [[ $(as_written 'curl http://localhost:8081/kv/name') == alice ]]
  until_true 'the replica has it' replica_has name alice
  [[ $(as_written 'curl http://localhost:8082/kv/name') == alice ]]
}

@test "test: writing to the replica fails, and says where to" {
  as_written 'curl -X PUT http://localhost:8082/kv/name -d "bob"'
  run -0 as_written 'curl -si -X PUT http://localhost:8082/kv/name -d "bob"'
  [[ $output == *'307 Temporary Redirect'* && $output == *"location: http://localhost:$PRIMARY/kv/name"* ]]
  [[ $(as_written 'curl http://localhost:8081/kv/name') == alice ]]
}

@test "test: list all keys" {
  [[ $(as_written 'curl http://localhost:8081/kv/' | json 'it.items.map((item) => `${item.key}=${item.value}`).join()') == name=alice ]]
  [[ $(as_written 'curl http://localhost:8082/kv/' | json 'it.items.length') == 1 ]]
}

@test "test: delete a key" {
  as_written 'curl -X DELETE http://localhost:8081/kv/name'
  [[ $(as_written 'curl http://localhost:8081/kv/name' | json it.code) == not_found ]]
}

@test "test: roles, health, readiness" {
  [[ $(as_written 'curl http://localhost:8081/role' | json it.role) == primary ]]
  [[ $(as_written 'curl http://localhost:8082/role' | json it.role) == replica ]]
  [[ $(as_written 'curl http://localhost:8081/health' | json it.status) == ok ]]
  [[ $(as_written 'curl http://localhost:8081/ready' | json '`${it.ready} ${it.role} ${it.keys}`') == 'true primary 0' ]]
}

@test "verification of a deployment" {
  as_written 'curl -X PUT http://localhost:8081/kv/test -d "hello"'
  until_true 'the replica has it' replica_has test hello
  [[ $(as_written 'curl http://localhost:8082/kv/test') == hello ]]
}
