#!/usr/bin/env bash
# Everything: installs what is missing, then lint, types, contracts, generated files, unit and integration suites.
# All of it runs even when a part fails; the last line is the sum, "N passed, N failed".
source "$(dirname "$0")/env.sh"
out=$(mktemp -d)
tools=
cleanup() {
  [ -z "$tools" ] || kill "$tools" 2>/dev/null || true
  rm -rf "$out"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
export RESULTS=$out/checks
started=$SECONDS

.ci/venv.sh dev kustomize
.ci/apt.sh
# The programs are built while the checks run: minutes on a bare machine, nothing with a cache.
.ci/tools.sh >"$out/tools.log" 2>&1 &
tools=$!

.ci/check.sh || true
.ci/suite.sh unit --junitxml="$out/unit.xml" || true
built=0
wait "$tools" || built=$?
tools=
if [ "$built" = 0 ]; then
  cat "$out/tools.log"
  .ci/suite.sh integration --junitxml="$out/integration.xml" || true
else
  cat "$out/tools.log" >&2
  echo "failed programs for the integration suite" >>"$RESULTS"
fi

say "Summary ($((SECONDS - started)) s)"
"$VENV/bin/python" .ci/summary.py "$RESULTS" "$out/unit.xml" "$out/integration.xml"
