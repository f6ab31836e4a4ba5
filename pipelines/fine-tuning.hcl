# Fine-tuning: a net learns five classes of which there are many images, and is tuned to five others of which there are few. Beside it, the same net is
# trained on these few from scratch. The images lie in folders, train/CLASS and test/CLASS. CIFAR-10 becomes such folders with
#
#   darkroom run pipelines/cifar-10.hcl --target ingest.things --target ingest.test
#   darkroom get ingest.things.dataset images/train --as folder -p pipelines/cifar-10.hcl
#   darkroom get ingest.test.dataset images/test --as folder -p pipelines/cifar-10.hcl
#   darkroom run pipelines/fine-tuning.hcl --var data=images

pipeline {
  name = "fine-tuning"
  seed = 1
}

variable "data" {
  type        = string
  default     = "images"
  description = "Folder with train/CLASS and test/CLASS."
}

variable "known" {
  type        = list(string)
  default     = ["airplane", "bird", "deer", "frog", "ship"]
  description = "The classes with many images."
}

variable "wanted" {
  type        = list(string)
  default     = ["automobile", "cat", "dog", "horse", "truck"]
  description = "The classes with few images."
}

variable "size" {
  type        = number
  default     = 64
  description = "Side in pixels to which the images are scaled. From 64 on resnet18 begins with a stride, as for large images, which is five times faster."
}

variable "epochs" {
  type        = number
  default     = 6
  description = "Passes over the images of the classes with many."
}

variable "tuning" {
  type        = number
  default     = 40
  description = "Passes over the few images."
}

variable "batch" {
  type        = number
  default     = 128
  description = "Images in a step on the many; on the few it is 32, or this where it is smaller."
}

ingest "many" {
  source  = var.data
  subset  = "train"
  classes = var.known
  size    = var.size
}

ingest "others" {
  source  = var.data
  subset  = "train"
  classes = var.wanted
  size    = var.size
}

ingest "test" {
  source  = var.data
  subset  = "test"
  classes = var.wanted
  size    = var.size
}

split "few" {
  data  = ingest.others.dataset
  ratio = { train = 1, rest = 99 }
}

augment "many" {
  data = ingest.many.dataset
  random_crop { padding = 8 }
  horizontal_flip {}
}

augment "few" {
  data = split.few.train
  random_crop { padding = 8 }
  horizontal_flip {}
}

train "base" {
  data          = augment.many.dataset
  model         = "resnet18"
  epochs        = var.epochs
  batch         = var.batch
  learning_rate = 0.1
  schedule "one_cycle" {}
}

# The classifier is replaced by a fresh one for the other classes. It learns alone first, then everything does, the lowest layers at half of its rate.
train "tuned" {
  data          = augment.few.dataset
  model         = train.base.model
  head          = "fresh"
  epochs        = var.tuning
  batch         = min(32, var.batch)
  learning_rate = 0.02

  freeze {
    share  = 0.95
    epochs = 5
  }
  rates { bottom = 0.01 }
}

train "scratch" {
  data          = augment.few.dataset
  model         = "resnet18"
  epochs        = var.tuning
  batch         = min(32, var.batch)
  learning_rate = 0.02
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
    condition = self.accuracy >= evaluate.scratch.accuracy + 0.1
    message   = "What was learned from other classes is worth ten points and more."
  }
}
