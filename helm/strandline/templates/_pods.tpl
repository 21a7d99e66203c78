{{/* What all pods have in common. */}}

{{/* user: securityContext of a pod that Pod Security calls restricted. */}}
{{- define "strandline.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "strandline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* (root, values of the component, component): where its pods may run. Constraints of spread
     without a labelSelector would match no pod, so they get that of the component. */}}
{{- define "strandline.placement" -}}
{{- with (index . 0).Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with index . 1 }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with (index . 1).topologySpreadConstraints }}
{{- $own := include "strandline.selector" (list (index $ 0) (index $ 2)) | fromYaml }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml (hasKey . "labelSelector" | ternary . (merge (dict "labelSelector" (dict "matchLabels" $own)) .)) | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* {NAME: value}: environment variables. */}}
{{- define "strandline.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* (root, component, values of the component, further selector or nil). */}}
{{- define "strandline.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "strandline.fullname" (index . 0) }}-{{ index . 3 }}
  namespace: {{ (index . 0).Release.Namespace }}
  labels:
    {{- include "strandline.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ (index . 2).podDisruptionBudget.maxUnavailable }}
  # A pod that does not get ready must not keep a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "strandline.selector" . | nindent 6 }}
      {{- with index . 4 }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end -}}

{{/* (root, component): a service account that may do nothing. */}}
{{- define "strandline.powerlessAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "strandline.fullname" (index . 0) }}-{{ index . 1 }}
  namespace: {{ (index . 0).Release.Namespace }}
  labels:
    {{- include "strandline.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end -}}

{{/* persistence: where a StatefulSet keeps its data, also after it was deleted. */}}
{{- define "strandline.claim" -}}
{{- if .enabled -}}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: Retain
  whenScaled: Retain
volumeClaimTemplates:
  - metadata:
      name: data
      {{- with .annotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      accessModes: {{ toJson .accessModes }}
      {{- with .storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ .size }}
{{- end -}}
{{- end -}}
