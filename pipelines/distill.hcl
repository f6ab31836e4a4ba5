# A small student learns CIFAR-10 on 20,000 images from a teacher that was trained on all of them, with three seeds, beside the same student without one. Both see each image
# augmented anew in every epoch, and the teacher answers what the student sees: on images as they are, which it learned by heart, it would have little to say. See cifar-10.hcl for the files.
#
#   darkroom run pipelines/distill.hcl --var data=PATH

pipeline {
  name = "distill"
  seed = 1
}

variable "data" {
  type        = string
  default     = "../../shared/data/cifar-10"
  description = "Folder with the binary batches."
}

variable "teacher_epochs" {
  type        = number
  default     = 10
  description = "Passes over the training split, of the teacher."
}

variable "images" {
  type        = number
  default     = 20000
  description = "Images that the student learns on, with and without the teacher."
}

variable "epochs" {
  type        = number
  default     = 4
  description = "Passes over these images."
}

variable "seeds" {
  type        = map(number)
  default     = { first = 1, second = 2, third = 3 }
  description = "The student is trained with each of these."
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

split "holdout" {
  data  = ingest.things.dataset
  ratio = { train = 49, validation = 1 }
}

augment "policy" {
  data = split.holdout.train

  random_crop { padding = 4 }
  horizontal_flip {}
}

# The net of cifar-10.hcl: a run of that finds it here, and the other way round.
train "teacher" {
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  model         = "resnet20"
  epochs        = var.teacher_epochs
  batch         = 128
  learning_rate = 0.3

  optimizer "sgd" {
    weight_decay = 0.0005
    nesterov     = true
  }
  schedule "one_cycle" {}
}

split "few" {
  data  = split.holdout.train
  sizes = { train = var.images }
}

augment "few" {
  data = split.few.train

  random_crop { padding = 4 }
  horizontal_flip {}
}

distill "student" {
  for_each      = var.seeds
  seed          = each.value
  data          = augment.few.dataset
  validation    = split.holdout.validation
  teacher       = [train.teacher.model]
  model         = "resnet8"
  epochs        = var.epochs
  learning_rate = 0.1

  method "soft_targets" {
    temperature = 4
    weight      = 0.9
  }
}

train "alone" {
  for_each      = var.seeds
  seed          = each.value
  data          = augment.few.dataset
  validation    = split.holdout.validation
  model         = "resnet8"
  epochs        = var.epochs
  learning_rate = 0.1
}

evaluate "teacher" {
  model = train.teacher.model
  data  = ingest.test.dataset
}

evaluate "alone" {
  for_each = train.alone
  model    = each.value.model
  data     = ingest.test.dataset
}

evaluate "student" {
  for_each = distill.student
  model    = each.value.model
  baseline = train.alone[each.key].model
  data     = ingest.test.dataset
}

# A negative drop is a gain.
summary "test" {
  of = {
    alone   = values(evaluate.alone)[*].accuracy
    student = values(evaluate.student)[*].accuracy
    drop    = values(evaluate.student)[*].accuracy_drop
  }

  require {
    condition = self.mean.drop <= -0.005
    message   = "The teacher brought the student less than half a point."
  }
}
