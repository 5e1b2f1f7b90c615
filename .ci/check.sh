#!/usr/bin/env bash
# Lint, types, import contracts and generated files. Runs all of them, then fails if one did.
# With RESULTS set, writes one line a check into that file: ok|failed NAME.
source "$(dirname "$0")/env.sh"
.ci/venv.sh dev kustomize

status=0
run() { # name command…
  local name=$1
  shift
  say "$name"
  if "$@"; then
    [ -z "${RESULTS:-}" ] || echo "ok $name" >>"$RESULTS"
  else
    status=1
    echo "failed: $name" >&2
    [ -z "${RESULTS:-}" ] || echo "failed $name" >>"$RESULTS"
  fi
}
B=$VENV/bin
run "ruff check" "$B/ruff" check .
run "ruff format" "$B/ruff" format --check -q .
run "mypy" "$B/mypy"
run "import contracts" "$B/lint-imports" --no-logo
run "generated files" "$B/python" docs/generate.py --check
run "generated chart" "$B/python" charts/generate.py --check
exit $status
