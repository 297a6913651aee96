#!/usr/bin/env bash
# Makes sure that the named tools are here: need.sh TOOL...
#
# Knows cc c++ cmake ip make nasm unshare python3 (with pip) java (17 or newer) mvn go cargo rustfmt clippy. What is
# missing is installed where that is possible unasked (root on Debian or Ubuntu); else the command to type is printed
# and the exit code is 1.
set -euo pipefail

manifest=$(cd "$(dirname "$0")/.." && pwd)/Cargo.toml

# The number before the first dot, 0 if there is no Java.
java_version() {
    local found
    found=$("${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p') || true
    echo "${found:-0}"
}

has() {
    case $1 in
        python3) python3 -m pip --version >/dev/null 2>&1 ;;
        rustfmt) cargo fmt --version >/dev/null 2>&1 ;;
        clippy) cargo clippy --version >/dev/null 2>&1 ;;
        ip) PATH=$PATH:/usr/sbin:/sbin command -v ip >/dev/null ;; # where Debian has it, for those who are not root
        java) [ "$(java_version)" -ge 17 ] ;;
        nasm) [ "$(uname -m)" != x86_64 ] || command -v nasm >/dev/null ;; # only x86 code is written in it
        *) command -v "$1" >/dev/null ;;
    esac
}

# The packages of a tool: packages SYSTEM TOOL
packages() {
    case $1-$2 in
        debian-cc) echo gcc libc6-dev ;;
        debian-c++) echo g++ ;;
        fedora-cc) echo gcc ;;
        fedora-c++) echo gcc-c++ ;;
        arch-cc | arch-c++) echo gcc ;;
        brew-cc | brew-c++) echo gcc ;;
        debian-python3 | fedora-python3) echo python3 python3-pip ;;
        arch-python3) echo python python-pip ;;
        brew-python3) echo python ;;
        debian-java) echo openjdk-17-jdk-headless ;;
        fedora-java) echo java-latest-openjdk-headless ;;
        arch-java) echo jdk17-openjdk ;;
        brew-java) echo openjdk@17 ;;
        *-mvn) echo maven ;;
        fedora-ip) echo iproute ;;
        *-ip) echo iproute2 ;;
        *-unshare) echo util-linux ;;
        *) echo "$2" ;;
    esac
}

# The packages of all missing tools, each once: all_packages SYSTEM
all_packages() {
    local tool
    for tool in "${missing[@]}"; do
        packages "$1" "$tool"
    done | tr ' ' '\n' | sort -u | tr '\n' ' ' | sed 's/ $//'
}

install_with_apt() {
    local names
    read -ra names <<<"$(all_packages debian)"
    echo "Installing what is missing: apt-get install ${names[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # The package lists of a fresh machine are often old or absent.
    apt-get install --yes --no-install-recommends "${names[@]}" >/dev/null 2>&1 ||
        { apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends "${names[@]}" >/dev/null; }
}

say_what_to_type() {
    {
        echo "Missing: ${missing[*]}. Type the line for your system, then the same make command again:"
        echo "  Debian, Ubuntu   sudo apt-get update && sudo apt-get install $(all_packages debian)"
        echo "  Fedora           sudo dnf install $(all_packages fedora)"
        echo "  Arch             sudo pacman -S --needed $(all_packages arch)"
        echo "  macOS, Homebrew  brew install $(all_packages brew)"
        case " ${missing[*]} " in *" python3 "*)
            echo "If python3 is there and only its pip is not: python3 -m ensurepip --upgrade" ;;
        esac
        case " ${missing[*]} " in *" java "*)
            echo "Java 17 or newer is needed; if you have one beside an older one: export JAVA_HOME=ITS_FOLDER" ;;
        esac
    } >&2
}

# Rust is its owner's choice to install: it is only ever named.
need_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$manifest")
    if ! command -v cargo >/dev/null; then
        echo "Missing: Rust $wanted or newer (cargo). Install it with rustup (https://rustup.rs, or your system's
rustup package followed by: rustup default stable). If it is installed: . \"\$HOME/.cargo/env\"" >&2
        return 1
    fi
    found=$(cargo --version | cut -d ' ' -f 2)
    if [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" != "$wanted" ]; then
        echo "Rust is too old: cargo $found, needed is $wanted or newer. Type: rustup update stable" >&2
        return 1
    fi
}

# So is Go: the packages of most systems are too old. From 1.21 on it fetches a newer one itself, unless told not to.
need_go() {
    local wanted=1.26 found
    if ! command -v go >/dev/null; then
        echo "Missing: Go $wanted or newer (https://go.dev/dl, or your system's package where that is new enough)" >&2
        return 1
    fi
    found=$(go env GOVERSION)
    found=${found#go}
    [ "$(go env GOTOOLCHAIN)" = local ] || wanted=1.21
    if [ "$(printf '%s\n' "$wanted" "${found%%[!0-9.]*}" | sort -V | head -n 1)" != "$wanted" ]; then
        echo "Go is too old: $found, needed is 1.26 or newer (https://go.dev/dl)" >&2
        return 1
    fi
}

missing=()
for tool in "$@"; do
    case $tool in
        cargo) need_rust || exit 1 ;;
        go) need_go || exit 1 ;;
        rustfmt | clippy)
            has "$tool" || { echo "Missing: $tool. Type: rustup component add $tool" >&2; exit 1; } ;;
        *) has "$tool" || missing+=("$tool") ;;
    esac
done

[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && install_with_apt; then
    for tool in "${missing[@]}"; do
        has "$tool" || { say_what_to_type; exit 1; }
    done
else
    say_what_to_type
    exit 1
fi
