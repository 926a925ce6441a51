{{- define "stillwatch.name" -}}
{{- if contains "stillwatch" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-stillwatch" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "stillwatch.labels" -}}
app.kubernetes.io/name: stillwatch
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* Which pods: all of this release, or with (dict "root" . "process" NAME) those of one process. */}}
{{- define "stillwatch.selector" -}}
app.kubernetes.io/name: stillwatch
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .process }}
{{- end }}

{{- define "stillwatch.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end -}}
{{- end }}

{{- define "stillwatch.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "stillwatch.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities: { drop: [ALL] }
{{- end }}

{{- /* STILLWATCH_* of every process; (dict "root" . "process" NAME "spec" SPEC). */}}
{{- define "stillwatch.environment" -}}
{{- $v := .root.Values -}}
- { name: STILLWATCH_TENANT, value: {{ $v.tenant | quote }} }
- { name: STILLWATCH_KAFKA_BOOTSTRAP_SERVERS, value: {{ $v.kafka.bootstrapServers | quote }} }
- { name: STILLWATCH_KAFKA_SECURITY_PROTOCOL, value: {{ $v.kafka.securityProtocol | quote }} }
{{- if hasPrefix "SASL" $v.kafka.securityProtocol }}
- { name: STILLWATCH_KAFKA_SASL_MECHANISM, value: {{ $v.kafka.saslMechanism | quote }} }
- { name: STILLWATCH_KAFKA_SASL_USERNAME, value: {{ printf "%s-%s" (include "stillwatch.name" .root) .process | quote }} }
- { name: STILLWATCH_KAFKA_SASL_PASSWORD_FILE, value: /run/secrets/stillwatch/kafka-password }
{{- end }}
{{- if hasSuffix "SSL" $v.kafka.securityProtocol }}
- { name: STILLWATCH_KAFKA_SSL_CA, value: /run/secrets/stillwatch/kafka-ca.crt }
{{- end }}
- { name: STILLWATCH_PARTITIONS, value: {{ $v.partitions | quote }} }
- { name: STILLWATCH_REPLICATION_FACTOR, value: {{ $v.replicationFactor | quote }} }
- { name: STILLWATCH_METRICS_HOST, value: 0.0.0.0 }
- { name: STILLWATCH_METRICS_PORT, value: '9464' }
- { name: STILLWATCH_LOG_FORMAT, value: json }
{{- if .spec.stable }}
- name: STILLWATCH_WORKER_INDEX
  valueFrom: { fieldRef: { fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']" } }
- { name: STILLWATCH_STATIC_MEMBERSHIP, value: 'true' }
- { name: STILLWATCH_SESSION_TIMEOUT_MS, value: {{ $v.kafka.sessionTimeoutMs | quote }} }
{{- end }}
{{- range .spec.secrets }}
- { name: STILLWATCH_{{ . | snakecase | upper }}_FILE, value: /run/secrets/stillwatch/{{ . | kebabcase }} }
{{- end }}
{{- if eq .process "api" }}
- { name: STILLWATCH_API_HOST, value: 0.0.0.0 }
- { name: STILLWATCH_API_PORT, value: {{ $v.api.port | quote }} }
{{- end }}
{{- if and $v.api.publicUrl (has .process (list "api" "subscribers")) }}
- { name: STILLWATCH_PUBLIC_URL, value: {{ $v.api.publicUrl | quote }} }
{{- end }}
{{- if $v.detectionConfig }}
- { name: STILLWATCH_DETECTION_CONFIG, value: /etc/stillwatch/detection/config.json }
{{- end }}
{{- if $v.references }}
- { name: STILLWATCH_REFERENCES, value: /etc/stillwatch/references/references.json }
{{- end }}
{{- range $name, $value := $v.settings }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end }}

{{- define "stillwatch.mounts" -}}
- { name: scratch, mountPath: /var/lib/stillwatch }
- { name: tmp, mountPath: /tmp }
- { name: secrets, mountPath: /run/secrets/stillwatch, readOnly: true }
{{- if .Values.detectionConfig }}
- { name: detection, mountPath: /etc/stillwatch/detection, readOnly: true }
{{- end }}
{{- if .Values.references }}
- { name: references, mountPath: /etc/stillwatch/references, readOnly: true }
{{- end }}
{{- end }}

{{- /* Volumes; (dict "root" . "process" NAME "spec" SPEC). Secrets are files: an environment can be read by who may look at the pod. */}}
{{- define "stillwatch.volumes" -}}
{{- $v := .root.Values -}}
- name: scratch
  emptyDir: { sizeLimit: {{ $v.spool }} }
- name: tmp
  emptyDir: { sizeLimit: 256Mi }
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- if hasPrefix "SASL" $v.kafka.securityProtocol }}
      - secret:
          name: {{ include "stillwatch.name" .root }}-{{ .process }}
          items: [{ key: password, path: kafka-password }]
      {{- end }}
      {{- if hasSuffix "SSL" $v.kafka.securityProtocol }}
      - secret:
          name: {{ $v.kafka.caSecret.name }}
          items: [{ key: {{ $v.kafka.caSecret.key }}, path: kafka-ca.crt }]
      {{- end }}
      {{- range .spec.secrets }}
      {{- $secret := get $v.secrets . }}
      - secret:
          name: {{ $secret.name }}
          items: [{ key: {{ $secret.key }}, path: {{ . | kebabcase }} }]
      {{- end }}
{{- if $v.detectionConfig }}
- name: detection
  configMap: { name: {{ $v.detectionConfig }} }
{{- end }}
{{- if $v.references }}
- name: references
  configMap: { name: {{ $v.references }} }
{{- end }}
{{- end }}
