#!/usr/bin/env bash
# The demo on a fresh machine: only Python is needed.
source "$(dirname "$0")/env.sh"
if have kustomize || have kubectl; then
  .ci/venv.sh
else
  .ci/venv.sh kustomize
fi
exec "$VENV/bin/image-updater" demo "$@"
