"""Writes small JPEG files of every layout beside this, and the pixels that Pillow (libjpeg-turbo) reads from them as .raw; those that the package leaves to
another decoder have none. Run by hand."""
import pathlib

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).parent
y, x = np.mgrid[0:37, 0:43].astype(float)
pixels = np.clip(np.stack([128 + 90 * np.sin(x / 5), 3 * x + 2 * y, 255 - 5 * y + 40 * np.sin(x * y / 30)], -1), 0, 255).astype(np.uint8)
rgb, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
rgb.save(HERE / "444.jpg", quality=85, subsampling=0)
rgb.save(HERE / "422.jpg", quality=85, subsampling=1)
rgb.save(HERE / "420.jpg", quality=85, subsampling=2)
rgb.save(HERE / "420_low.jpg", quality=8, subsampling=2, optimize=True)
rgb.save(HERE / "restart.jpg", quality=75, restart_marker_blocks=2)
grey.save(HERE / "grey.jpg", quality=70)
rgb.save(HERE / "444_best.jpg", quality=100, subsampling=0)
for name in ["444", "422", "420", "420_low", "restart", "grey", "444_best"]:
    (HERE / f"{name}.raw").write_bytes(np.array(Image.open(HERE / f"{name}.jpg")).tobytes())
rgb.save(HERE / "progressive.jpg", quality=75, progressive=True)
rgb.convert("CMYK").save(HERE / "cmyk.jpg", quality=75)
