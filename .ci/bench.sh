#!/usr/bin/env bash
# The budgets with the measured figures, one table: .ci/bench.sh [NAME…] [--save] [--notes] (tests/bench/__main__.py).
source "$(dirname "$0")/env.sh"
.ci/venv.sh dev kustomize
.ci/apt.sh
.ci/tools.sh
export IMAGE_UPDATER_CACHE=$CACHE
exec "$VENV/bin/python" -m tests.bench "$@"
