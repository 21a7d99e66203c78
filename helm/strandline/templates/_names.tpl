{{/* Names, labels, images and addresses. */}}

{{- define "strandline.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "strandline" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-strandline" (.Release.Name | trunc 29 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* (root, component): what tells the pods of a component from all others. */}}
{{- define "strandline.selector" -}}
app.kubernetes.io/name: strandline
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* (root, component): labels of an object. */}}
{{- define "strandline.labels" -}}
{{ include "strandline.selector" . }}
{{- with index . 0 }}
app.kubernetes.io/part-of: strandline
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* (root, component, values of the component): metadata of its pods. The version is not in it:
     a new chart with the same pods restarts nothing. */}}
{{- define "strandline.podLabels" -}}
{{ include "strandline.selector" . }}
app.kubernetes.io/part-of: strandline
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with (index . 2).podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* (root, image): its reference. */}}
{{- define "strandline.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (index . 0).Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Image of Ray's pods: that of the jobs unless another is named. */}}
{{- define "strandline.rayImage" -}}
{{- include "strandline.image" (list . (ternary .Values.ray.image .Values.jobs.image (ne .Values.ray.image.repository ""))) -}}
{{- end -}}

{{- define "strandline.operatorAccount" -}}
{{- if .Values.operator.serviceAccount.create -}}
{{- .Values.operator.serviceAccount.name | default (printf "%s-operator" (include "strandline.fullname" .)) -}}
{{- else -}}
{{- .Values.operator.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* Namespaces that are looked after, as JSON; empty means all. */}}
{{- define "strandline.watched" -}}
{{- ternary (list .Release.Namespace) .Values.namespaces (eq .Values.scope "namespace") | toJson -}}
{{- end -}}

{{/* Namespaces that get Secrets and policies, as JSON: the watched ones and the release's. */}}
{{- define "strandline.namespaces" -}}
{{- concat (list .Release.Namespace) (include "strandline.watched" . | fromJsonArray) | uniq | toJson -}}
{{- end -}}

{{- define "strandline.minioHost" -}}
{{ include "strandline.fullname" . }}-minio.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "strandline.postgresqlHost" -}}
{{ include "strandline.fullname" . }}-postgresql.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "strandline.rayAddress" -}}
{{ include "strandline.fullname" . }}-ray-head.{{ .Release.Namespace }}.svc:6379
{{- end -}}

{{- define "strandline.executionMode" -}}
{{- $mode := .Values.execution.mode -}}
{{- if eq $mode "auto" -}}
{{- ternary "static" "pod" .Values.ray.enabled -}}
{{- else -}}
{{- $mode -}}
{{- end -}}
{{- end -}}
