#!/usr/bin/env bash
# Fetches into ${XDG_CACHE_HOME:-~/.cache}/facemill/stack what is not there yet: fetch.sh kafka|cassandra|cqlsh...
#
# The poms name versions, Maven compares each jar with the checksum beside it (--strict-checksums), and the
# committed SHA256SUMS say what the jars were when the version was chosen. `with-new-sums` as the first argument
# writes SHA256SUMS anew, after a change of a pom.
set -euo pipefail

# shellcheck source=scripts/stack/paths.sh
. "$(dirname "$0")/paths.sh"
needs=$stack_scripts/../need.sh

fail() {
    printf 'stack: %s\n' "$*" >&2
    exit 1
}

# right FOLDER SUMS: all of these jars and no other
right() {
    [ -d "$1" ] && (cd "$1" && sha256sum --check --status "$2" 2>/dev/null) &&
        [ "$(find "$1" -name '*.jar' | wc -l)" = "$(wc -l <"$2")" ]
}

jars() {
    local name=$1 folder sums log
    folder=$(jars_of "$name")
    sums=$stack_scripts/$name/SHA256SUMS
    log=$stack_cache/$name.log
    [ -z "$new_sums" ] || rm -rf "$folder"
    if right "$folder" "$sums"; then
        return
    fi
    "$needs" java mvn
    echo "Fetching ${folder##*/} with Maven into $folder (once; about 60 MB)"
    rm -rf "$folder" "$folder.part"
    mvn --quiet --batch-mode --strict-checksums --file "$stack_scripts/$name/pom.xml" \
        dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$folder.part" >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        fail "Maven could not fetch what $stack_scripts/$name/pom.xml names (its message is above, all of it in $log).
  No network? Set a mirror in ~/.m2/settings.xml, or copy $stack_cache from a machine that has it."
    }
    if [ -n "$new_sums" ]; then
        (cd "$folder.part" && LC_ALL=C sha256sum ./*.jar | sed 's|\./||') >"$sums"
    fi
    right "$folder.part" "$sums" ||
        fail "the jars in $folder.part are not those of $sums: do not use them, and report it"
    mv "$folder.part" "$folder"
}

cqlsh() {
    local folder log
    folder=$(cqlsh_folder)
    log=$stack_cache/cqlsh.log
    if cmp --silent "$stack_scripts/cqlsh.txt" "$folder/cqlsh.txt"; then
        return
    fi
    "$needs" python3
    echo "Installing cqlsh into $folder (once; seconds)" >&2
    rm -rf "$folder"
    python3 -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
        --target "$folder" --requirement "$stack_scripts/cqlsh.txt" >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        fail "pip could not install what $stack_scripts/cqlsh.txt pins (its message is above)"
    }
    cp "$stack_scripts/cqlsh.txt" "$folder/"
}

mkdir -p "$stack_cache"
# Two checkouts share the cache, and may start at the same time.
exec 9>"$stack_cache/lock"
flock 9

new_sums=''
for wanted in "$@"; do
    case $wanted in
        with-new-sums) new_sums=yes ;;
        kafka | cassandra) jars "$wanted" ;;
        cqlsh) cqlsh ;;
        *) fail "fetch.sh fetches kafka, cassandra or cqlsh, not $wanted" ;;
    esac
done
