#!/usr/bin/env bash
# Puts the ONNX Runtime library into the user's cache folder, where darkroom looks for it. Quiet and quick when it is
# there already. The library comes out of an ordinary package: npm's onnxruntime-node, else PyPI's onnxruntime.
set -euo pipefail

version=1.30.0 # as infer/ort.Release
say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$@" >&2; exit 3; }

case "$(uname -s)-$(uname -m)" in
	Linux-x86_64 | Linux-amd64) node_folder=linux/x64; wheel_folder=manylinux_2_28_x86_64 ;;
	Linux-aarch64 | Linux-arm64) node_folder=linux/arm64; wheel_folder=manylinux_2_28_aarch64 ;;
	*) die "no automatic set-up for $(uname -s) on $(uname -m)." \
		"Install ONNX Runtime $version yourself and set DARKROOM_ONNXRUNTIME to the path of its library." ;;
esac

# whole FILE: the file is ONNX Runtime of the wanted version, complete enough to carry its version symbol.
whole() { [ -s "$1" ] && LC_ALL=C grep -aqF "VERS_$version" "$1"; }

if [ -n "${DARKROOM_ONNXRUNTIME:-}" ]; then
	[ -f "$DARKROOM_ONNXRUNTIME" ] || die "DARKROOM_ONNXRUNTIME names $DARKROOM_ONNXRUNTIME, which is not there."
	exit 0
fi

cache=${XDG_CACHE_HOME:-${HOME:?setup needs HOME or XDG_CACHE_HOME}/.cache}
folder=$cache/darkroom/onnxruntime/$version
library=$folder/libonnxruntime.so
if whole "$library"; then exit 0; fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

from_npm() {
	command -v npm >/dev/null || return 1
	say "fetching ONNX Runtime $version with npm (once; it goes to $folder)"
	(cd "$work" && npm pack --silent "onnxruntime-node@$version" >/dev/null) || return 1
	tar -xzf "$work"/onnxruntime-node-*.tgz -C "$work" || return 1
	found=$(find "$work/package/bin" -path "*/$node_folder/*" -name 'libonnxruntime.so*' -size +1M | head -n 1)
	[ -n "$found" ]
}

from_pip() {
	local python
	python=$(command -v python3 || command -v python) || return 1
	"$python" -m pip --version >/dev/null 2>&1 || return 1
	say "fetching ONNX Runtime $version with pip (once; it goes to $folder)"
	# Any Python version's wheel holds the same library, so ask for one that exists whatever Python runs here.
	"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --platform "$wheel_folder" \
		--platform manylinux_2_27_"${wheel_folder#manylinux_2_28_}" --dest "$work/wheel" "onnxruntime==$version" || return 1
	"$python" -m zipfile -e "$work"/wheel/onnxruntime-*.whl "$work/wheel" || return 1
	found=$(find "$work/wheel" -name 'libonnxruntime.so*' -size +1M | head -n 1)
	[ -n "$found" ]
}

found=
from_npm || from_pip || die "could not fetch ONNX Runtime $version: neither npm nor pip brought it." \
	"Install npm or pip, or set DARKROOM_ONNXRUNTIME to the path of a libonnxruntime.so of that version."
whole "$found" || die "the package's library is not ONNX Runtime $version; nothing was installed."

# A rename within the folder, so that nobody ever loads half a library, two set-ups at once included.
mkdir -p "$folder"
part=$(mktemp "$folder/.libonnxruntime.XXXXXX")
trap 'rm -rf "$work" "$part"' EXIT
cp "$found" "$part"
chmod 0644 "$part"
mv -f "$part" "$library"
say "ONNX Runtime $version is in place"
