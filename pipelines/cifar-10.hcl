# CIFAR-10: 60,000 colour images of things and animals, 32×32, ten classes (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"). The
# binary version has data_batch_1.bin to data_batch_5.bin and test_batch.bin, each perhaps compressed; say where they are:
#
#   darkroom run pipelines/cifar-10.hcl --var data=PATH

pipeline {
  name = "cifar-10"
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
  description = "Passes over the training images."
}

# The data set has its own test images, so they are ingested apart from the rest.
ingest "things" {
  source  = var.data
  format  = "cifar"
  subset  = "train"
  classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
}

ingest "test" {
  source  = var.data
  format  = "cifar"
  subset  = "test"
  classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
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

train "net" {
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  model         = "resnet20"
  epochs        = var.epochs
  batch         = 128
  learning_rate = 0.3

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
    condition = self.accuracy >= 0.8
    message   = "A residual net of 20 layers recognises more than 80 % of the test images after ten epochs."
  }
}
