{{- define "retint.name" -}}
{{- if contains "retint" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-retint" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end -}}

{{- define "retint.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/name: retint
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /* Takes a list: the root, and the component. */ -}}
{{- define "retint.selector" -}}
app.kubernetes.io/name: retint
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "retint.image" -}}
{{- $images := (index . 0).Values.images -}}
{{- with $images.registry }}{{ . }}/{{ end }}{{ index $images (index . 1) }}:{{ $images.tag | default (index . 0).Chart.AppVersion }}
{{- end -}}

{{- define "retint.secretName" -}}
{{ .Values.secret.existing | default (printf "%s-secrets" (include "retint.name" .)) }}
{{- end -}}

{{- /* What contradicts each other, as far as the schema cannot say it. */ -}}
{{- define "retint.check" -}}
{{- if and .Values.secret.existing .Values.secret.values }}
{{- fail "secret.existing and secret.values are both set. Keep the secret that exists, or let the chart make one." }}
{{- end }}
{{- if not (or .Values.secret.existing .Values.secret.values) }}
{{- fail "There are no secrets. Set secret.existing to the name of a secret with the address of the database and the others; README.md lists them." }}
{{- end }}
{{- if and .Values.weights.existingClaim .Values.weights.fetch }}
{{- fail "weights.existingClaim and weights.fetch are both set. Weights come from one of the two." }}
{{- end }}
{{- if and .Values.store.keys .Values.secret.values }}
{{- if not (and .Values.secret.values.s3Key .Values.secret.values.s3Secret) }}
{{- fail "store.keys is true, but secret.values has no s3Key and s3Secret. Give both, or set store.keys to false." }}
{{- end }}
{{- end }}
{{- range $fleet, $worker := .Values.workers }}
{{- if gt (int $worker.least) (int $worker.most) }}
{{- fail (printf "workers.%s.least, %d, is larger than workers.%s.most, %d. Change one of them." $fleet (int $worker.least) $fleet (int $worker.most)) }}
{{- end }}
{{- if and (not $.Values.keda.enabled) (gt (int $worker.replicas) (int $worker.most)) }}
{{- fail (printf "workers.%s.replicas, %d, is larger than workers.%s.most, %d. Change one of them." $fleet (int $worker.replicas) $fleet (int $worker.most)) }}
{{- end }}
{{- end }}
{{- if and (eq .Values.keda.source "prometheus") .Values.keda.enabled (not .Values.keda.prometheusAddress) }}
{{- fail "keda.source is prometheus, but keda.prometheusAddress is empty. Set the address of Prometheus." }}
{{- end }}
{{- if and .Values.portal.ingress.enabled .Values.portal.ingress.tlsSecret (hasPrefix "http:" .Values.publicUrl) }}
{{- fail "The ingress has a certificate, but publicUrl begins with http:. Set it to the https address." }}
{{- end }}
{{- if and .Values.portal.ingress.enabled (hasPrefix "https:" .Values.publicUrl) (not .Values.portal.trustedProxies) }}
{{- fail "The portal has an ingress, but portal.trustedProxies is empty: it would count all failed sign-ins against the ingress controller. Set the network of its pods." }}
{{- end }}
{{- end -}}
