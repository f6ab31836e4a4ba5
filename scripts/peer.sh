#!/usr/bin/env bash
# Installs PyTorch for the CPU, torchvision and timm with pip into a virtual environment under the user's cache folder, once,
# and prints the path of its Python. Only benchmarks need it. Further packages that a benchmark needs are arguments.
set -euo pipefail

if [ -n "${DARKROOM_PEER_PYTHON:-}" ]; then echo "$DARKROOM_PEER_PYTHON"; exit 0; fi
cache=${XDG_CACHE_HOME:-${HOME:?peer needs HOME or XDG_CACHE_HOME}/.cache}
folder=$cache/darkroom/peer
python=$folder/bin/python
if ! "$python" -c 'import torch, torchvision, timm' 2>/dev/null; then
	echo "peer: installing torch, torchvision and timm with pip (once; into $folder)" >&2
	python3 -m venv "$folder" >&2
	"$python" -m pip install --quiet torch torchvision timm >&2
fi
for package in "$@"; do
	"$python" -c "import $package" 2>/dev/null || "$python" -m pip install --quiet "$package" >&2
done
echo "$python"
