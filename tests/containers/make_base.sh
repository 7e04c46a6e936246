#!/bin/bash
# Make an image with the standard base's name out of Debian's own packages, where no registry can
# be reached: the Dockerfiles then build unchanged. Python is Debian's 3.11.
#
#   . tests/containers/engine.sh; tests/containers/make_base.sh [NAME]
#
# Needs root, podman, and mmdebstrap or debootstrap.
set -euo pipefail
name=${1:-docker.io/library/python:3.11-slim-bookworm}
podman image exists "$name" && exit 0
work=$(mktemp -d "${TMPDIR:-/tmp}/micserve-base.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
# usr-is-merged stands for usrmerge, which would bring all of Perl.
packages=ca-certificates,netbase,tzdata,python3,python3-venv,python3-pip,usr-is-merged

mirror() { # the machine's own mirror, from either way of writing it down
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null || true
    sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p' /etc/apt/sources.list 2>/dev/null || true
}
debian=$(mirror | grep -v security | head -n 1)
if command -v mmdebstrap > /dev/null; then
    mmdebstrap --quiet --variant=apt --aptopt='APT::Install-Recommends "false"' \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --include="$packages" bookworm "$root" ${debian:+"$debian"}
else
    debootstrap --variant=minbase --include="$packages" --exclude=usrmerge bookworm "$root" ${debian:+"$debian"}
fi

# As in the standard image: python and pip in /usr/local/bin, and pip may install.
rm -f "$root"/usr/lib/python3.11/EXTERNALLY-MANAGED
ln -sf /usr/bin/python3.11 "$root/usr/local/bin/python"
ln -sf /usr/bin/python3.11 "$root/usr/local/bin/python3"
ln -sf /usr/bin/python3.11 "$root/usr/local/bin/python3.11"
ln -sf /usr/bin/pip3 "$root/usr/local/bin/pip"
# The machine's own certificates: a proxy that opens connections has one of its own.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/*
find "$root" -name __pycache__ -type d -prune -exec rm -rf {} +

tar -C "$root" --numeric-owner -cf - . | podman import --quiet \
    -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
    -c 'ENV LANG=C.UTF-8' -c 'CMD ["python3"]' - "$name"
