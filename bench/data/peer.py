"""The other side of bench/data: reads one case a line, {"case": name, "seconds": s}, and answers {"rate": images a second} or {"error": text}."""
import json
import os
import sys
import time

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A
import cv2
import numpy as np

cv2.setNumThreads(1)

OPERATIONS = {
    "horizontal_flip": lambda: A.HorizontalFlip(p=1),
    "vertical_flip": lambda: A.VerticalFlip(p=1),
    "rotate": lambda: A.Rotate(limit=30, p=1),
    "scale": lambda: A.Affine(scale=(0.8, 1.2), p=1),
    "shift": lambda: A.Affine(translate_percent=(-0.0625, 0.0625), p=1),
    "shear": lambda: A.Affine(shear=(-10, 10), p=1),
    "perspective": lambda: A.Perspective(p=1),
    "random_crop": lambda: A.RandomCrop(160, 160),
    "random_resized_crop": lambda: A.RandomResizedCrop((224, 224)),
    "center_crop": lambda: A.CenterCrop(160, 160),
    "pad": lambda: A.Pad(16),
    "resize": lambda: A.Resize(160, 160),
    "elastic_transform": lambda: A.ElasticTransform(alpha=120, sigma=6, p=1),
    "grid_distortion": lambda: A.GridDistortion(p=1),
    "random_brightness_contrast": lambda: A.RandomBrightnessContrast(p=1),
    "random_gamma": lambda: A.RandomGamma(p=1),
    "hue_saturation_value": lambda: A.HueSaturationValue(20, 20, 20, p=1),
    "color_jitter": lambda: A.ColorJitter(p=1),
    "to_gray": lambda: A.ToGray(p=1),
    "channel_shuffle": lambda: A.ChannelShuffle(p=1),
    "posterize": lambda: A.Posterize(p=1),
    "solarize": lambda: A.Solarize(p=1),
    "equalize": lambda: A.Equalize(p=1),
    "clahe": lambda: A.CLAHE(clip_limit=(1, 4), p=1),
    "gaussian_noise": lambda: A.GaussNoise(std_range=(0.01, 0.01), p=1),
    "iso_noise": lambda: A.ISONoise(p=1),
    "salt_and_pepper": lambda: A.SaltAndPepper(p=1),
    "gaussian_blur": lambda: A.GaussianBlur(p=1),
    "motion_blur": lambda: A.MotionBlur(p=1),
    "median_blur": lambda: A.MedianBlur(p=1),
    "sharpen": lambda: A.Sharpen(p=1),
    "image_compression": lambda: A.ImageCompression(quality_range=(50, 95), p=1),
    "coarse_dropout": lambda: A.CoarseDropout(p=1),
    "random_erasing": lambda: A.Erasing(p=1),
    "normalize": lambda: A.Normalize(),
}


def operation(name, folder, seconds):
    images = np.fromfile(os.path.join(folder, "images.u8"), np.uint8).reshape(-1, 224, 224, 3)
    transform = OPERATIONS[name]()
    for image in images:
        transform(image=image)
    n, began = 0, time.process_time()
    while True:
        for image in images:
            transform(image=image)
        n += len(images)
        took = time.process_time() - began
        if took >= seconds:
            return n / took


def decode(folder, seconds):
    """JPEG files of 640×480 to 224×224, two threads; OpenCV lets go of the interpreter while it works."""
    from concurrent.futures import ThreadPoolExecutor

    names = sorted(os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".jpg"))
    files = [np.fromfile(n, np.uint8) for n in names]

    def one(b):
        image = cv2.cvtColor(cv2.imdecode(b, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return cv2.resize(image, (224, 224), interpolation=cv2.INTER_LINEAR).shape

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, files))
        n, began = 0, time.process_time()
        while True:
            list(pool.map(one, files, chunksize=1))
            n += len(files)
            took = (time.process_time() - began) / 2
            if took >= seconds:
                return n / took


def processor():
    """Seconds that this process and its workers have run."""
    import multiprocessing

    ticks = 0
    for pid in ["self"] + [c.pid for c in multiprocessing.active_children()]:
        with open(f"/proc/{pid}/stat") as f:
            ticks += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


class Stored:
    """The images of 256×256 as one file of bytes, mapped: what a fast PyTorch user does."""

    def __init__(self, folder, transform, hwc):
        self.path, self.transform, self.hwc, self.images = os.path.join(folder, "stored.u8"), transform, hwc, None

    def __len__(self):
        return os.path.getsize(self.path) // (256 * 256 * 3)

    def __getitem__(self, i):
        if self.images is None:
            self.images = np.memmap(self.path, np.uint8, "r").reshape(-1, 256, 256, 3)
        return self.transform(self.images[i]), i % 10


class Chain:
    def __init__(self, policy, library):
        self.policy, self.library, self.run = policy, library, None

    def __call__(self, image):
        if self.run is None:
            import torch

            torch.set_num_threads(1)
            cv2.setNumThreads(1)
            self.run = self.torchvision() if self.library == "torchvision" else self.albumentations()
        return self.run(image)

    def torchvision(self):
        import torch
        from torchvision.transforms import v2

        steps = [v2.RandomResizedCrop(224, antialias=False), v2.RandomHorizontalFlip()]
        if self.policy == "simclr":
            steps += [v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8), v2.RandomGrayscale(0.2), v2.RandomApply([v2.GaussianBlur(23, (0.1, 2.0))], 0.5)]
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
        chain = v2.Compose(steps)
        return lambda image: chain(torch.from_numpy(np.array(image)).permute(2, 0, 1))

    def albumentations(self):
        steps = [A.RandomResizedCrop((224, 224)), A.HorizontalFlip(p=0.5)]
        if self.policy == "simclr":
            steps += [A.ColorJitter((0.2, 1.8), (0.2, 1.8), (0.2, 1.8), (-0.2, 0.2), p=0.8), A.ToGray(p=0.2), A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 2.0), p=0.5)]
        steps += [A.Normalize(), A.ToTensorV2()]
        chain = A.Compose(steps)
        return lambda image: chain(image=np.array(image))["image"]


LOADERS = {}


def loader(policy, library, folder, seconds):
    from torch.utils.data import DataLoader

    key = policy, library
    if key not in LOADERS:
        data = Stored(folder, Chain(policy, library), True)
        LOADERS[key] = DataLoader(data, batch_size=64, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True, prefetch_factor=4)
        for _ in LOADERS[key]:
            pass
    n, began = 0, processor()
    while True:
        for images, _ in LOADERS[key]:
            n += len(images)
        took = (processor() - began) / 2
        if took >= seconds:
            return n / took


def versions():
    import torch
    import torchvision

    return [f"Albumentations {A.__version__}", f"OpenCV {cv2.__version__}", f"PyTorch {torch.__version__}", f"torchvision {torchvision.__version__}"]


def main():
    folder = sys.argv[1]
    for line in sys.stdin:
        ask = json.loads(line)
        kind, _, rest = ask["case"].partition(" ")
        try:
            if kind == "operation":
                answer = {"rate": operation(rest, folder, ask["seconds"])}
            elif kind == "decode":
                answer = {"rate": decode(folder, ask["seconds"])}
            elif kind == "loader":
                answer = {"rate": loader(*rest.split(), folder, ask["seconds"])}
            else:
                answer = {"versions": versions()}
        except Exception as e:  # told to the other side, which names the case
            answer = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
