{{- define "keyranger.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "keyranger.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* What a pod is selected by; called with the context and a component. */}}
{{- define "keyranger.selector" -}}
app.kubernetes.io/name: {{ .context.Chart.Name }}
app.kubernetes.io/instance: {{ .context.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "keyranger.labels" -}}
{{ include "keyranger.selector" . }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .context.Chart.Name .context.Chart.Version }}
{{- with .context.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* "yes" where nodes have their roles by their names, and there is neither controller nor proxy; else empty. */}}
{{- define "keyranger.static" -}}
{{- if eq .Values.topology "primary-replica" -}}
{{- range $path, $given := dict "coordination.consul" .Values.coordination.consul "replication.copies" .Values.replication.copies "replication.minInSync" .Values.replication.minInSync "controller.replicas" .Values.controller.replicas "proxy.replicas" .Values.proxy.replicas "node.drain.mode" .Values.node.drain.mode -}}
{{- if not (kindIs "invalid" $given) -}}
{{- fail (printf "%s is set, but in primary-replica there is no controller, and nothing to take over: use sharded, or leave it out" $path) -}}
{{- end -}}
{{- end -}}
yes
{{- end -}}
{{- end -}}

{{/* Copies of each range. */}}
{{- define "keyranger.copies" -}}
{{- $nodes := int .Values.node.replicas -}}
{{- $copies := default (min 3 $nodes) .Values.replication.copies | int -}}
{{- if gt $copies $nodes -}}
{{- fail (printf "replication.copies is %d, but node.replicas is %d: each copy needs a node of its own" $copies $nodes) -}}
{{- end -}}
{{- $copies -}}
{{- end -}}

{{- define "keyranger.minInSync" -}}
{{- $copies := include "keyranger.copies" . | int -}}
{{- $least := default (min 2 $copies) .Values.replication.minInSync | int -}}
{{- if gt $least $copies -}}
{{- fail (printf "replication.minInSync is %d, but there are %d copies of each range, so every write would be refused" $least $copies) -}}
{{- end -}}
{{- $least -}}
{{- end -}}

{{- define "keyranger.controllers" -}}
{{- $replicas := default (ternary 2 1 (not (empty .Values.coordination.consul))) .Values.controller.replicas | int -}}
{{- if and (empty .Values.coordination.consul) (gt $replicas 1) -}}
{{- fail (printf "controller.replicas is %d, but without coordination.consul there can be only one controller" $replicas) -}}
{{- end -}}
{{- $replicas -}}
{{- end -}}

{{- define "keyranger.proxies" -}}
{{- if include "keyranger.static" . -}}
0
{{- else if kindIs "invalid" .Values.proxy.replicas -}}
2
{{- else -}}
{{- int .Values.proxy.replicas -}}
{{- end -}}
{{- end -}}

{{- define "keyranger.nodePort" -}}
{{- default (ternary 8080 5200 (eq (include "keyranger.static" .) "yes")) .Values.node.port | int -}}
{{- end -}}

{{- define "keyranger.drain" -}}
{{- if include "keyranger.static" . -}}none{{- else -}}
{{- default (ternary "primaries" "all" (gt (include "keyranger.copies" . | int) 1)) .Values.node.drain.mode -}}
{{- end -}}
{{- end -}}

{{/* For nodes and proxies. */}}
{{- define "keyranger.coordination" -}}
{{- with .Values.coordination.consul -}}consul://{{ . }}{{- else -}}embedded://{{ include "keyranger.fullname" . }}-controller:5000{{- end -}}
{{- end -}}

{{- define "keyranger.door" -}}
{{ include "keyranger.fullname" . }}-lb
{{- end -}}

{{/* The port of that door which speaks gRPC and HTTP. */}}
{{- define "keyranger.doorPort" -}}
{{- if gt (include "keyranger.proxies" . | int) 0 -}}5100{{- else -}}{{ include "keyranger.nodePort" . }}{{- end -}}
{{- end -}}

{{/* Where there is one primary: its service. */}}
{{- define "keyranger.primary" -}}
{{ include "keyranger.fullname" . }}-primary
{{- end -}}

{{/* Variables of every container. Called with the context, the port, the service that names its pods, and the coordination. */}}
{{- define "keyranger.env" -}}
- name: NAMESPACE
  valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
- name: IDENT
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: LISTEN
  value: ":{{ .port }}"
- name: LOG_FORMAT
  value: json
- name: LOG_LEVEL
  value: {{ .context.Values.logLevel }}
{{- if include "keyranger.static" .context }}
- name: RANGERCTL_PROXY
  value: {{ include "keyranger.primary" .context }}:{{ .port }}
{{- else }}
- name: COORDINATION
  value: {{ .coordination | quote }}
- name: RANGERCTL_ADDR
  value: {{ include "keyranger.fullname" .context }}-controller:5000
- name: RANGERCTL_PROXY
  value: {{ include "keyranger.door" .context }}:{{ include "keyranger.doorPort" .context }}
{{- end }}
{{- end -}}

{{/* A pod of a StatefulSet has a name that lasts. */}}
{{- define "keyranger.lastingAddress" -}}
- name: ADVERTISE
  value: $(IDENT).{{ .service }}.$(NAMESPACE).svc.{{ .context.Values.clusterDomain }}:0
{{- end -}}

{{- define "keyranger.probes" -}}
startupProbe:
  httpGet: { path: /health, port: main }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /health, port: main }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /ready, port: main }
  periodSeconds: 5
  timeoutSeconds: 3
{{- end -}}

{{/* What all pods have in common. Called with the context, the component, its values, and the port. */}}
{{- define "keyranger.podMetadata" -}}
labels:
  {{- include "keyranger.labels" . | nindent 2 }}
annotations:
  prometheus.io/scrape: "true"
  prometheus.io/port: {{ .port | quote }}
  prometheus.io/path: /metrics
  {{- with .values.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "keyranger.podSpec" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .context.Values.podSecurityContext | nindent 2 }}
{{- with .context.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "keyranger.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{/* Called with the name, the context and the persistence's values. */}}
{{- define "keyranger.claim" -}}
- metadata:
    name: data
  spec:
    accessModes:
      {{- toYaml .persistence.accessModes | nindent 6 }}
    {{- with .persistence.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ .persistence.size }}
{{- end -}}
