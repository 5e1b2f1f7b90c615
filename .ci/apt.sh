#!/usr/bin/env bash
# Debian packages by the programs they bring: .ci/apt.sh [program=package …]. Without arguments: all of .ci/packages.
# Installs what is missing as root; otherwise says what to install and fails.
source "$(dirname "$0")/env.sh"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

[ $# -gt 0 ] || mapfile -t wanted < <(grep -v "^#" .ci/packages)
[ $# -eq 0 ] || wanted=("$@")

missing=()
for pair in "${wanted[@]}"; do
  program=${pair%%=*} package=${pair#*=}
  case $program in
    */*) [ -e "$program" ] || missing+=("$package") ;;
    *) have "$program" || missing+=("$package") ;;
  esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! is_root || ! have apt-get; then
  die "these are missing: ${missing[*]}. Install them as root: apt-get install --no-install-recommends ${missing[*]}"
fi
say "Debian packages: ${missing[*]}"
# The tests start their own daemons on their own ports: nothing of these packages shall start by itself.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}"; }
log=$(mktemp)
if ! { apt-get update -q && install; } >"$log" 2>&1; then
  sleep 5 # a mirror that hiccups gets one more chance
  { apt-get update -q && install; } >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; die "apt-get failed"; }
fi
rm -f "$log"
