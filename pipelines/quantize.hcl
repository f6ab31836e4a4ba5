# A trained network in 8 bits: a quarter of the size, two to three times as fast in ONNX Runtime on a processor with VNNI, its accuracy measured.
#
#   darkroom run pipelines/quantize.hcl
#   darkroom get quantize.int8.model model.int8.onnx -p pipelines/quantize.hcl

pipeline {
  name = "quantize"
  seed = 7
}

variable "count" {
  type        = number
  default     = 3000
  description = "Images that are made."
}

variable "epochs" {
  type        = number
  default     = 8
  description = "Passes over the training split."
}

ingest "surfaces" {
  generator = "surfaces"
  count     = var.count
  size      = 32
}

split "holdout" {
  data     = ingest.surfaces.dataset
  ratio    = [6, 2, 2]
  stratify = true
}

train "net" {
  data       = split.holdout.train
  validation = split.holdout.validation
  model      = "resnet8"
  epochs     = var.epochs
  batch      = 64

  schedule "cosine" {}
}

# Ranges come from training images; the validation split says whether the accuracy holds. Layers that cost too much stay in float.
quantize "int8" {
  model             = train.net.model
  calibration       = split.holdout.train
  validation        = split.holdout.validation
  max_accuracy_drop = 0.01
}

# Trained for a short time with the rounding in place: for nets that rounding alone costs too much, here one scale for all channels of a layer.
quantize "aware" {
  model       = train.net.model
  data        = split.holdout.train
  validation  = split.holdout.validation
  method      = "qat"
  per_channel = false

  training {
    epochs        = 1
    learning_rate = 0.001
  }
}

# For TensorRT the pairs stand elsewhere, and values are symmetric.
quantize "engine" {
  model       = train.net.model
  calibration = split.holdout.train
  target      = "tensorrt"
}

# Judged on images that neither training nor quantization has seen.
evaluate "test" {
  model    = quantize.int8.model
  baseline = train.net.model
  data     = split.holdout.test

  require {
    condition = self.accuracy_drop <= 0.02
    message   = "The quantized model lost more than two points."
  }
}
