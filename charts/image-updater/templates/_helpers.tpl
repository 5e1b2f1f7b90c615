{{- define "image-updater.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "image-updater.selectors" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "image-updater.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{ include "image-updater.selectors" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | replace "+" "_" | trunc 63 | trimSuffix "." | trimSuffix "-" | trimSuffix "_" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: image-updater
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "image-updater.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* What is deployed, as a YAML list: each component with each shard. Without either it is one. */ -}}
{{- define "image-updater.workloads" -}}
{{- $root := . -}}
{{- $result := list -}}
{{- range $component := include "image-updater.components" . | fromYamlArray -}}
{{- range $shard := $root.Values.shards | default (list (dict "name" "" "selector" "")) -}}
{{- $name := list (include "image-updater.fullname" $root) $component.name $shard.name | compact | join "-" -}}
{{- if gt (len $name) 52 -}}
{{- fail (printf "the name %s is longer than 52 characters: set fullnameOverride, or shorten the component or shard" $name) -}}
{{- end -}}
{{- $replicas := $root.Values.replicas -}}
{{- if hasKey $component "replicas" -}}{{- $replicas = $component.replicas -}}{{- end -}}
{{- if hasKey $shard "replicas" -}}{{- $replicas = $shard.replicas -}}{{- end -}}
{{- $result = append $result (dict
  "name" $name
  "component" $component.name
  "shard" $shard.name
  "selector" $shard.selector
  "roles" $component.roles
  "account" $component.account
  "replicas" (int $replicas)
  "resources" ($shard.resources | default $component.resources | default $root.Values.resources)
) -}}
{{- end -}}
{{- end -}}
{{- toYaml $result -}}
{{- end -}}

{{- /* The roles that run apart, each with its account, as a YAML list. Without `components` it is one without a name. */ -}}
{{- define "image-updater.components" -}}
{{- $root := . -}}
{{- $result := list -}}
{{- $single := dict "name" "" "roles" .Values.roles "serviceAccount" .Values.serviceAccount -}}
{{- if and .Values.components .Values.serviceAccount.name -}}
{{- fail "serviceAccount.name is for one account: name those of the components in components[].serviceAccount.name" -}}
{{- end -}}
{{- range $component := .Values.components | default (list $single) -}}
{{- $own := $component.serviceAccount | default dict -}}
{{- $made := list (include "image-updater.fullname" $root) $component.name | compact | join "-" -}}
{{- $result = append $result (dict
  "name" $component.name
  "roles" $component.roles
  "resources" ($component.resources | default dict)
  "account" ($own.name | default (ternary $made "default" $root.Values.serviceAccount.create))
  "annotations" (merge (deepCopy ($own.annotations | default dict)) $root.Values.serviceAccount.annotations)
  "made" $made
) -}}
{{- if hasKey $component "replicas" -}}{{- $_ := set (last $result) "replicas" $component.replicas -}}{{- end -}}
{{- end -}}
{{- toYaml $result -}}
{{- end -}}

{{- /* Of (root, workload): "true" where Flagger's gates are answered. */ -}}
{{- define "image-updater.gates" -}}
{{- $root := index . 0 -}}{{- $workload := index . 1 -}}
{{- if and $root.Values.flagger.secretName (has "update" $workload.roles) (has "web" $workload.roles) -}}true{{- end -}}
{{- end -}}

{{- /* Of (root, workload): what tells its pods from those of the others. */ -}}
{{- define "image-updater.workloadSelectors" -}}
{{- $root := index . 0 -}}{{- $workload := index . 1 -}}
{{ include "image-updater.selectors" $root }}
app.kubernetes.io/component: {{ list $workload.component $workload.shard | compact | join "-" | default "controller" }}
{{- end -}}
