# Compression: three of ten channels go after a training whose L1 penalty drove the least needed ones towards zero, then int8. The small net is a quarter of
# the file and must answer as well. A target of time instead of a ratio: see the block "fast". On generated images, in a few minutes.
#
#   darkroom run pipelines/compress.hcl

pipeline {
  name = "compress"
  seed = 1
}

variable "epochs" {
  type        = number
  default     = 8
  description = "Passes over the training images for the whole net."
}

variable "images" {
  type        = number
  default     = 3000
  description = "Number of generated images."
}

ingest "surfaces" {
  generator = "surfaces"
  count     = var.images
}

split "holdout" {
  data  = ingest.surfaces.dataset
  ratio = [8, 1, 1]
}

train "whole" {
  data       = split.holdout.train
  validation = split.holdout.validation
  model      = "resnet8"
  epochs     = var.epochs
}

prune "slim" {
  model      = train.whole.model
  data       = split.holdout.train
  validation = split.holdout.validation
  ratio      = 0.3

  method "bn_scale" {
    epochs   = 1
    strength = 0.001
  }
  fine_tune {
    epochs        = 2
    learning_rate = 0.05
  }
}

quantize "int8" {
  model       = prune.slim.model
  calibration = split.holdout.train
  validation  = split.holdout.validation
}

evaluate "final" {
  model    = quantize.int8.model
  baseline = train.whole.model
  data     = split.holdout.test

  require {
    condition = self.size_ratio <= 0.28
    message   = "Pruned and quantized, the file is more than 28 % of what it was."
  }
  require {
    condition = self.accuracy_drop <= 0.015
    message   = "The small net lost more than one and a half points."
  }
}

# How long the net takes with fewer channels is measured once, and tells how many may stay for a run to take at most seven tenths of the time.
profile "machine" {
  model    = train.whole.model
  batches  = [32]
  widths   = [0.75, 0.5, 0.25]
  round_to = 16
  runs     = 30
}

prune "fast" {
  model      = train.whole.model
  data       = split.holdout.train
  validation = split.holdout.validation
  latency    = profile.machine.latency
  round_to   = 16
  global     = true

  target {
    latency_ratio = 0.7
  }
  fine_tune {
    epochs        = 1
    learning_rate = 0.05
  }
}
