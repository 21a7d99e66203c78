{{/* Pods of the static Ray. */}}

{{- define "strandline.rayEnv" -}}
- name: POD_IP
  valueFrom:
    fieldRef: {fieldPath: status.podIP}
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ include "strandline.raySecret" . }}, key: {{ .Values.ray.token.key }}}
- {name: RAY_AUTH_MODE, value: token}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
- {name: HOME, value: /scratch}
- {name: TMPDIR, value: /tmp}
- {name: STRANDLINE_HOME, value: /scratch/strandline}
- {name: PYTHONUNBUFFERED, value: "1"}
# Who has no line in /etc/passwd still needs a name, for Ray and torch.
- {name: USER, value: strandline}
{{- include "strandline.env" .Values.ray.env }}
{{- end -}}

{{/* Said to head and workers alike. */}}
{{- define "strandline.rayOptions" -}}
- --block
- --node-ip-address=$(POD_IP)
- --node-manager-port=6380
- --include-log-monitor=false
- --disable-usage-stats
- --object-store-memory=134217728
- --temp-dir=/tmp/ray
{{- end -}}

{{- define "strandline.rayMounts" -}}
- {name: scratch, mountPath: /scratch}
- {name: tmp, mountPath: /tmp}
- {name: shm, mountPath: /dev/shm}
{{- with .Values.ray.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "strandline.rayVolumes" -}}
- name: scratch
  emptyDir: {sizeLimit: {{ .Values.ray.scratch }}}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.ray.scratch }}}
# Ray's objects and the tensors of loaders; counts against the memory limit.
- name: shm
  emptyDir: {medium: Memory}
{{- with .Values.ray.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* pool: what `ray start` is told of a worker. */}}
{{- define "strandline.rayResources" -}}
{{- $resources := dict (printf "pool-%s" .name) 1000000 -}}
{{- $device := dig "accelerator" "resource" "" . -}}
{{- if contains "tpu" $device -}}
{{- $_ := set $resources "TPU" .accelerator.count -}}
{{- end -}}
- --num-cpus={{ .cpu }}
- --num-gpus={{ contains "tpu" $device | ternary 0 (dig "accelerator" "count" 0 .) }}
- {{ printf "--resources=%s" (toJson $resources) | squote }}
{{- end -}}
