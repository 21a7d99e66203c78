{{/* Rights of the operator. Each verb is used, and none is more than it uses. */}}

{{/* In each namespace that is looked after. */}}
{{- define "strandline.namespacedRules" -}}
- apiGroups: [strandline.dev]
  resources: [batchpredictions, datasets, endpoints, labelingjobs, models, searches, trainings]
  verbs: [get, list, watch]
- apiGroups: [strandline.dev]
  resources:
    - batchpredictions/status
    - datasets/status
    - endpoints/status
    - labelingjobs/status
    - models/status
    - searches/status
    - trainings/status
  verbs: [patch]
# The finalizer of a Dataset that is in use.
- apiGroups: [strandline.dev]
  resources: [datasets]
  verbs: [patch]
# Models that jobs registered appear as objects.
- apiGroups: [strandline.dev]
  resources: [models]
  verbs: [create]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, delete, get, list, watch]
{{- if eq (include "strandline.executionMode" .) "kuberay" }}
- apiGroups: [ray.io]
  resources: [rayjobs]
  verbs: [create, delete, get, list, watch]
{{- end }}
# Exit codes and last words of jobs, and why a pod waits.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Those of others tell why a Job gets no pod, such as a quota.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, list]
{{- end -}}

{{/* Of the cluster: pools, and what their nodes have left. */}}
{{- define "strandline.clusterRules" -}}
- apiGroups: [strandline.dev]
  resources: [computepools]
  verbs: [list, watch]
- apiGroups: [strandline.dev]
  resources: [computepools/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- if .Values.namespaces }}
# Anybody's pods hold devices.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}
{{- end -}}

{{/* (root, name of the Role, namespace): bind it to the operator. */}}
{{- define "strandline.roleBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ index . 1 }}
  namespace: {{ index . 2 }}
  labels:
    {{- include "strandline.labels" (list (index . 0) "operator") | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ index . 1 }}
subjects:
  - kind: ServiceAccount
    name: {{ include "strandline.operatorAccount" (index . 0) }}
    namespace: {{ (index . 0).Release.Namespace }}
{{- end -}}
