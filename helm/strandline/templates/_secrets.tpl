{{/* Secrets: names, and values that are made once and stay. */}}

{{- define "strandline.storageSecret" -}}
{{- .Values.storage.existingSecret | default "strandline-storage" -}}
{{- end -}}

{{- define "strandline.minioSecret" -}}
{{- .Values.minio.existingSecret | default (printf "%s-minio" (include "strandline.fullname" .)) -}}
{{- end -}}

{{- define "strandline.postgresqlSecret" -}}
{{- .Values.postgresql.existingSecret | default (printf "%s-postgresql" (include "strandline.fullname" .)) -}}
{{- end -}}

{{- define "strandline.raySecret" -}}
{{- .Values.ray.token.existingSecret | default (printf "%s-ray-token" (include "strandline.fullname" .)) -}}
{{- end -}}

{{/* (root, name of a Secret, key, length): the value that this Secret of the release has, or a
     new one in hexadecimal digits. Within one rendering it is the same wherever it stands. */}}
{{- define "strandline.generated" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $key := index . 2 -}}
{{- if not (hasKey $root.Values "generated") -}}
{{- $_ := set $root.Values "generated" dict -}}
{{- end -}}
{{- $made := $root.Values.generated -}}
{{- $id := printf "%s/%s" $name $key -}}
{{- if not (hasKey $made $id) -}}
{{- $secret := lookup "v1" "Secret" $root.Release.Namespace $name | default dict -}}
{{- $found := dig "data" $key "" $secret -}}
{{- $_ := set $made $id (empty $found | ternary (randAlphaNum 64 | sha256sum | trunc (int (index . 3))) (b64dec $found)) -}}
{{- end -}}
{{- index $made $id -}}
{{- end -}}
