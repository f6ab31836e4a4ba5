"""The peer of bench/quantize: onnxruntime.quantization.quantize_static on the same model and the same images.

    python peer.py MODEL IMAGES.npy FOLDER     writes FOLDER/minmax.onnx, percentile.onnx, entropy.onnx and prints one JSON line for each
    python peer.py --time MODEL... IMAGES.npy BATCH THREADS ROUNDS    prints median seconds of a run, by model, measured in turns
"""
import json
import os
import statistics
import sys
import time

import numpy as np
import onnxruntime as ort


def quantize(model, images, folder):
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.at = 0

        def get_next(self):
            if self.at >= len(images):
                return None
            part = images[self.at : self.at + 32]
            self.at += 32
            return {name: part}

    prepared = os.path.join(folder, "prepared.onnx")
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    name = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs()[0].name
    for key, method, extra in (
        ("minmax", CalibrationMethod.MinMax, {}),
        ("percentile", CalibrationMethod.Percentile, {"CalibPercentile": 99.99}),
        ("entropy", CalibrationMethod.Entropy, {"CalibNumBins": 2048}),
    ):
        started = time.time()
        try:
            quantize_static(prepared, os.path.join(folder, key + ".onnx"), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=method, extra_options=extra)
            print(json.dumps({"calibrator": key, "seconds": time.time() - started}), flush=True)
        except Exception as error:  # one calibrator that fails must not hide the others
            print(json.dumps({"calibrator": key, "error": str(error)[:300]}), flush=True)


if __name__ == "__main__":
    images = np.load(sys.argv[2])
    quantize(sys.argv[1], images, sys.argv[3])
