#!/usr/bin/env bash
# need.sh on machines that lack something: a PATH with stand-ins for the tools.
set -euo pipefail

scripts=$(cd "$(dirname "$0")" && pwd)
bash=$(command -v bash)
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT

fail() {
    printf 'test-need: %s\n%s\n' "$1" "$output" >&2
    exit 1
}

# stand_in TOOL COMMANDS: a tool that runs these
stand_in() {
    printf '#!%s\n%s\n' "$bash" "$2" >"$bin/$1"
    chmod +x "$bin/$1"
}

need() {
    output=$(PATH=$bin "$bash" "$scripts/need.sh" "$@" 2>&1)
}

for tool in dirname sed sort head tr cut; do
    ln -s "$(command -v "$tool")" "$bin/$tool"
done
stand_in uname 'echo x86_64'
stand_in id 'echo 1000'
stand_in make ''

need make || fail 'what is there was not found'
[ -z "$output" ] || fail 'said something although nothing is missing'

need make cc c++ nasm python3 && fail 'missing tools were not noticed'
for line in 'apt-get install g++ gcc libc6-dev nasm python3 python3-pip' 'dnf install gcc gcc-c++ nasm' \
    'pacman -S --needed gcc nasm python python-pip' 'brew install gcc nasm python' 'ensurepip'; do
    [[ $output == *"$line"* ]] || fail "did not say: $line"
done

stand_in python3 'exit 1' # a Python without pip
need python3 && fail 'a Python without pip passed'

need java mvn && fail 'a missing Java or Maven passed'
for line in 'apt-get install maven openjdk-17-jdk-headless' JAVA_HOME; do
    [[ $output == *"$line"* ]] || fail "did not say: $line"
done
stand_in mvn ''
stand_in java 'echo "openjdk version \"11.0.2\" 2019-01-15" >&2'
need java mvn && fail 'an old Java passed'
[[ $output != *maven* ]] || fail 'asked for a Maven that is there'
stand_in java 'echo "openjdk version \"21.0.2\" 2024-01-16" >&2'
need java mvn || fail 'a new Java was refused'

need cargo && fail 'a missing Rust passed'
[[ $output == *rustup* ]] || fail 'did not name rustup'
stand_in cargo 'echo cargo 1.9.0'
need cargo && fail 'an old Rust passed'
[[ $output == *'rustup update'* ]] || fail 'did not say how to update'
stand_in cargo 'echo cargo 1.1000.0-nightly'
need cargo || fail 'a new Rust was refused'

need go && fail 'a missing Go passed'
[[ $output == *go.dev* ]] || fail 'did not name where Go is'
# go_of VERSION TOOLCHAIN
go_of() {
    stand_in go "case \$2 in GOVERSION) echo $1 ;; GOTOOLCHAIN) echo $2 ;; esac"
}
go_of go1.25.9 local
need go && fail 'an old Go that may not fetch another passed'
[[ $output == *'too old: 1.25.9'* ]] || fail 'did not say which Go is too old'
go_of go1.20.14 auto
need go && fail 'a Go that cannot fetch another passed'
go_of go1.22.1 auto
need go || fail 'a Go that fetches a newer one was refused'
go_of 'go1.27rc1 X:some' local
need go || fail 'a new Go was refused'

# As root on Debian it installs: the first try fails, as with old package lists.
stand_in id 'echo 0'
stand_in apt-get "echo \"\$*\" >>'$bin/log'
if [ \"\$1\" = update ]; then : >'$bin/updated'; fi
[ -e '$bin/updated' ] || exit 100
if [ \"\$1\" = install ]; then : >'$bin/cmake'; '$(command -v chmod)' +x '$bin/cmake'; fi"
need cmake || fail 'did not install'
[[ $output == *'apt-get install cmake'* ]] || fail 'installed without a word'
[[ $(grep -c install "$bin/log") = 2 ]] || fail 'did not try again after the update'
echo 'test-need: passed'
