#!/usr/bin/env bash
# A virtual environment with this package and extras: .ci/venv.sh [EXTRA…]. Does nothing when it is up to date.
source "$(dirname "$0")/env.sh"

have "$PYTHON" || die "$PYTHON is not there; Python 3.11 or newer is needed (PYTHON=… names another)"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  die "$("$PYTHON" -V) is too old, Python 3.11 or newer is needed (PYTHON=… names another)"

if [ ! -x "$VENV/bin/python" ] || ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
  if ! "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null; then
    is_root && have apt-get && .ci/apt.sh /nonexistent=python3-venv
    "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
      die "$PYTHON has no venv module. Install it: apt-get install python3-venv (or your system's equivalent)"
  fi
  say "Virtual environment in ${VENV#"$ROOT"/}"
  rm -rf "$VENV"
  "$PYTHON" -m venv "$VENV"
fi

# One stamp per extra: what was installed, from which declaration, for which interpreter.
declaration=$({ cat pyproject.toml; "$VENV/bin/python" -VV; printf '%s' "$ROOT"; } | cksum)
stamps=$VENV/.extras
mkdir -p "$stamps"
wanted=()
for extra in base "$@"; do
  [ "$(cat "$stamps/$extra" 2>/dev/null)" = "$declaration" ] || wanted+=("$extra")
done
[ ${#wanted[@]} -gt 0 ] || exit 0

extras=$(IFS=,; echo "$*")
target=.${extras:+[$extras]}
say "pip install -e $target"
"$VENV/bin/pip" install -q --retries 5 -e "$target"
for extra in base "$@"; do printf '%s' "$declaration" >"$stamps/$extra"; done
