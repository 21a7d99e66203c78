{{/* operator.yaml: spec/operator_config.py describes it. */}}
{{- define "strandline.operatorConfig" -}}
{{- $mode := include "strandline.executionMode" . -}}
namespaces: {{ include "strandline.watched" . }}
clusterReads: {{ eq .Values.scope "cluster" }}
workers: {{ .Values.operator.workers }}
resyncSeconds: {{ .Values.operator.resyncSeconds | float64 }}
projectionSeconds: {{ .Values.operator.projectionSeconds | float64 }}
metricsAddress: 0.0.0.0:8080
lease:
  name: {{ include "strandline.fullname" . }}-operator
  durationSeconds: {{ .Values.operator.leaseDurationSeconds }}
execution:
  mode: {{ $mode }}
  rayVersion: {{ .Values.execution.rayVersion }}
  nodesAppear: {{ .Values.execution.nodesAppear }}
  {{- if eq $mode "static" }}
  rayAddress: {{ include "strandline.rayAddress" . }}
  rayPools:
    {{- range .Values.ray.pools }}
    {{ .name }}: {workers: {{ .workers }}, cpus: {{ .cpu }}, devices: {{ dig "accelerator" "count" 0 . }}}
    {{- end }}
  tokenSecret:
    name: {{ include "strandline.raySecret" . }}
    key: {{ .Values.ray.token.key }}
  {{- else }}
  {{- with .Values.execution.rayAddress }}
  rayAddress: {{ . }}
  {{- end }}
  {{- if .Values.execution.tokenSecret.name }}
  tokenSecret:
    name: {{ .Values.execution.tokenSecret.name }}
    key: {{ .Values.execution.tokenSecret.key }}
  {{- end }}
  {{- end }}
jobs:
  {{- include "strandline.jobSettings" . | nindent 2 }}
{{- end -}}

{{/* What the pods of all jobs have in common; commands that read are given it, too. */}}
{{- define "strandline.jobSettings" -}}
image: {{ include "strandline.image" (list . .Values.jobs.image) }}
imagePullPolicy: {{ .Values.jobs.image.pullPolicy }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
storageSecret: {{ include "strandline.storageSecret" . }}
serviceAccount: {{ .Values.jobs.serviceAccount }}
{{- with .Values.jobs.priorityClassName }}
priorityClass: {{ . }}
{{- end }}
graceSeconds: {{ .Values.jobs.graceSeconds }}
ttl: {{ .Values.jobs.ttl }}
runAsUser: {{ .Values.jobs.runAsUser | int64 }}
{{- with .Values.jobs.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.jobs.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.jobs.extraVolumes }}
volumes:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.jobs.extraVolumeMounts }}
volumeMounts:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.jobs.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.jobs.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
