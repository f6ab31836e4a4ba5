pipeline {
  name = "small"
  seed = 7
}

variable "epochs" {
  type    = number
  default = 1
}

variable "workers" {
  type    = number
  default = 1
}

ingest "surfaces" {
  generator = "surfaces"
  count     = 200
  size      = 24
}

split "holdout" {
  data  = ingest.surfaces.dataset
  ratio = [6, 2, 2]
}

augment "policy" {
  data = split.holdout.train

  horizontal_flip {}
  shift {
    limit = 0.1
    p     = 1
  }
  preview { columns = 4 }
}

train "net" {
  data       = augment.policy.dataset
  validation = split.holdout.validation
  model      = "resnet8"
  batch      = 32
  epochs     = var.epochs
  workers    = var.workers
}

evaluate "test" {
  model = train.net.model
  data  = split.holdout.test
}
