# CIFAR-10 to 94 % on a GPU, the task of airbench. `make bench-gpu` runs it; the wall time that it reports is that of the train
# stage, compilation included. It also is a start for a training of your own: darkroom run bench/gpu/cifar10.hcl --var data=PATH

pipeline {
  name = "cifar10-gpu"
  seed = 1
}

variable "data" {
  type        = string
  default     = "../../../shared/data/cifar-10"
  description = "Folder with the batches of the binary version."
}

variable "model" {
  type    = string
  default = "resnet18" # for images as small as these its stem keeps their size
}

variable "epochs" {
  type    = number
  default = 18
}

variable "precision" {
  type    = string
  default = "bf16"
}

runner "gpu" "one" {}

ingest "images" {
  source = var.data
  format = "cifar"
  subset = "train"
}

ingest "test" {
  source = var.data
  format = "cifar"
  subset = "test"
}

augment "policy" {
  data = ingest.images.dataset

  random_crop { padding = 4 }
  horizontal_flip {}
}

train "net" {
  runner        = runner.gpu.one
  precision     = var.precision
  data          = augment.policy.dataset
  model         = var.model
  epochs        = var.epochs
  batch         = 512
  learning_rate = 0.4
  workers       = 8

  optimizer "sgd" {
    momentum     = 0.9
    weight_decay = 0.0005
    nesterov     = true
  }
  schedule "cosine" { warmup = 3 }
}

evaluate "test" {
  model = train.net.model
  data  = ingest.test.dataset

  require {
    condition = self.accuracy >= 0.94
    message   = format("%.2f %% of the test images are right, fewer than 94 %%.", 100 * self.accuracy)
  }
}
