{{/* Peers and ports of network policies. */}}

{{/* (root, components): pods of the release. */}}
{{- define "strandline.peers" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ (index . 0).Release.Namespace }}
  podSelector:
    matchLabels:
      app.kubernetes.io/name: strandline
      app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: {{ toJson (index . 1) }}}
{{- end -}}

{{/* Pods of jobs, in all namespaces that are looked after. */}}
{{- define "strandline.jobPeers" -}}
{{- $watched := include "strandline.watched" . | fromJsonArray -}}
{{- if $watched -}}
- namespaceSelector:
    matchExpressions:
      - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson $watched }}}
{{- else -}}
- namespaceSelector: {}
{{- end }}
  podSelector:
    matchLabels:
      app.kubernetes.io/name: strandline
      app.kubernetes.io/component: job
{{- end -}}

{{/* (peers, ports): a rule's `to` – anywhere if there are no peers – and `ports`. */}}
{{- define "strandline.egress" -}}
- ports:
    {{- range index . 1 }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with index . 0 }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Rules that reach the store. */}}
{{- define "strandline.toStore" -}}
{{- if .Values.minio.enabled -}}
- ports: [{protocol: TCP, port: 9000}]
  to:
    {{- include "strandline.peers" (list . (list "minio")) | nindent 4 }}
{{- else -}}
{{ include "strandline.egress" (list .Values.networkPolicy.store .Values.networkPolicy.storePorts) }}
{{- end -}}
{{- end -}}

{{- define "strandline.toCatalog" -}}
{{- if .Values.postgresql.enabled -}}
- ports: [{protocol: TCP, port: 5432}]
  to:
    {{- include "strandline.peers" (list . (list "postgresql")) | nindent 4 }}
{{- else -}}
{{ include "strandline.egress" (list .Values.networkPolicy.catalog .Values.networkPolicy.catalogPorts) }}
{{- end -}}
{{- end -}}

{{/* (root, name, namespace): a policy up to its spec. */}}
{{- define "strandline.policy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "strandline.fullname" (index . 0) }}-{{ index . 1 }}
  namespace: {{ index . 2 }}
  labels:
    {{- include "strandline.labels" (list (index . 0) "network") | nindent 4 }}
{{- end -}}
