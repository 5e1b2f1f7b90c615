#!/usr/bin/env bash
# The budgets with the measured figures: each tests/bench/NAME.py prints its rows. .ci/bench.sh [NAME…]
source "$(dirname "$0")/env.sh"
.ci/venv.sh dev kustomize
.ci/apt.sh
.ci/tools.sh
export IMAGE_UPDATER_CACHE=$CACHE
status=0
for file in tests/bench/[a-z]*.py; do
  name=$(basename "$file" .py)
  if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
  say "$name"
  "$VENV/bin/python" "$file" || status=1
done
exit $status
