# Pruning: a residual net for CIFAR-10 loses a third of its channels, is trained a little more, and is compared with what it was. See cifar-10.hcl for the files.
#
#   darkroom run pipelines/prune.hcl --var data=PATH

pipeline {
  name = "prune"
  seed = 1
}

variable "data" {
  type        = string
  default     = "../../shared/data/cifar-10"
  description = "Folder with the binary batches."
}

variable "epochs" {
  type        = number
  default     = 10
  description = "Passes over the training images for the whole net."
}

variable "tuning" {
  type        = number
  default     = 5
  description = "Passes over the training images for the pruned net."
}

locals {
  classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
}

ingest "things" {
  source  = var.data
  format  = "cifar"
  subset  = "train"
  classes = local.classes
}

ingest "test" {
  source  = var.data
  format  = "cifar"
  subset  = "test"
  classes = local.classes
}

split "holdout" {
  data  = ingest.things.dataset
  ratio = { train = 49, validation = 1 }
}

augment "policy" {
  data = split.holdout.train

  random_crop { padding = 4 }
  horizontal_flip {}
}

train "whole" {
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  model         = "resnet20"
  epochs        = var.epochs
  learning_rate = 0.3

  schedule "one_cycle" {}
}

prune "slim" {
  model      = train.whole.model
  data       = augment.policy.dataset
  validation = split.holdout.validation
  global     = true
  round_to   = 16 # what kernels of AVX-512 compute at once: other numbers of channels save work and hardly any time

  target { flops = 0.6 }

  fine_tune {
    epochs        = var.tuning
    learning_rate = 0.05
  }
}

evaluate "slim" {
  model    = prune.slim.model
  baseline = train.whole.model
  data     = ingest.test.dataset

  require {
    condition = self.accuracy_drop <= 0.01
    message   = "The pruned net lost more than one point."
  }
}
