# A small student learns Fashion-MNIST from a larger teacher; gain says how much better it is than the same student without one. The files
# are those of fashion-mnist.hcl:
#
#   darkroom run pipelines/distill.hcl --var data=PATH

pipeline {
  name = "distill"
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
  description = "Passes over the training split, of the teacher and of the student."
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
  ratio = { train = 11, validation = 1 }
}

train "teacher" {
  data          = split.holdout.train
  validation    = split.holdout.validation
  model         = "resnet20"
  epochs        = var.epochs
  learning_rate = 0.1
}

# Without an augmentation policy the teacher answers each image once.
distill "student" {
  data          = split.holdout.train
  validation    = split.holdout.validation
  teacher       = [train.teacher.model]
  model         = "resnet8"
  epochs        = var.epochs
  learning_rate = 0.1
  compare       = true

  method "soft_targets" {
    temperature = 4
    weight      = 0.9
  }
}

evaluate "test" {
  model = distill.student.model
  data  = ingest.test.dataset
}
