#!/usr/bin/env bash
# Installs Python's onnxruntime, of the release that darkroom uses, with pip into a virtual environment under the user's cache
# folder, once, and prints the path of its Python. Only benchmarks need it.
set -euo pipefail

release=1.30.0
cache=${XDG_CACHE_HOME:-${HOME:?peer needs HOME or XDG_CACHE_HOME}/.cache}
folder=$cache/darkroom/peer-onnxruntime
python=$folder/bin/python
if ! "$python" -c "import numpy, onnxruntime; assert onnxruntime.__version__ == '$release'" 2>/dev/null; then
	echo "peer: installing onnxruntime $release and numpy with pip (once; into $folder)" >&2
	python3 -m venv "$folder" >&2
	"$python" -m pip install --quiet "onnxruntime==$release" numpy >&2
fi
echo "$python"
