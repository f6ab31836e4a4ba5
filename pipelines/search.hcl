# Architecture search: networks for Fashion-MNIST that take no more FLOPs than resnet8 are searched for, the best is trained in full, and compared with resnet8.
# See fashion-mnist.hcl for the files.
#
#   darkroom run pipelines/search.hcl --var data=PATH

pipeline {
  name = "search"
  seed = 1
}

variable "data" {
  type        = string
  default     = "../../shared/data/fashion-mnist"
  description = "Folder with the four idx files."
}

variable "trials" {
  type        = number
  default     = 40
  description = "Networks that are tried."
}

variable "samples" {
  type        = number
  default     = 6000
  description = "Images that each of them is trained on."
}

variable "epochs" {
  type        = number
  default     = 6
  description = "Passes over all training images, for the winner and for resnet8."
}

ingest "clothes" {
  source = var.data
  format = "idx"
  subset = "train"
}

ingest "test" {
  source = var.data
  format = "idx"
  subset = "test"
}

split "holdout" {
  data  = ingest.clothes.dataset
  ratio = { train = 27, validation = 3 }
}

augment "policy" {
  data = split.holdout.train

  horizontal_flip {}
}

nas "small" {
  data       = augment.policy.dataset
  validation = split.holdout.validation
  trials     = var.trials
  objectives = ["accuracy", "flops"]

  space "thin" {}
  strategy "regularized_evolution" { population = 12 }
  limit { flops = 19.3e6 } # resnet8 at 28×28
  budget {
    epochs  = 2
    samples = var.samples
  }
}

train "winner" {
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  model         = nas.small.model
  epochs        = var.epochs
  learning_rate = 0.1
}

train "resnet8" {
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  model         = "resnet8"
  epochs        = var.epochs
  learning_rate = 0.1
}

evaluate "winner" {
  model    = train.winner.model
  baseline = train.resnet8.model
  data     = ingest.test.dataset
}
