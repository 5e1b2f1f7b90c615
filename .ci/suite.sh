#!/usr/bin/env bash
# One suite: .ci/suite.sh unit|integration [PYTEST ARGUMENTS…]
source "$(dirname "$0")/env.sh"
suite=$1
shift
.ci/venv.sh dev kustomize
.ci/apt.sh # the unit suite asks git, ssh-keygen and gpg for their opinion too
[ "$suite" = unit ] || .ci/tools.sh
[ -d "tests/$suite" ] || die "tests/$suite is missing"
workers=$(nproc 2>/dev/null || echo 2)
[ "$workers" -le 4 ] || workers=4
say "pytest tests/$suite"
export IMAGE_UPDATER_CACHE=$CACHE # where tests/parts/tools.py finds what tools.sh built
exec "$VENV/bin/python" -m pytest "tests/$suite" -n "${WORKERS:-$workers}" --dist loadfile "$@"
