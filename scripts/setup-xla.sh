#!/usr/bin/env bash
# Puts XLA where darkroom looks for it: `setup-xla.sh cuda` the PJRT plugin for NVIDIA GPUs with the CUDA libraries that it
# needs, out of JAX's packages; `setup-xla.sh cpu` a plugin that computes on the processor, for tests of the way through XLA on
# machines without a GPU. Quiet and quick when it is there already.
set -euo pipefail

jax=0.12.0.1 # jax-cuda13-pjrt
cpu=0.0.1    # xla-cpu-pjrt
say() { printf 'setup-xla: %s\n' "$*" >&2; }
die() { printf 'setup-xla: %s\n' "$@" >&2; exit 3; }

kind=${1:-cuda}
cache=${XDG_CACHE_HOME:-${HOME:?setup-xla needs HOME or XDG_CACHE_HOME}/.cache}
[ "$(uname -s)" = Linux ] || die "PJRT plugins are supported on Linux alone."
python=$(command -v python3 || command -v python) || die "no Python to fetch packages with; install python3 with its venv module."

case "$kind" in
	cuda)
		folder=$cache/darkroom/xla-cuda
		# With the CUDA libraries that the plugin's package asks for; the wheel itself needs no Python of a certain version.
		packages=("jax-cuda13-pjrt==$jax" 'nvidia-cublas>=13.0.0.19,<14' 'nvidia-cuda-cupti>=13.0.48,<14' 'nvidia-cuda-nvcc>=13.0.48,<14'
			'nvidia-cuda-nvrtc>=13.0.48,<14' 'nvidia-cuda-runtime>=13.0.48,<14' 'nvidia-cudnn-cu13>=9.12.0.46,<10' 'nvidia-cufft>=12.0.0.15,<13'
			'nvidia-cusolver>=12.0.3.29,<13' 'nvidia-cusparse>=12.6.2.49,<13' 'nvidia-nccl-cu13>=2.27.7,<3' 'nvidia-nvjitlink>=13.0.39,<14'
			'nvidia-nvshmem-cu13>=3.3.20,<4' 'nvidia-nvvm<14') ;;
	cpu)
		folder=$cache/darkroom/xla-cpu
		packages=("xla-cpu-pjrt==$cpu") ;;
	*) die "unknown kind $kind: cuda or cpu" ;;
esac

mark=$folder/installed-"${packages[0]##*==}"
if [ -f "$mark" ]; then exit 0; fi
say "fetching ${packages[0]} with pip (once; it goes to $folder)"
rm -rf "$folder"
"$python" -m venv "$folder" || die "could not make a Python environment in $folder; install Python's venv module."
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" || { rm -rf "$folder"; die "pip could not bring ${packages[*]}; nothing was installed."; }
: >"$mark"
