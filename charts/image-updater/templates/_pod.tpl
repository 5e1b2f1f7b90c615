{{- /* The pod of (root, workload), for a Deployment and a StatefulSet alike. */ -}}
{{- define "image-updater.pod" -}}
{{- $root := index . 0 -}}{{- $workload := index . 1 -}}
{{- with $root.Values -}}
metadata:
  labels:
    {{- include "image-updater.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ list $workload.component $workload.shard | compact | join "-" | default "controller" }}
    {{- with .podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ $workload.account }}
  automountServiceAccountToken: true
  # A Service named image-updater would bring variables that look like settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add (ceil (.settings.stopTimeout | default 30)) 15 }}
  securityContext:
    {{- include "image-updater.compact" .podSecurityContext | nindent 4 }}
  {{- with .imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: image-updater
      image: {{ include "image-updater.image" $root | quote }}
      imagePullPolicy: {{ .image.pullPolicy }}
      args:
        - controller
        {{- range .extraArgs }}
        - {{ . | quote }}
        {{- end }}
      env:
        {{- include "image-updater.environment" (list $root $workload) | nindent 8 }}
      ports:
        - {name: http, containerPort: {{ .port }}}
      {{- range $probe, $path := dict "startupProbe" "/healthz" "livenessProbe" "/healthz" "readinessProbe" "/readyz" }}
      {{ $probe }}:
        httpGet: {path: {{ $path }}, port: http}
        {{- with get $root.Values $probe }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      securityContext:
        {{- include "image-updater.compact" .securityContext | nindent 8 }}
      {{- with $workload.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - {name: data, mountPath: /data}
        - {name: tmp, mountPath: /tmp}
        {{- if include "image-updater.gates" (list $root $workload) }}
        - {name: flagger, mountPath: /etc/image-updater/flagger, readOnly: true}
        {{- end }}
        {{- with .extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {{ dict "medium" .tmp.medium "sizeLimit" .tmp.sizeLimit | toJson }}
    {{- if not .persistence.enabled }}
    - name: data
      emptyDir: {{ dict "sizeLimit" .persistence.sizeLimit | toJson }}
    {{- end }}
    {{- if include "image-updater.gates" (list $root $workload) }}
    - name: flagger
      secret:
        secretName: {{ .flagger.secretName }}
        items: [{key: tokens, path: tokens}]
    {{- end }}
    {{- with .extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .topologySpreadConstraints | nindent 4 }}
  {{- else if gt (int $workload.replicas) 1 }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "image-updater.workloadSelectors" (list $root $workload) | nindent 10 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- /* A mapping without its nulls: values that take a default away. */ -}}
{{- define "image-updater.compact" -}}
{{- $result := dict -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}{{- $_ := set $result $key $value -}}{{- end -}}
{{- end -}}
{{- toYaml $result -}}
{{- end -}}
