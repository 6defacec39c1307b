# The Helm chart, rendered by Helm and checked against Kubernetes' own schemas.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
  source "$BATS_TEST_DIRNAME/helpers.bash"
  export KUBERNETES WHY_NOT=''
  KUBERNETES=$("$ROOT/test/deploy/tools/chart-tools") || WHY_NOT=$KUBERNETES
}

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

@test "primary and replicas: a copy on each node, names that last, the nodes behind the load-balanced service" {
  local rendered
  rendered=$(render --set topology=primary-replica,node.replicas=4)
  grep -A1 'name: REPLICAS' <<<"$rendered" | grep -q 'value: "4"'
  grep -q 'value: $(IDENT).kvstore.$(NAMESPACE).svc.cluster.local:0' <<<"$rendered"
  grep -q 'podManagementPolicy: OrderedReady' <<<"$rendered"
  grep -q 'containerPort: 8080' <<<"$rendered"
  ! grep -q 'kind: Deployment' <<<"$rendered"
}

@test "values that cannot work are refused, with the reason" {
  refused "value must be one of 'sharded', 'primary-replica'" --set topology=shards
  refused "additional properties 'replica' not allowed" --set node.replica=3
  refused 'without coordination.consul there can be only one controller' --set controller.replicas=2
  refused 'each copy needs a node of its own' --set replication.copies=4
  refused 'so every write would be refused' --set replication.minInSync=4
}

@test "the notes say where everything is" {
  local chart=$BATS_TEST_TMPDIR/chart
  cp -r "$ROOT/deploy/helm" "$chart"
  # Helm shows them where there is a cluster; here they are rendered as anything else is.
  { printf '{{ define "notes" }}'; cat "$chart/templates/NOTES.txt"; printf '{{ end }}\nkind: Notes\ntext: {{ include "notes" . | toJson }}\n'; } >"$chart/templates/notes.yaml"
  run -0 "$CACHE/bin/helm" template kvstore "$chart" --show-only templates/notes.yaml
  [[ $output == *'http://kvstore-lb.default:5100/kv/KEY'* ]]
  [[ $output == *'kubectl --namespace default exec kvstore-controller-0 -- rangerctl status'* ]]
}
