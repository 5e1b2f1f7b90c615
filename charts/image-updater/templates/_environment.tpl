{{- /* The variables of (root, workload): what the chart decides, then `settings` by their own names, then `extraEnv`. */ -}}
{{- define "image-updater.environment" -}}
{{- $root := index . 0 -}}{{- $workload := index . 1 -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- $gates := include "image-updater.gates" . }}
{{- if or $gates $root.Values.settings.flaggerTokenFile }}
# Where the replica that leads is asked by the others.
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- end }}
{{- if $gates }}
- name: IMAGE_UPDATER_FLAGGER_TOKEN_FILE
  value: /etc/image-updater/flagger/tokens
{{- end }}
- name: IMAGE_UPDATER_ROLES
  value: {{ join "," $workload.roles | quote }}
{{- with $workload.selector }}
- name: IMAGE_UPDATER_SELECTOR
  value: {{ . | quote }}
{{- end }}
{{- with $root.Values.watchNamespaces }}
- name: IMAGE_UPDATER_WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
- name: IMAGE_UPDATER_CACHE
  value: /data/cache
- name: IMAGE_UPDATER_STATE
  value: /data/state.sqlite
- name: IMAGE_UPDATER_LISTEN
  value: {{ printf "%s:%d" $root.Values.listenAddress (int $root.Values.port) | quote }}
{{- range $name, $value := $root.Values.settings }}
- name: IMAGE_UPDATER_{{ $name | snakecase | upper }}
  {{- if kindIs "slice" $value }}
  value: {{ join "," $value | quote }}
  {{- else if kindIs "string" $value }}
  value: {{ $value | quote }}
  {{- else }}
  value: {{ $value | toJson | quote }}
  {{- end }}
{{- end }}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
