{{/* What would only come to light when a pod isn't ready, said before anything is installed. */}}
{{- define "bearward.checkPolicy" -}}
{{- if not .Values.existingConfigMap -}}
{{- $text := index .Values.policy "gateway.yaml" | default "" -}}
{{- if not $text -}}
{{- fail "policy: a `gateway.yaml` is required (--set-file 'policy.gateway\\.yaml=gateway.yaml'), or existingConfigMap" -}}
{{- end -}}
{{- $policy := fromYaml $text -}}
{{- if hasKey $policy "Error" -}}
{{- fail (printf "policy: gateway.yaml isn't YAML: %s" (get $policy "Error")) -}}
{{- end -}}
{{- $admin := "" -}}
{{- if kindIs "map" $policy.admin -}}{{- $admin = $policy.admin.address | default "" | toString -}}{{- end -}}
{{- if not (contains "${" $admin) -}}
{{- if or (not (hasSuffix (printf ":%v" (int .Values.adminPort)) $admin)) (hasPrefix "127." $admin) (hasPrefix "[::1]" $admin) -}}
{{- fail (printf "policy: probes can't reach admin.address %q of gateway.yaml: write `admin: {address: \"0.0.0.0:%d\"}`" $admin (int .Values.adminPort)) -}}
{{- end -}}
{{- end -}}
{{- $listens := list -}}
{{- range $policy.listen -}}
{{- if kindIs "map" . -}}{{- $listens = append $listens (.address | toString) -}}{{- else -}}{{- $listens = append $listens (toString .) -}}{{- end -}}
{{- end -}}
{{- range $port := .Values.ports -}}
{{- $found := false -}}
{{- range $listens -}}
{{- if or (contains "${" .) (and (hasSuffix (printf ":%v" (int $port.port)) .) (not (hasPrefix "127." .)) (not (hasPrefix "[::1]" .))) -}}{{- $found = true -}}{{- end -}}
{{- end -}}
{{- if not $found -}}
{{- fail (printf "policy: gateway.yaml listens at %v: nowhere that others reach at port %d of `ports` (%s)" $listens (int $port.port) $port.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
