# Cross-validation: five trainings, each validated on a fifth of the images that it did not see, with the classes in equal shares; the summary says what
# they reach on average and how far they lie apart. The images are a folder with one folder of pictures for each class:
#
#   darkroom run pipelines/k-fold.hcl --var data=PATH

pipeline {
  name = "k-fold"
  seed = 1
}

variable "data" {
  type        = string
  default     = "images"
  description = "Folder with one folder of pictures for each class."
}

variable "size" {
  type        = number
  default     = 64
  description = "Side that the pictures are scaled to, in pixels."
}

variable "folds" {
  type        = number
  default     = 5
  description = "How many parts take turns at validating."
}

variable "epochs" {
  type        = number
  default     = 20
  description = "Passes over the images, for each training."
}

variable "batch" {
  type        = number
  default     = 64
  description = "Images in a step."
}

ingest "photos" {
  source = var.data
  size   = var.size
}

# Identical images stay together; so do those of one patient or part, if group_pattern says what they have in common.
split "cross" {
  data  = ingest.photos.dataset
  folds = var.folds
}

augment "cv" {
  for_each = split.cross.folds
  data     = each.value.train

  horizontal_flip {}
}

train "cv" {
  for_each      = split.cross.folds
  data          = augment.cv[each.key].dataset
  validation    = each.value.validation
  model         = "resnet8"
  epochs        = var.epochs
  batch         = var.batch
  learning_rate = 0.1

  schedule "one_cycle" {}
}

evaluate "cv" {
  for_each = split.cross.folds
  model    = train.cv[each.key].last # the best epoch was chosen on these images, so it would flatter
  data     = each.value.validation
}

summary "cv" {
  of = {
    accuracy = values(evaluate.cv)[*].accuracy
    auroc    = values(evaluate.cv)[*].auroc
  }
}
