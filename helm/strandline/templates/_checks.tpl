{{/* What no schema can tell: refused with the way out. */}}
{{- define "strandline.check" -}}
{{- $mode := include "strandline.executionMode" . -}}
{{- if and .Values.operator.enabled (not .Values.storage.existingSecret) (not (and .Values.minio.enabled .Values.postgresql.enabled)) -}}
{{- fail "name a Secret of yours in storage.existingSecret, or enable both minio and postgresql" -}}
{{- end -}}
{{- if and .Values.postgresql.enabled .Values.postgresql.existingSecret (not .Values.storage.existingSecret) -}}
{{- fail "with postgresql.existingSecret, storage.existingSecret must be yours too: its STRANDLINE_CATALOG holds the same password" -}}
{{- end -}}
{{- if and (eq $mode "static") (not .Values.ray.enabled) -}}
{{- fail "execution.mode static needs ray.enabled; for another Ray use mode attach" -}}
{{- end -}}
{{- if and (eq $mode "attach") (not .Values.execution.rayAddress) -}}
{{- fail "execution.mode attach needs execution.rayAddress" -}}
{{- end -}}
{{- if and (ne $mode "attach") .Values.execution.rayAddress -}}
{{- fail "execution.rayAddress belongs to execution.mode attach: set that mode, or leave it out" -}}
{{- end -}}
{{- if and (eq .Values.scope "namespace") .Values.namespaces -}}
{{- fail "with scope namespace only the release's own is looked after: leave namespaces empty, or set scope cluster" -}}
{{- end -}}
{{- if and .Values.minio.ingress.enabled (not .Values.minio.ingress.host) -}}
{{- fail "minio.ingress needs a host" -}}
{{- end -}}
{{- if and .Values.minio.httpRoute.enabled (not .Values.minio.httpRoute.parentRefs) -}}
{{- fail "minio.httpRoute needs parentRefs: the Gateways it attaches to" -}}
{{- end -}}
{{- end -}}
