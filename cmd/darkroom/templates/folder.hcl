# A first pipeline: your images, one folder for each class, to an evaluated model.
#
#   darkroom validate      checks this file
#   darkroom plan          says what would run, and why
#   darkroom run           runs what changed
#   darkroom stages        is the reference of everything that a pipeline is made of

pipeline {
  name = "first"
  seed = 42 # every draw of a random number follows from it
}

variable "images" {
  type        = string
  default     = "images"
  description = "Folder with one folder of images for each class, beside this file."
}

variable "epochs" {
  type        = number
  default     = 20
  description = "Passes over the training split."
}

ingest "images" {
  source = var.images
  format = "folder"
  size   = 64 # every image is scaled to 64×64
}

# A reference to another stage's output is the edge between them.
split "holdout" {
  data  = ingest.images.dataset
  ratio = [8, 1, 1] # train, validation, test
}

# Applied anew to each image in each epoch.
augment "policy" {
  data = split.holdout.train

  horizontal_flip {}
  rotate { limit = 10 }
}

train "net" {
  data       = augment.policy.dataset
  validation = split.holdout.validation
  model      = "resnet20"
  epochs     = var.epochs

  schedule "cosine" {}
}

evaluate "test" {
  model = train.net.model
  data  = split.holdout.test
}
