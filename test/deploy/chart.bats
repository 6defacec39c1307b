# The Helm chart, rendered by Helm and checked against Kubernetes' own schemas.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
  source "$BATS_TEST_DIRNAME/helpers.bash"
  export KUBERNETES WHY_NOT=''
  KUBERNETES=$("$ROOT/test/deploy/tools/chart-tools") || WHY_NOT=$KUBERNETES
}

teardown() { [[ -z ${PIDS:-} ]] || kill -9 $PIDS 2>/dev/null || true; }

setup() { [[ -z $WHY_NOT ]] || skip "$WHY_NOT"; }

render() { "$CACHE/bin/helm" template kvstore "$ROOT/deploy/helm" "$@"; }
conform() { "$CACHE/bin/kubeconform" -strict -summary -kubernetes-version "${KUBERNETES#v}" -schema-location "$CACHE/schemas-$KUBERNETES/{{.ResourceKind}}{{.KindSuffix}}.json"; }

# valid <what> <flags of helm template…>
valid() {
  local what=$1 rendered
  shift
  rendered=$(render "$@") || return 1
  printf '%s: ' "$what"
  node "$ROOT/test/deploy/tools/rendered.mjs" <<<"$rendered" && conform <<<"$rendered"
}

# refused <what it says> <flags…>
refused() {
  local words=$1
  shift
  run ! render "$@"
  [[ $output == *"$words"* ]] || { echo "$output"; return 1; }
}

@test "helm lint finds nothing" {
  run -0 "$CACHE/bin/helm" lint --strict "$ROOT/deploy/helm"
  [[ $output == *'0 chart(s) failed'* ]]
}

@test "what it renders is valid, in every topology and with every choice" {
  valid sharded
  valid 'primary and replicas' --set topology=primary-replica
  valid Consul --set coordination.consul=consul-server:8500,controller.replicas=3
  valid 'no volumes, no proxies, no REST' --set node.persistence.enabled=false,controller.persistence.enabled=false,proxy.replicas=0,service.restPort=null
  valid 'as the store that it can replace' --set fullnameOverride=mehdb,topology=primary-replica,node.port=9876,node.replicas=2
  valid 'everything else' --set image.tag=1.2.3,service.type=LoadBalancer,node.drain.mode=none,node.persistence.storageClass=fast,node.replicas=5,replication.copies=5 \
    --set-json 'image.pullSecrets=[{"name":"registry"}],node.env=[{"name":"LEASE","value":"2s"}],node.tolerations=[{"key":"db","operator":"Exists"}],node.nodeSelector={"disk":"ssd"},node.affinity={"podAntiAffinity":{}},labels={"team":"data"},service.annotations={"a":"b"},node.annotations={"c":"d"}'
}

@test "the check finds what is wrong" {
  run ! conform < <(render | sed 's/replicas: 3/replicas: three/')
  run ! conform < <(render | sed 's/podManagementPolicy/podManagmentPolicy/')
  run ! node "$ROOT/test/deploy/tools/rendered.mjs" < <(render | sed 's/targetPort: rest/targetPort: http/')
}

# of <kind> <name>: prints that document of what was rendered.
of() { node --input-type=module -e 'import { readFileSync } from "node:fs"; import { parseAllDocuments } from "yaml"; const [kind, name] = process.argv.slice(1); console.log(JSON.stringify(parseAllDocuments(readFileSync(0, "utf8")).map((d) => d.toJS()).find((d) => d?.kind === kind && d.metadata.name === name) ?? null));' "$1" "$2" <<<"$rendered"; }

@test "primary and replicas: roles by the pods' names, no controller, a service for reads and one for writes" {
  local rendered env
  rendered=$(render --set topology=primary-replica,node.replicas=4)
  [[ $(grep '^kind:' <<<"$rendered" | sort | uniq -c | xargs) == '1 kind: Pod 1 kind: PodDisruptionBudget 3 kind: Service 1 kind: StatefulSet' ]]
  ! grep -Eq 'controller|COORDINATION|proxy-' <<<"$rendered"
  env=$(of StatefulSet kvstore | json 'Object.fromEntries(it.spec.template.spec.containers[0].env.map((e) => [e.name, e.value]))')
  [[ $(json 'it.ROLE + " " + it.LISTEN' <<<"$env") == 'auto :8080' ]]
  [[ $(json it.PRIMARY_URL <<<"$env") == 'kvstore-0.kvstore.$(NAMESPACE).svc.cluster.local:8080' ]]
  [[ $(json it.ADVERTISE <<<"$env") == '$(IDENT).kvstore.$(NAMESPACE).svc.cluster.local:0' ]]
  [[ $(of StatefulSet kvstore | json 'it.spec.replicas + it.spec.podManagementPolicy + it.spec.volumeClaimTemplates[0].metadata.name') == 4Paralleldata ]]
  [[ $(of Service kvstore-primary | json 'it.spec.selector["statefulset.kubernetes.io/pod-name"]') == kvstore-0 ]]
  [[ $(of Service kvstore-lb | json 'it.spec.ports.map((p) => p.port).join()') == 8080,7080 ]]
}

@test "a node goes by what the chart gives it: ordinal 0 takes writes, the others copy it and send writers there" {
  local rendered i port other pids=()
  rendered=$(render --set topology=primary-replica,node.replicas=2)
  read -r port other < <(free_ports 2)
  for i in 0 1; do
    # As in the pod, but for the names: every pod's is that of this machine.
    of StatefulSet kvstore | PORTS="$port $other" node -e '
      const [primary, own] = [process.env.PORTS.split(" ")[0], process.env.PORTS.split(" ")[Number(process.argv[1])]];
      const { env } = JSON.parse(require("fs").readFileSync(0, "utf8")).spec.template.spec.containers[0];
      for (const { name, value } of env) {
        const filled = (value ?? (name === "IDENT" ? `kvstore-${process.argv[1]}` : "default")).replace(/kvstore-0\.kvstore\.\$\(NAMESPACE\)[^:]*:8080/, `127.0.0.1:${primary}`).replace(/^\$\(IDENT\).*/, "127.0.0.1:0").replace(/^:8080$/, `127.0.0.1:${own}`).replace(/^:7080$/, "127.0.0.1:0").replace(/^\/data$/, `${process.argv[2]}/${process.argv[1]}`);
        console.log(`${name}=${filled}`);
      }' "$i" "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/env.$i"
    unshare --uts sh -c "hostname kvstore-$i; exec env \$(cat $BATS_TEST_TMPDIR/env.$i) $ROOT/bin/node" >"$BATS_TEST_TMPDIR/log.$i" 2>&1 3>&- &
    pids+=($!)
  done
  PIDS="${pids[*]}"
  for i in "$port" "$other"; do until_true "$i is ready" curl -sfo /dev/null "localhost:$i/ready"; done
  [[ $(curl -s "localhost:$port/role" | json it.role)$(curl -s "localhost:$other/role" | json it.role) == primaryreplica ]]
  [[ $(curl -s -o /dev/null -w '%{http_code} %{redirect_url}' -X PUT -d 1 "localhost:$other/kv/k") == "307 http://127.0.0.1:$port/kv/k" ]]
  curl -sfL -X PUT -d 1 "localhost:$other/kv/k"
  copied() { [[ $(curl -s "localhost:$other/kv/k") == 1 ]]; }
  until_true 'the replica has it' copied
}

@test "values that cannot work are refused, with the reason" {
  refused "value must be one of 'sharded', 'primary-replica'" --set topology=shards
  refused "additional properties 'replica' not allowed" --set node.replica=3
  refused 'without coordination.consul there can be only one controller' --set controller.replicas=2
  refused 'each copy needs a node of its own' --set replication.copies=4
  refused 'so every write would be refused' --set replication.minInSync=4
  local given
  for given in coordination.consul=consul:8500 replication.copies=2 replication.minInSync=1 controller.replicas=1 proxy.replicas=2 node.drain.mode=all; do
    refused "${given%=*} is set, but in primary-replica there is no controller" --set topology=primary-replica,"$given"
  done
}

@test "the notes say where everything is" {
  local chart=$BATS_TEST_TMPDIR/chart
  cp -r "$ROOT/deploy/helm" "$chart"
  # Helm shows them where there is a cluster; here they are rendered as anything else is.
  { printf '{{ define "notes" }}'; cat "$chart/templates/NOTES.txt"; printf '{{ end }}\nkind: Notes\ntext: {{ include "notes" . | toJson }}\n'; } >"$chart/templates/notes.yaml"
  run -0 "$CACHE/bin/helm" template kvstore "$chart" --show-only templates/notes.yaml
  [[ $output == *'http://kvstore-lb.default:5100/kv/KEY'* ]]
  [[ $output == *'kubectl --namespace default exec kvstore-controller-0 -- rangerctl status'* ]]
  run -0 "$CACHE/bin/helm" template kvstore "$chart" --show-only templates/notes.yaml --set topology=primary-replica
  [[ $output == *'one primary and 2 replicas'*'http://kvstore-primary.default:8080/kv/KEY'*'http://kvstore-lb.default:8080/kv/KEY'* ]]
  [[ $output != *controller-0* ]]
}
