#!/usr/bin/env bash
# deploy/kubernetes and deploy/helm, rendered by Helm and kubectl and held against Kubernetes' schemas.
. "$(dirname "$0")/common.sh"
bring_tools
"$tools/bin/python" "$root/tests/deploy/kubernetes.py" "$bearward" "$tools"
