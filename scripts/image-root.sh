#!/usr/bin/env bash
# Writes the root file system that facemill runs on into a new folder: image-root.sh FOLDER [PACKAGE...]
#
# The C and C++ libraries, the trusted certificates and the system's name, and what each PACKAGE has besides, unpacked from
# Debian's packages: no shell, no package manager, nothing with setuid. Runs in the Dockerfile's stages `system` and
# `system-cuda`, on Debian.
set -euo pipefail

root=$1
packages=(base-files ca-certificates gcc-12-base libc6 libgcc-s1 libstdc++6 "${@:2}")
downloads=$(mktemp -d)
trap 'rm -rf "$downloads"' EXIT

mkdir -p "$root/var/lib/dpkg/status.d"
apt-get update --quiet=2
# The user that apt would otherwise switch to may not write there.
cd "$downloads"
apt-get download --quiet=2 -o APT::Sandbox::User=root "${packages[@]}"
for package in *.deb; do
    dpkg-deb --extract "$package" "$root"
    # Where scanners look for packages in an image without dpkg.
    name=$(dpkg-deb --field "$package" Package)
    { dpkg-deb --field "$package"; echo 'Status: install ok installed'; } >"$root/var/lib/dpkg/status.d/$name"
done

cd "$root"
# Character sets beyond UTF-8, what only a shell, a debugger or a reader of manuals looks at, places of a whole system.
rm -rf usr/lib/*/gconv usr/share/{gcc,gdb,man,lintian,bug,base-files,dict,info} bin sbin usr/{bin,sbin,games,src,include} \
    boot home media mnt opt srv etc/{ca-certificates,default,skel,update-motd.d,profile.d} \
    var/{backups,local,lock,mail,opt,spool}
find usr/share/doc -type f ! -name copyright -delete
find usr/share/doc -type d -empty -delete
find usr/share/ca-certificates -name '*.crt' -exec cat {} + >certificates.part
mkdir -p etc/ssl/certs
mv certificates.part etc/ssl/certs/ca-certificates.crt
rm -rf usr/share/ca-certificates

echo 'nonroot:x:65532:65532:facemill:/data:/nonexistent' >etc/passwd
echo 'nonroot:x:65532:' >etc/group
# Without it glibc asks name servers before /etc/hosts.
echo 'hosts: files dns' >etc/nsswitch.conf
