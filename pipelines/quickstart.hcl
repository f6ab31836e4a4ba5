# The quickstart: from images to an evaluated model in about a minute, with no data of your own.
# darkroom makes the images itself: textured metal with a scratch, a pit, a patch, an inclusion, or no defect at all.
#
#   darkroom run pipelines/quickstart.hcl                     runs it; a second time runs nothing
#   darkroom plan pipelines/quickstart.hcl --var epochs=12    what a change would run, and why
#   darkroom why train.net -p pipelines/quickstart.hcl        why a stage ran

pipeline {
  name = "quickstart"
  seed = 42 # every draw of a random number follows from it
}

variable "epochs" {
  type        = number
  default     = 8
  description = "Passes over the training split."

  validation {
    condition     = var.epochs >= 1
    error_message = "At least one epoch is needed."
  }
}

# The source of everything: here a generator, in your own pipeline a folder with one folder of images for each class.
ingest "surfaces" {
  generator = "surfaces"
  count     = 3000
  size      = 48
}

# A reference to another stage's output is the edge between them; there is no second list of edges.
split "holdout" {
  data     = ingest.surfaces.dataset
  ratio    = [6, 2, 2] # train, validation, test
  stratify = true      # every class keeps its share
}

# Applied anew to each image in each epoch, in this order. `darkroom get augment.policy.preview sheet.png` shows it.
augment "policy" {
  data = split.holdout.train

  horizontal_flip {}
  shift {
    limit = 0.1
    p     = 1
  }
}

train "net" {
  data       = augment.policy.dataset
  validation = split.holdout.validation
  model      = "resnet8"
  epochs     = var.epochs
  batch      = 64

  schedule "cosine" {}
}

evaluate "test" {
  model = train.net.model
  data  = split.holdout.test

  # Checked after the results are kept: a model that misses it fails the run, and its report is still there.
  require {
    condition = self.accuracy >= 0.95
    message   = "The model recognises fewer than 95 % of the test images."
  }
}
