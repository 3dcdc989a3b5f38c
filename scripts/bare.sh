#!/bin/sh
# Runs a command (without one: .ci/run) in a clone of the last commit on a bare Debian 12: fetched
# with debootstrap, the root file system of the command, removed afterwards. The kernel is this
# machine's, whose files are out of reach.
#
#   scripts/bare.sh
#   scripts/bare.sh sh -c 'apt-get update -qq && apt-get install -qq make && make demo'
#
# BARE_FOLDER is where it goes, DEBIAN_MIRROR where Debian is fetched from.
set -eu
cd "$(dirname "$0")/.."
mirror=${DEBIAN_MIRROR:-http://deb.debian.org}

if [ "$(id -u)" -ne 0 ]; then
    exec sudo --preserve-env=BARE_FOLDER,DEBIAN_MIRROR,PIP_CERT "$0" "$@"
fi
for program in debootstrap git; do
    if ! command -v "$program" >/dev/null; then
        echo "bare: $program is missing: apt-get install $program" >&2
        exit 2
    fi
done
[ $# -gt 0 ] || set -- bash .ci/run

folder=$(mktemp -d "${BARE_FOLDER:-/var/tmp}/retis-bare-XXXXXX")
trap 'rm -rf --one-file-system "$folder"' EXIT
trap 'exit 130' INT TERM HUP

echo "bare: fetching Debian 12 into $folder"
debootstrap --variant=minbase bookworm "$folder" "$mirror/debian" >"$folder.log" 2>&1 || {
    tail -5 "$folder.log" >&2
    echo "bare: debootstrap failed, see $folder.log" >&2
    exit 1
}
rm "$folder.log"
cat >"$folder/etc/apt/sources.list" <<EOF
deb $mirror/debian bookworm main
deb $mirror/debian bookworm-updates main
deb $mirror/debian-security bookworm-security main
EOF
cp /etc/resolv.conf "$folder/etc/"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$folder/etc/hosts"
if [ -n "${PIP_CERT:-}" ]; then # a proxy of this machine's network
    cp "$PIP_CERT" "$folder/root/proxy.crt"
    set -- PIP_CERT=/root/proxy.crt SSL_CERT_FILE=/root/proxy.crt "$@"
fi
git clone --quiet . "$folder/root/retis-py"

# Not chroot: that is no mount point, and user namespaces are refused in it.
cat >"$folder/root/enter" <<'EOF'
set -eu
mount --bind "$1" "$1"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run"
cd "$1"
mkdir run/old
pivot_root . run/old
umount -l /run/old
cd /root/retis-py
shift
exec env -i HOME=/root TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
EOF
unshare --mount --propagation private sh "$folder/root/enter" "$folder" "$@"
