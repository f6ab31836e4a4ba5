"""A bare loop over ONNX Runtime: peer.py FOLDER BATCH THREADS SIZE floats|bytes. Prints the images a second and the version as JSON."""
import json, sys, time
import numpy as np
import onnxruntime as ort

folder, batch, threads, size, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
images = np.fromfile(folder + "/images.u8", np.uint8).reshape(-1, size, size, 3)


def floats(part):
    return np.ascontiguousarray(part.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))


o = ort.SessionOptions()
o.intra_op_num_threads, o.inter_op_num_threads = threads, 1
session = ort.InferenceSession(folder + "/model.onnx", o, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
batches = [images[i:i + batch] for i in range(0, len(images) - batch + 1, batch)]
if kind == "floats":
    batches = [floats(b) for b in batches]
session.run(None, {name: floats(images[:batch])})
out = []
start = time.perf_counter()
for b in batches:
    out.append(session.run(None, {name: b if kind == "floats" else floats(b)})[0])
took = time.perf_counter() - start
print(json.dumps(dict(rate=sum(len(b) for b in batches) / took, version=f"Python's onnxruntime {ort.__version__}")))
