# Pre-training without labels: a small residual net looks at CIFAR-10 without its labels (SimCLR), is tuned to a thousand labelled images, and is compared
# with the same net that has those thousand alone. See cifar-10.hcl for the files.
#
#   darkroom run pipelines/simclr.hcl --var data=PATH

pipeline {
  name = "simclr"
  seed = 1
}

variable "data" {
  type        = string
  default     = "../../shared/data/cifar-10"
  description = "Folder with the binary batches."
}

variable "images" {
  type        = number
  default     = 10000
  description = "Images without labels."
}

variable "labels" {
  type        = number
  default     = 1000
  description = "Images with labels."
}

variable "epochs" {
  type        = number
  default     = 30
  description = "Passes over the images without labels."
}

variable "tuning" {
  type        = number
  default     = 40
  description = "Passes over the labelled images."
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

split "parts" {
  data  = ingest.things.dataset
  sizes = { labelled = var.labels, unlabelled = var.images }
}

pretrain "contrastive" {
  data          = split.parts.unlabelled
  probe         = split.parts.labelled
  test          = ingest.test.dataset
  model         = "resnet8"
  projection    = [128, 64]
  epochs        = var.epochs
  batch         = 256
  learning_rate = 0.4

  optimizer "sgd" { weight_decay = 0.0001 }
  schedule "cosine" { warmup = 1 }
}

augment "few" {
  data = split.parts.labelled

  random_crop { padding = 4 }
  horizontal_flip {}
}

train "tuned" {
  data          = augment.few.dataset
  model         = "resnet8"
  init          = pretrain.contrastive.model
  epochs        = var.tuning
  batch         = 64
  learning_rate = 0.05
}

train "scratch" {
  data          = augment.few.dataset
  model         = "resnet8"
  epochs        = var.tuning
  batch         = 64
  learning_rate = 0.05
}

evaluate "scratch" {
  model = train.scratch.model
  data  = ingest.test.dataset
}

evaluate "tuned" {
  model    = train.tuned.model
  baseline = train.scratch.model
  data     = ingest.test.dataset

  require {
    condition = self.accuracy_drop < 0
    message   = "Pre-training did not help."
  }
}
