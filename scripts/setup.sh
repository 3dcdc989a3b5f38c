#!/bin/sh
# Makes .venv/bin/retis run: system packages (Debian 12) and the virtual environment.
# Does nothing, and takes no time, when that is done already.
#
#   scripts/setup.sh [--lab]     --lab: also what booting other kernels in QEMU needs
set -eu
cd "$(dirname "$0")/.."

# What retis runs on, what the demo sends with, and the virtual environment.
packages="python3-bpfcc libbpf1 libpcap0.8 python3-venv iproute2 iputils-ping ca-certificates"
# What the tests use beside; netbase has the protocols' names that nft shows.
packages="$packages nftables conntrack tcpdump tshark bpftool bash-completion zsh fish groff-base netbase"
# python-libpcap is compiled on installation.
packages="$packages gcc libc6-dev python3-dev libpcap-dev"
# virtme-ng and what it calls; udev makes the guest's serial ports appear by name.
lab_packages="qemu-system-x86 busybox-static udev kmod file binutils xz-utils zstd lz4"
# Open vSwitch is built with USDT probes (tests/vm/openvswitch.py).
lab_packages="$lab_packages make systemtap-sdt-dev"

stamp=.venv/.set-up

main() {
    if [ "${1:-}" = --lab ]; then
        packages="$packages $lab_packages"
    fi
    check_distribution
    install_packages
    make_environment
}

check_distribution() {
    # shellcheck source=/dev/null
    distribution=$(. /etc/os-release && echo "${ID:-} ${VERSION_ID:-}")
    if [ "$distribution" = "debian 12" ]; then
        return
    fi
    if [ -x .venv/bin/retis ]; then # set up by hand, as told below
        exit 0
    fi
    cat >&2 <<EOF
setup: installs packages on Debian 12 only; this is $(. /etc/os-release && echo "${PRETTY_NAME:-unknown}").
Install these, then the virtual environment by hand:
  Debian, Ubuntu: apt-get install $packages
  Fedora:         dnf install python3-bcc libbpf libpcap iproute iputils nftables conntrack-tools tcpdump wireshark-cli gcc bpftool
                  zsh fish python3-devel libpcap-devel
                  (for the lab: qemu-system-x86 busybox systemd-udev kmod file binutils xz zstd lz4
                  make systemtap-sdt-devel)
  Arch:           pacman -S python-bcc libbpf libpcap iproute2 iputils nftables conntrack-tools tcpdump wireshark-cli gcc bpf zsh fish
                  (for the lab: qemu-system-x86 busybox kmod file binutils xz zstd lz4 make systemtap)
  then:           /usr/bin/python3 -m venv --system-site-packages .venv
                  .venv/bin/pip install -e '.[test]'
EOF
    exit 1
}

install_packages() {
    missing=
    for package in $packages; do
        status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        return
    fi
    echo "setup: installing$missing"
    as_root apt-get update -qq
    # Recommended packages are desktops and manuals. Word splitting is wanted.
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing </dev/null >"$log" 2>&1 || {
        cat "$log" >&2
        echo "setup: apt-get could not install$missing" >&2
        exit 1
    }
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "setup: root is needed to install packages; run as root: apt-get install$missing" >&2
        exit 1
    fi
}

# The interpreter is the distribution's, because BCC is a module of its.
make_environment() {
    wanted=$(cat pyproject.toml hatch_build.py retis_py/native/* | sha256sum | cut -d' ' -f1)-$PWD
    if [ -x .venv/bin/retis ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    echo "setup: making the virtual environment .venv"
    [ -x .venv/bin/python ] || /usr/bin/python3 -m venv --system-site-packages .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
    echo "$wanted" >"$stamp"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
main "$@"
