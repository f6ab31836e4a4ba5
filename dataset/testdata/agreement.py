"""Writes what Albumentations, OpenCV and Pillow make of a picture at fixed arguments, as PNG files in the folder agreement beside this.

Run by hand, in an environment with albumentations 2.0.8, opencv-python-headless and pillow; the tests of package dataset compare with the files.
"""
import io
import pathlib

import albumentations as A
import albumentations.augmentations.blur.functional as fblur
import albumentations.augmentations.pixel.functional as fpixel
import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

OUT = pathlib.Path(__file__).parent / "agreement"
H, W = 56, 64


def picture():
    y, x = np.mgrid[0:H, 0:W].astype(np.float64)
    r = 128 + 100 * np.sin(x / 9 + y / 23)
    g = 40 + 2.5 * x + 20 * np.cos(y / 4)
    b = 220 - 2 * y + 30 * np.sin((x - y) / 6)
    out = np.stack([r, g, b], -1)
    out[(x - 20) ** 2 + (y - 30) ** 2 < 120] = [230, 40, 60]
    out[8:20, 36:56] = [20, 120, 210]
    return np.clip(out, 0, 255).astype(np.uint8)


def same(transform):
    return transform(image=IMAGE)["image"]


def remap(dx, dy):
    y, x = np.mgrid[0:H, 0:W].astype(np.float32)
    return cv2.remap(IMAGE, x + dx.astype(np.float32), y + dy.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def perspective():
    inward = np.array([0.05, 0.1, 0.08, 0.02, 0.12, 0.06, 0.03, 0.09])
    quad = np.float32([[inward[0] * W, inward[1] * H], [W - inward[2] * W, inward[3] * H], [W - inward[4] * W, H - inward[5] * H], [inward[6] * W, H - inward[7] * H]])
    rect = np.float32([[0, 0], [W, 0], [W, H], [0, H]])
    half = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    m = half @ cv2.getPerspectiveTransform(quad, rect) @ np.linalg.inv(half)
    return cv2.warpPerspective(IMAGE, m, (W, H))


def grid():
    columns, rows = np.array([0.8, 1.2, 1.1, 0.7, 1.3]), np.array([1.25, 0.75, 1.0, 1.3, 0.9])

    def axis(factors, n):
        marks = np.concatenate([[0], np.cumsum(factors) / factors.sum() * n])
        at = np.arange(n) + 0.5
        return np.interp(at, np.linspace(0, n, len(factors) + 1), marks) - at

    return remap(np.tile(axis(columns, W), (H, 1)), np.tile(axis(rows, H)[:, None], (1, W)))


def jpeg(quality):
    """Albumentations hands RGB to OpenCV as if it were BGR, so its chroma is that of another picture; Pillow's libjpeg sees the right one."""
    b = io.BytesIO()
    PIL.save(b, "JPEG", quality=quality)
    return np.array(Image.open(b))


def elastic():
    y, x = np.mgrid[0:H, 0:W].astype(np.float64)
    return remap(3 * np.sin(y / 7), 2 * np.cos(x / 5))


IMAGE = picture()
PIL = Image.fromarray(IMAGE)
RESULTS = {
    "source": lambda: IMAGE,
    "horizontal_flip": lambda: same(A.HorizontalFlip(p=1)),
    "vertical_flip": lambda: same(A.VerticalFlip(p=1)),
    "rotate": lambda: same(A.Rotate(limit=(25, 25), p=1)),
    "rotate_reflect_101": lambda: same(A.Rotate(limit=(25, 25), border_mode=cv2.BORDER_REFLECT_101, p=1)),
    "scale": lambda: same(A.Affine(scale=(1.15, 1.15), p=1)),
    "shift": lambda: same(A.Affine(translate_px={"x": (5, 5), "y": (-3, -3)}, p=1)),
    "shear": lambda: same(A.Affine(shear={"x": (12, 12), "y": (0, 0)}, p=1)),
    "perspective": perspective,
    "center_crop": lambda: same(A.CenterCrop(40, 48)),
    "random_resized_crop": lambda: cv2.resize(IMAGE[7 : 7 + 31, 11 : 11 + 45], (50, 44), interpolation=cv2.INTER_LINEAR),
    "resize_up": lambda: same(A.Resize(80, 100)),
    "resize_down": lambda: same(A.Resize(30, 25)),
    "pad": lambda: same(A.Pad(padding=5, fill=7)),
    "pad_reflect_101": lambda: same(A.Pad(padding=5, border_mode=cv2.BORDER_REFLECT_101)),
    "elastic_transform": elastic,
    "grid_distortion": grid,
    "random_brightness_contrast": lambda: same(A.RandomBrightnessContrast(brightness_limit=(0.1, 0.1), contrast_limit=(0.15, 0.15), p=1)),
    "random_gamma": lambda: same(A.RandomGamma(gamma_limit=(130, 130), p=1)),
    "hue_saturation_value": lambda: same(A.HueSaturationValue((15, 15), (-20, -20), (10, 10), p=1)),
    "jitter_brightness": lambda: fpixel.adjust_brightness_torchvision(IMAGE, 1.3),
    "jitter_contrast": lambda: fpixel.adjust_contrast_torchvision(IMAGE, 0.7),
    "jitter_saturation": lambda: fpixel.adjust_saturation_torchvision(IMAGE, 1.4),
    "jitter_hue": lambda: fpixel.adjust_hue_torchvision(IMAGE, 0.1),
    "to_gray": lambda: same(A.ToGray(p=1)),
    "channel_shuffle": lambda: fpixel.channel_shuffle(IMAGE, [2, 0, 1]),
    "posterize": lambda: same(A.Posterize(num_bits=3, p=1)),
    "solarize": lambda: same(A.Solarize(threshold_range=(0.6, 0.6), p=1)),
    "equalize": lambda: same(A.Equalize(p=1)),
    "clahe": lambda: same(A.CLAHE(clip_limit=(3, 3), tile_grid_size=(4, 4), p=1)),
    "clahe_odd": lambda: same(A.CLAHE(clip_limit=(2, 2), tile_grid_size=(5, 6), p=1)),
    "gaussian_blur": lambda: same(A.GaussianBlur(blur_limit=0, sigma_limit=(1.5, 1.5), p=1)),
    "motion_blur": lambda: cv2.filter2D(IMAGE, -1, (lambda k: k / k.sum())(fblur.create_motion_kernel(7, 35, 0.5, False, None))),
    "median_blur_3": lambda: same(A.MedianBlur(blur_limit=(3, 3), p=1)),
    "median_blur_5": lambda: same(A.MedianBlur(blur_limit=(5, 5), p=1)),
    "median_blur_7": lambda: same(A.MedianBlur(blur_limit=(7, 7), p=1)),
    "sharpen": lambda: same(A.Sharpen(alpha=(0.4, 0.4), lightness=(0.8, 0.8), p=1)),
    "image_compression_30": lambda: jpeg(30),
    "image_compression_90": lambda: jpeg(90),
    "auto_sharpness": lambda: np.array(ImageEnhance.Sharpness(PIL).enhance(1.6)),
    "auto_contrast": lambda: np.array(ImageOps.autocontrast(PIL)),
    "auto_invert": lambda: np.array(ImageOps.invert(PIL)),
}

if __name__ == "__main__":
    for name, result in RESULTS.items():
        Image.fromarray(result()).save(OUT / f"{name}.png", optimize=True)
