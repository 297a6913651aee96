#!/usr/bin/env bash
# Builds the image for real, with buildah on this machine, and starts facemill from the result: image-test.sh
# (make image-test; root on Debian 12). docs/image.md says what this shows and what not.
#
# The bases are stand-ins under the real ones' names: Debian's packages, and this machine's Rust toolchain mounted into
# the one of Rust. The network is needed for Debian's packages alone.
#
#   PROFILE         bench (as release, without link-time optimisation), or release
#   CUDA            1: the image with CUDA too, as far as it goes without a GPU (fetches 1.3 GB, takes 10 GB of the cache)
#   IMAGE_CACHE     where stand-ins and the build's target folder are kept (~/.cache/facemill/image; about 3 GB)
set -euo pipefail

cd "$(dirname "$0")/.."
profile=${PROFILE:-bench}
cache=${IMAGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/facemill/image}
facemill_cache=${XDG_CACHE_HOME:-$HOME/.cache}/facemill
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
revision=$(git rev-parse HEAD)
photos=assets/downloads/photos

fail() {
    printf 'image-test: %s\n' "$*" >&2
    exit 1
}

said() {
    printf '%-58s %s\n' "$1" "${2:-ok}"
}

[ "$(id -u)" = 0 ] || fail 'needs root: it mounts file systems and starts the image as another user'
command -v dpkg-deb >/dev/null || fail 'needs Debian or Ubuntu: the stand-ins are made of its packages'
scripts/need.sh python3 cargo
for tool in buildah mmdebstrap; do
    command -v "$tool" >/dev/null || { echo "Installing $tool" && apt-get install --yes --quiet=2 --no-install-recommends "$tool" >/dev/null; }
done
scripts/fetch-assets.sh

mkdir -p "$cache/target"
work=$(mktemp -d)
container=
server=
clean() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$container" ] || buildah rm "$container" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean EXIT

# Overlay where the kernel lets us: vfs copies the whole image for every step.
mkdir "$work"/{lower,upper,work,merged}
driver=vfs
if unshare --mount mount -t overlay overlay -o "lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/work" "$work/merged" 2>/dev/null; then
    driver=overlay
fi
printf '[storage]\ndriver = "%s"\ngraphroot = "%s"\nrunroot = "%s"\n' "$driver" "$cache/storage" "$cache/run" >"$work/storage.conf"
export CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot

debian=$(sed -n 's/^ARG DEBIAN_IMAGE=//p' Dockerfile)
rust=$(sed -n 's/^ARG RUST_IMAGE=//p' Dockerfile)

if ! buildah inspect --type image "$debian" >/dev/null 2>&1; then
    echo "Making the stand-in of $debian (once; half a minute)"
    # From wherever this machine has its packages.
    mmdebstrap --quiet --variant=minbase bookworm "$work/base.tar"
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$work/base.tar" / >/dev/null
    buildah commit --quiet --rm "$container" "$debian" >/dev/null
    container=
    rm "$work/base.tar"
fi
if ! buildah inspect --type image "$rust" >/dev/null 2>&1; then
    echo "Making the stand-in of $rust (once; a minute)"
    container=$(buildah from --pull-never "$debian")
    # What the real one has besides, as far as it is used; cargo and rustc are mounted.
    # shellcheck disable=SC2016 # the shell inside is to expand it
    buildah run "$container" -- sh -c 'apt-get update --quiet=2 &&
        apt-get install --yes --quiet=2 --no-install-recommends ca-certificates g++ libc6-dev make perl pkg-config python3 >/dev/null &&
        apt-get clean && rm -rf /var/lib/apt/lists/* &&
        mkdir -p /usr/local/cargo/bin /usr/local/rustup &&
        for name in cargo rustc rustdoc; do ln -s ../../rustup/bin/$name /usr/local/cargo/bin/; done'
    # This machine may trust a proxy of its own.
    buildah copy --quiet "$container" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ >/dev/null
    buildah config --env CARGO_HOME=/root/.cargo \
        --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --rm "$container" "$rust" >/dev/null
    container=
fi
said 'stand-ins of the bases'

registry=${CARGO_HOME:-$HOME/.cargo}/registry
mkdir -p "$registry" "$facemill_cache/tools" "$facemill_cache/pip"
started=$SECONDS
build() {
    BUILDER=buildah scripts/image.sh --pull-never --build-arg "PROFILE=$profile" \
        --volume "$(rustc --print sysroot):/usr/local/rustup:ro" \
        --volume "$registry:/root/.cargo/registry" \
        --volume "$cache/target:/src/target" \
        --volume "$facemill_cache/tools:/root/.cache/facemill/tools" \
        --volume "$facemill_cache/pip:/root/.cache/facemill/pip" "$@" >"$cache/build.log" 2>&1 ||
        { tail -n 40 "$cache/build.log" >&2; fail "the build failed (all of it: $cache/build.log)"; }
}
# Sets container, root, config.
unpack() {
    container=$(buildah from --pull-never "$1")
    root=$(buildah mount "$container")
    config=$(buildah inspect --type image "$1" | python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["OCIv1"]["config"]))')
}
build
said "image built, profile $profile" "$((SECONDS - started)) s"

unpack "facemill:$version"

# What the image says of itself.
python3 - "$config" "$version" "$revision" <<'PYTHON' || fail 'the image is not what its configuration should say'
import json
import sys

config, version, revision = json.loads(sys.argv[1]), *sys.argv[2:]
assert config["User"] == "65532:65532", config["User"]
assert config["Entrypoint"] == ["facemill"], config["Entrypoint"]
assert not config.get("Cmd"), config["Cmd"]
assert list(config["ExposedPorts"]) == ["9464/tcp"], config["ExposedPorts"]
labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
for name in ["title", "description", "licenses", "source", "version", "revision"]:
    assert labels.get(name), name
assert labels["version"] == version and labels["revision"].startswith(revision), labels
PYTHON
said 'user, entry point, port and labels'

# What is in it.
found=$(find "$root" -xdev -perm /6000)
[ -z "$found" ] || fail "setuid or setgid: $found"
found=$(find "$root" -xdev -perm -o+w ! -type l ! -path "$root/tmp" ! -path "$root/var/tmp")
[ -z "$found" ] || fail "anybody may write: $found"
found=$(find "$root" -xdev ! -uid 0 ! -path "$root/data")
[ -z "$found" ] || fail "not root's: $found"
[ "$(stat --format %u:%g "$root/data")" = 65532:65532 ] || fail '/data is not the user'\''s'
said 'no setuid, nothing that anybody may write, all of it root'\''s'
found=$(find "$root" -xdev -type f -perm /111 ! -name '*.so*' ! -path "$root/usr/local/bin/facemill")
[ -z "$found" ] || fail "a program besides facemill: $found"
found=$(find "$root" -xdev \( -name '*.a' -o -name '*.h' -o -name '*.rs' -o -name '*.py' -o -name '*.deb' \))
[ -z "$found" ] || fail "left over from the build: $found"
said 'no program but facemill: no shell, no package manager, no tool'
(
    cd "$root"
    sed -n "s|  $(uname -m)/|  usr/lib/facemill/|p; s|  \(face_detection\)|  usr/share/facemill/\1|p" "$OLDPWD/assets/SHA256SUMS" |
        sha256sum --check --strict --quiet
) || fail 'ONNX Runtime or the model is not what assets/SHA256SUMS says'
said 'sums of ONNX Runtime and the model'
scripts/sbom-check.sh "$root/usr/share/doc/facemill/sbom.cdx.json" >"$work/sbom" || fail "$(cat "$work/sbom")"
for package in libc6 libstdc++6 ca-certificates; do
    grep -q "pkg:deb/debian/$package@" "$root/usr/share/doc/facemill/sbom.cdx.json" || fail "the SBOM lacks $package"
done
said 'SBOM' "$(cut -d ' ' -f 2- <"$work/sbom")"
for text in LICENSE-APACHE LICENSE-MIT crates.txt onnxruntime-LICENSE onnxruntime-ThirdPartyNotices.txt yunet-LICENSE; do
    [ -s "$root/usr/share/doc/facemill/licenses/$text" ] || fail "no licence $text"
done
for package in libc6 libgcc-s1 libstdc++6 ca-certificates; do
    [ -e "$root/usr/share/doc/$package/copyright" ] || [ -L "$root/usr/share/doc/$package" ] || fail "no licence of $package"
done
said 'licences of facemill, crates, ONNX Runtime, model, Debian'
size=$(du --summarize --bytes "$root" | cut -f 1)
[ "$size" -lt 150000000 ] || fail "the image has $size bytes"
said 'size' "$((size / 1000000)) MB, of which facemill $(($(stat --format %s "$root/usr/local/bin/facemill") / 1000000)) MB"

# What it does.
facemill() {
    unshare --mount --pid --fork --kill-child python3 scripts/image-run.py "$root" "$config" "$@"
}

output=$(facemill --version)
[ "$output" = "facemill $version" ] || fail "--version says $output"
said 'facemill --version' "$output"
facemill config show >"$work/config"
for line in 'detect.model = "/usr/share/facemill/' 'detect.runtime_library = "/usr/lib/facemill/'; do
    grep -qF "$line" "$work/config" || fail "config show does not have $line"
done
said 'facemill config show' "the image's model and ONNX Runtime"

python3 -u -m http.server --bind 127.0.0.1 --directory "$photos" 0 >"$work/server" 2>&1 &
server=$!
for _ in {1..100}; do
    port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$work/server")
    [ -z "$port" ] || break
    sleep 0.1
done
[ -n "$port" ] || fail "the web server did not start: $(cat "$work/server")"
base=http://127.0.0.1:$port
# How many faces it finds: find_faces OPTION...
find_faces() {
    facemill local --output jsonl --allow-network 127.0.0.0/8 "$@" "$base/newton.png" "$base/solvay_conference_1927.jpg" \
        "$base/missing.jpg" >"$work/results" 2>"$work/log" || fail "facemill local: $(cat "$work/log")"
    python3 - "$work/results" <<'PYTHON' || fail "facemill local found something else: $(cat "$work/results")"
import json
import sys

results = {row["url"].rsplit("/", 1)[1]: row for row in map(json.loads, open(sys.argv[1], encoding="utf-8"))}
found = {name: len(row.get("faces") or []) for name, row in results.items() if row["status"] == "detected"}
assert found == {"newton.png": 1, "solvay_conference_1927.jpg": 29}, found
assert results["missing.jpg"]["status"] == "failed", results["missing.jpg"]
print(" and ".join(map(str, found.values())))
PYTHON
}
faces=$(find_faces)
said 'facemill local, as 65532, read-only, no capabilities' "$faces faces"

# No broker listens on port 9: it says so, and what needs no server is right.
facemill check --output json --timeout 1s --set kafka.brokers=127.0.0.1:9 --set 'cql.contact_points=["127.0.0.1:9"]' \
    >"$work/check" 2>"$work/log" && fail 'facemill check passed without a broker'
grep -q '"name":"model","state":"ok"' "$work/check" || fail "facemill check: $(cat "$work/check" "$work/log")"
said 'facemill check' 'the model loads, the missing broker is named'

if [ "${CUDA:-}" = 1 ]; then
    buildah rm "$container" >/dev/null
    started=$SECONDS
    build --target facemill-cuda
    said 'image with CUDA built' "$((SECONDS - started)) s"
    unpack "facemill:$version-cuda"
    # By the image's own loader, which sees nothing but the image.
    missing=$(for library in "$root"/usr/lib/facemill-cuda/*.so*; do
        LD_LIBRARY_PATH=/usr/lib/facemill-cuda chroot "$root" /lib64/ld-linux-x86-64.so.2 --list "${library#"$root"}" 2>&1 || true
    done | sed -n 's/^\s*\(\S*\) => not found$/\1/p; s/.*loading shared libraries: \(\S*\): cannot open.*/\1/p' | sort -u)
    [ "$missing" = libcuda.so.1 ] || fail "its libraries do not find: $missing"
    said 'its libraries find all but the driver' "$missing"
    facemill local --allow-network 127.0.0.0/8 "$base/newton.png" >"$work/results" 2>"$work/log" &&
        fail 'facemill local went on without a GPU'
    grep -q 'detect.device = "cuda" cannot be had' "$work/log" || fail "without a GPU it says: $(cat "$work/log")"
    said 'without a GPU' 'an error that says so'
    faces=$(find_faces --set detect.device=cpu)
    said 'its ONNX Runtime on the processor' "$faces faces"
    scripts/sbom-check.sh "$root/usr/share/doc/facemill/sbom.cdx.json" >"$work/sbom" || fail "$(cat "$work/sbom")"
    grep -q 'pkg:pypi/nvidia-cudnn-cu13@' "$root/usr/share/doc/facemill/sbom.cdx.json" || fail 'the SBOM lacks cuDNN'
    said 'its SBOM' "$(cut -d ' ' -f 2- <"$work/sbom")"
    said 'its size' "$(($(du --summarize --bytes "$root" | cut -f 1) / 1000000)) MB"
fi
echo "image-test: passed; stand-ins and build are kept in $cache ($(du --summarize --one-file-system --human-readable "$cache" | cut -f 1))"
