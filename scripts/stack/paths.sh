# shellcheck shell=bash
# Where things are, for stack.sh and scripts/kafka/: to be sourced.
#
#   STACK_DIR   the folder of this stack's data, logs, pid files and ports; .stack in the checkout if unset

stack_scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
stack_cache=${XDG_CACHE_HOME:-$HOME/.cache}/facemill/stack
STACK_DIR=$(realpath --canonicalize-missing "${STACK_DIR:-$stack_scripts/../../.stack}")

# shellcheck disable=SC2034 # for those who source this
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

# The folder with the jars of kafka or cassandra; another version is another folder.
jars_of() {
    echo "$stack_cache/$1-$(sed -n 's|^  <version>\(.*\)</version>|\1|p' "$stack_scripts/$1/pom.xml")"
}

# Wheels of one Python do not work in another.
cqlsh_folder() {
    echo "$stack_cache/cqlsh-$(python3 -c 'import sys; print(sys.implementation.cache_tag)')"
}
