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
  default     = 12
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

  random_crop { padding = 2 }
  horizontal_flip {}
}

train "net" {
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  model         = "resnet20"
  epochs        = var.epochs
  batch         = 128
  learning_rate = 0.3

  loss "cross_entropy" { smoothing = 0.1 } # some of the labels are wrong, and shirts and pullovers are alike
  optimizer "sgd" {
    weight_decay = 0.0005
    nesterov     = true
  }
  schedule "one_cycle" {} # up and down once: the way to a good net in few epochs
}

evaluate "test" {
  model = train.net.model
  data  = ingest.test.dataset

  require {
    condition = self.accuracy >= 0.925
    message   = "A residual net of 20 layers recognises more than 92.5 % of the test images after twelve epochs."
  }
}
