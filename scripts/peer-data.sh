#!/usr/bin/env bash
# Adds Albumentations, OpenCV and Pillow to the virtual environment of peer.sh with pip, once, and prints the path of its Python. Only
# benchmarks need it.
set -euo pipefail

python=$("$(dirname "$0")/peer.sh")
if ! "$python" -c 'import albumentations, cv2, PIL' 2>/dev/null; then
	echo "peer-data: installing albumentations, opencv-python-headless and pillow with pip (once)" >&2
	"$python" -m pip install --quiet albumentations opencv-python-headless pillow >&2
fi
echo "$python"
