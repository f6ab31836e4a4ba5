# Architecture search: networks for Fashion-MNIST that take no more FLOPs than resnet8 are searched for, the best is trained in full, with three seeds, and compared
# with resnet8. See fashion-mnist.hcl for the files.
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
  default     = 24
  description = "Networks that are tried."
}

variable "samples" {
  type        = number
  default     = 8000
  description = "Images that each of them is trained on."
}

variable "epochs" {
  type        = number
  default     = 5
  description = "Passes over all training images, for the winner and for resnet8."
}

variable "seeds" {
  type        = map(number)
  default     = { first = 1, second = 2, third = 3 }
  description = "The winner and resnet8 are trained with each of these."
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

  space "thin" {}
  strategy "regularized_evolution" { population = 12 }
  limit { flops = 19.3e6 } # resnet8 at 28×28
  rank {                   # of five networks that are drawn, the one with the most parameters is tried
    score = "parameters"
    pool  = 5
  }
  budget {
    epochs  = 3
    samples = var.samples
  }
}

train "winner" {
  for_each      = var.seeds
  seed          = each.value
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  model         = nas.small.model
  epochs        = var.epochs
  learning_rate = 0.1
}

train "resnet8" {
  for_each      = var.seeds
  seed          = each.value
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  model         = "resnet8"
  epochs        = var.epochs
  learning_rate = 0.1
}

evaluate "winner" {
  for_each = train.winner
  model    = each.value.model
  baseline = train.resnet8[each.key].model
  data     = ingest.test.dataset
}

# A negative drop is a gain.
summary "test" {
  of = {
    accuracy = values(evaluate.winner)[*].accuracy
    drop     = values(evaluate.winner)[*].accuracy_drop
  }

  require {
    condition = self.mean.drop < 0
    message   = "The winner of the search is no better than resnet8."
  }
}
