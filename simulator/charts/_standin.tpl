{{/*
Shared by all stand-in charts. "standin.workload" makes pods and what belongs to them, from a dict:
  root, values               the chart's root, and the values that hold image, replicas, resources, placement, env ...
  kind, name, label, component  Deployment unless said, called like the release unless said
  service, port, exposed     Service, port of the pods, port of the Service if it is another
  claim                      a volume: name, size, class, modes, annotations, create; `template`: one for each replica
  secrets, settings          environment from keys of Secrets (those that have a name), and plain
  needs, tolerates, selectsNodes  the chart's defaults for resources, tolerations and node selector
  monitored                  whether it has a ServiceMonitor
  account                    its service account, if it is not the namespace's default
Pods without a security context in the values get the strictest: whether the real chart's default passes the namespace's
Pod Security is not to be learnt here.
*/}}

{{- define "standin.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains (default .Chart.Name .Values.nameOverride) .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) -}}
{{- end -}}
{{- end -}}

{{- define "standin.database" -}}
{{- $db := .Values.externalDatabase -}}
{{- $uri := $db.uriSecret | default dict -}}
{{- list (dict "env" "POSTGRES_PASSWORD" "name" $db.existingSecret "key" $db.existingSecretPasswordKey) (dict "env" "POSTGRES_DB_DSN" "name" $uri.name "key" $uri.key) | toJson -}}
{{- end -}}

{{- define "standin.selector" -}}
app.kubernetes.io/name: {{ .label | default (default .root.Chart.Name .root.Values.nameOverride) }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- if .component }}
app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- end -}}

{{- define "standin.image" -}}
{{- $image := .values.image | default dict -}}
{{- if kindIs "string" $image -}}
{{- $image -}}
{{- else -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{ $image.repository | default "registry.example/stand-in" }}:{{ $image.tag | default (.root.Chart.AppVersion) }}
{{- end -}}
{{- end -}}

{{- define "standin.pod" -}}
metadata:
  labels:
    {{- include "standin.selector" . | nindent 4 }}
    {{- with .values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with .values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .values.nodeSelector | default .selectsNodes }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations | default .tolerates }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.podSecurityContext }}
  securityContext:
    {{- toYaml (omit . "enabled") | nindent 4 }}
  {{- end }}
  {{- with .account }}
  serviceAccountName: {{ . }}
  {{- end }}
  {{- $pull := .values.imagePullSecrets | default .root.Values.imagePullSecrets | default (.root.Values.global | default dict).imagePullSecrets }}
  {{- with $pull }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ kindIs "string" . | ternary . (get (kindIs "string" . | ternary dict .) "name") }}
    {{- end }}
  {{- end }}
  {{- if eq .kind "Job" }}
  restartPolicy: Never
  {{- end }}
  containers:
    - name: main
      image: {{ include "standin.image" . | quote }}
      {{- with .port }}
      ports:
        - name: main
          containerPort: {{ . }}
      {{- end }}
      env:
        {{- range .secrets }}
        {{- if .name }}
        - name: {{ .env }}
          valueFrom:
            secretKeyRef: { name: {{ .name | quote }}, key: {{ .key | quote }} }
        {{- end }}
        {{- end }}
        {{- range $name, $value := .settings }}
        - name: {{ $name }}
          value: {{ $value | toString | quote }}
        {{- end }}
        {{- if kindIs "slice" .values.env }}
        {{- with .values.env }}{{ toYaml . | nindent 8 }}{{ end }}
        {{- else }}
        {{- range $name, $value := .values.env }}
        - name: {{ $name }}
          {{- if kindIs "map" $value }}
          {{- toYaml $value | nindent 10 }}
          {{- else }}
          value: {{ $value | toString | quote }}
          {{- end }}
        {{- end }}
        {{- end }}
      {{- with .values.resources | default .needs }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml (omit (.values.containerSecurityContext | default .values.securityContext | default .restricted) "enabled") | nindent 8 }}
      {{- if .claim }}
      volumeMounts:
        - { name: data, mountPath: /data }
      {{- end }}
  {{- if and .claim (not .claim.template) }}
  volumes:
    - name: data
      persistentVolumeClaim: { claimName: {{ .claim.name }} }
  {{- end }}
{{- end -}}

{{- define "standin.claim" -}}
accessModes: {{ toJson (.claim.modes | default (list "ReadWriteOnce")) }}
{{- with .claim.class }}
storageClassName: {{ . }}
{{- end }}
resources: { requests: { storage: {{ .claim.size }} } }
{{- end -}}

{{- define "standin.workload" -}}
{{- $_ := set . "kind" (.kind | default "Deployment") }}
{{- $_ := set . "name" (.name | default (include "standin.fullname" .root)) }}
{{- $_ := set . "values" (.values | default dict) }}
{{- $_ := set . "restricted" (dict "allowPrivilegeEscalation" false "runAsNonRoot" true "capabilities" (dict "drop" (list "ALL")) "seccompProfile" (dict "type" "RuntimeDefault")) }}
{{- $replicas := .values.replicaCount | default .values.replicas | default 1 }}
{{- if and .claim .claim.create (not .claim.template) }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .claim.name }}
  annotations: {{ toJson (.claim.annotations | default dict) }}
spec:
  {{- include "standin.claim" . | nindent 2 }}
{{- end }}
---
{{- if eq .kind "Job" }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .name }}
spec:
  template:
    {{- include "standin.pod" . | nindent 4 }}
{{- else }}
apiVersion: apps/v1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  labels:
    {{- include "standin.selector" . | nindent 4 }}
spec:
  {{- if and (ne .kind "DaemonSet") (not (.values.autoscaling | default dict).enabled) }}
  replicas: {{ $replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "standin.selector" . | nindent 6 }}
  {{- if eq .kind "StatefulSet" }}
  serviceName: {{ .service | default .name }}
  podManagementPolicy: Parallel
  {{- if and .claim .claim.template }}
  volumeClaimTemplates:
    - metadata: { name: data }
      spec:
        {{- include "standin.claim" . | nindent 8 }}
  {{- end }}
  {{- end }}
  template:
    {{- include "standin.pod" . | nindent 4 }}
{{- end }}
{{- if .service }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .service }}
  labels:
    {{- include "standin.selector" . | nindent 4 }}
    {{- with (.values.service | default dict).labels }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  selector:
    {{- include "standin.selector" . | nindent 4 }}
  ports:
    - { name: main, port: {{ .exposed | default .port }}, targetPort: main }
{{- end }}
{{- if (.values.autoscaling | default dict).enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: {{ .kind }}, name: {{ .name }} }
  minReplicas: {{ .values.autoscaling.minReplicas | default 1 }}
  maxReplicas: {{ .values.autoscaling.maxReplicas }}
  metrics: {{ toJson .values.autoscaling.metrics }}
{{- end }}
{{- if .monitored }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ .name }}
spec:
  selector:
    matchLabels:
      {{- include "standin.selector" . | nindent 6 }}
  endpoints:
    - port: main
{{- end }}
{{- end -}}
