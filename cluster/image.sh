#!/usr/bin/env bash
# Makes the container image `assize` out of a binary that is built already: target/fast/assize, unless told otherwise.
#
#   cluster/image.sh [--binary PATH] [--tag NAME] [--engine docker|podman] [--bootstrap]
#
# --bootstrap makes the base image from Debian's packages (debootstrap, as root), where no registry can be reached.
# The binary must be of this processor, and its C library no newer than the base image's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n 's/^# \{0,3\}\(cluster\/image.sh.*\)/usage: \1/p' "$0" >&2; exit 64; }

binary=target/fast/assize tag=assize engine='' bootstrap=false
while [ $# -gt 0 ]; do
    case "$1" in
    --binary) binary=${2:?}; shift 2 ;;
    --tag) tag=${2:?}; shift 2 ;;
    --engine) engine=${2:?}; shift 2 ;;
    --bootstrap) bootstrap=true; shift ;;
    *) usage ;;
    esac
done

[ -x "$binary" ] || { echo "image: there is no binary $binary: run ./justw image, or name one with --binary" >&2; exit 66; }
if [ -z "$engine" ]; then
    for engine in docker podman ''; do
        [ -n "$engine" ] && "$engine" info >/dev/null 2>&1 && break
    done
fi
[ -n "$engine" ] || { echo "image: neither docker nor podman answers" >&2; exit 69; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

suite=$(sed -n 's/^ARG BASE=debian:\(.*\)-slim$/\1/p' cluster/Dockerfile)
if $bootstrap && ! "$engine" image inspect "debian:$suite-slim" >/dev/null 2>&1; then
    echo "image: making debian:$suite-slim from packages" >&2
    debootstrap --variant=minbase "$suite" "$work/root" >"$work/log" || { tail "$work/log" >&2; exit 69; }
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/* "$work"/root/usr/share/{doc,man,locale}/*
    tar --directory "$work/root" --numeric-owner --create . | "$engine" import - "debian:$suite-slim" >/dev/null
    rm -rf "$work/root"
fi

mkdir "$work/context"
# The context is a directory of its own, so that nothing else travels to the engine.
ln "$binary" "$work/context/assize" 2>/dev/null || cp "$binary" "$work/context/assize"
"$engine" build --file cluster/Dockerfile --target prebuilt --tag "$tag" "$work/context"
