#!/usr/bin/env bash
# Builds the image with what is here, docker, podman or buildah: image.sh [OPTION...] (make image)
#
#   IMAGE    its name (facemill)
#   BUILDER  which of the three, if not the first one that works
#   SOURCE   where the code is, for the image's label
#   RUST_IMAGE, DEBIAN_IMAGE   other bases than the Dockerfile names, as with a digest
#
# Every OPTION goes to the builder: --build-arg PROFILE=bench, --target facemill-cuda, --platform linux/arm64
set -euo pipefail

cd "$(dirname "$0")/.."
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
revision=unknown
if git rev-parse --verify --quiet HEAD >/dev/null; then
    revision=$(git rev-parse HEAD)
    [ -z "$(git status --porcelain)" ] || revision+=-changed
fi

# A docker that is only the client cannot build.
works() {
    case $1 in
        buildah) command -v buildah >/dev/null ;;
        *) command -v "$1" >/dev/null && "$1" info >/dev/null 2>&1 ;;
    esac
}

builder=${BUILDER:-}
for candidate in docker podman buildah; do
    [ -z "$builder" ] && works "$candidate" && builder=$candidate
done
if [ -z "$builder" ]; then
    {
        echo 'Missing: docker, podman or buildah, to build the image with. On Debian: sudo apt-get install podman'
        command -v docker >/dev/null && echo 'The docker that is here reaches no daemon: docker info says why.'
    } >&2
    exit 1
fi

name=${IMAGE:-facemill}:$version
case " $* " in *[\ =]facemill-cuda\ *) name+=-cuda ;; esac
options=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "SOURCE=${SOURCE:-unknown}")
for base in RUST_IMAGE DEBIAN_IMAGE; do
    [ -z "${!base:-}" ] || options+=(--build-arg "$base=${!base}")
done
if [ "$builder" = buildah ]; then
    # The others keep each step by themselves; with it, buildah 1.28 does not see that a label's value has changed.
    options+=(--layers --label "org.opencontainers.image.version=$version"
        --label "org.opencontainers.image.revision=$revision" --label "org.opencontainers.image.source=${SOURCE:-unknown}")
fi
echo "Building $name with $builder"
"$builder" build --tag "$name" "${options[@]}" "$@" .
