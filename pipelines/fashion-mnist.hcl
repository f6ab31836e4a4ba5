# Fashion-MNIST: 70,000 grey images of clothes, 28×28, ten classes (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747).
# The four files (train-images-idx3-ubyte.gz and so on) are at github.com/zalandoresearch/fashion-mnist, in data/fashion;
# the licence is MIT. Say where they are:
#
#   darkroom run pipelines/fashion-mnist.hcl --var data=PATH

pipeline {
  name = "fashion-mnist"
  seed = 1
}

variable "data" {
  type        = string
  default     = "../../shared/data/fashion-mnist"
  description = "Folder with the four idx files."
}

variable "epochs" {
  type        = number
  default     = 6
  description = "Passes over the training split."
}

# The data set has its own test images, so they are ingested apart from the rest.
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
  ratio = { train = 11, validation = 1 }
}

augment "policy" {
  data = split.holdout.train

  horizontal_flip {} # in so few epochs, stronger changes would cost more than they bring
}

train "net" {
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  model         = "resnet8"
  epochs        = var.epochs
  batch         = 128
  learning_rate = 0.1

  schedule "cosine" {}
}

evaluate "test" {
  model = train.net.model
  data  = ingest.test.dataset

  require {
    condition = self.accuracy >= 0.9
    message   = "A small residual net recognises more than 90 % of the test images."
  }
}
