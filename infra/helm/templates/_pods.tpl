{{- /* The environment of every container. */ -}}
{{- define "retint.environment" -}}
{{- $secret := include "retint.secretName" . -}}
{{- $keys := .Values.secret.keys -}}
{{- $names := dict "databaseUrl" "DATABASE_URL" "brokerUrl" "BROKER_URL" "secret" "SECRET" "metricsToken" "METRICS_TOKEN" -}}
{{- if .Values.store.keys }}{{ $_ := set $names "s3Key" "S3_KEY" }}{{ $_ := set $names "s3Secret" "S3_SECRET" }}{{ end -}}
{{- range $name, $variable := $names }}
- name: RETINT_{{ $variable }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ index $keys $name }}}}
{{- end }}
{{- range $name, $variable := dict "smtpUrl" "SMTP_URL" "formerSecrets" "FORMER_SECRETS" }}
- name: RETINT_{{ $variable }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ index $keys $name }}, optional: true}}
{{- end }}
- {name: RETINT_STORE_URL, value: {{ .Values.store.url | quote }}}
{{- with .Values.store.endpoint }}
- {name: RETINT_S3_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- with .Values.store.publicEndpoint }}
- {name: RETINT_S3_PUBLIC_ENDPOINT, value: {{ . | quote }}}
{{- end }}
- {name: RETINT_S3_REGION, value: {{ .Values.store.region | quote }}}
- {name: RETINT_PUBLIC_URL, value: {{ .Values.publicUrl | quote }}}
- {name: RETINT_FLEET_DRIVER, value: {{ ternary "kubernetes" "hand" .Values.keda.enabled }}}
- {name: RETINT_MOST_CPU_WORKERS, value: {{ .Values.workers.cpu.most | quote }}}
- {name: RETINT_MOST_GPU_WORKERS, value: {{ .Values.workers.gpu.most | quote }}}
- name: RETINT_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "retint.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "retint.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "retint.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: data, mountPath: /data}
{{- if or .Values.weights.existingClaim .Values.weights.fetch }}
- {name: weights, mountPath: /weights, readOnly: true}
{{- end }}
{{- end -}}

{{- /* Takes a list: the root, and the sizes of /tmp and /data. */ -}}
{{- define "retint.volumes" -}}
{{- $root := index . 0 -}}
- name: tmp
  emptyDir: {sizeLimit: {{ index . 1 }}}
- name: data
  emptyDir: {sizeLimit: {{ index . 2 }}}
{{- if $root.Values.weights.existingClaim }}
- name: weights
  persistentVolumeClaim: {claimName: {{ $root.Values.weights.existingClaim }}, readOnly: true}
{{- else if $root.Values.weights.fetch }}
- name: weights
  emptyDir: {sizeLimit: {{ $root.Values.weights.size }}}
{{- end }}
{{- end -}}

{{- /* Fetches weights before the container starts; each is verified by its hash. */ -}}
{{- define "retint.initContainers" -}}
{{- if .Values.weights.fetch }}
initContainers:
{{- range .Values.weights.fetch }}
  - name: fetch-{{ . }}
    image: {{ include "retint.image" (list $ "gpuWorker") }}
    imagePullPolicy: {{ $.Values.images.pullPolicy }}
    args: [weights, fetch, {{ . }}]
    env: [{name: RETINT_WEIGHTS, value: /weights}]
    securityContext: {{ include "retint.security" $ | nindent 6 }}
    resources:
      requests: {cpu: 100m, memory: 1Gi}
      limits: {memory: 4Gi}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: data, mountPath: /data}
      - {name: weights, mountPath: /weights}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Takes a list: the root, and the component's values. */ -}}
{{- define "retint.placement" -}}
{{- $values := index . 1 -}}
{{- with $values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with (index . 0).Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* A process that hangs writes no heartbeat. One that lives and receives nothing ends by itself, asked by the
dispatcher. The first heartbeat comes when the database answers. */ -}}
{{- define "retint.heartbeatProbes" -}}
startupProbe:
  exec: {command: [retint, worker-alive, --heartbeat, /tmp/heartbeat]}
  periodSeconds: 10
  timeoutSeconds: 20
  failureThreshold: 30
livenessProbe:
  exec: {command: [retint, worker-alive, --heartbeat, /tmp/heartbeat]}
  periodSeconds: 30
  timeoutSeconds: 20
  failureThreshold: 2
{{- end -}}
