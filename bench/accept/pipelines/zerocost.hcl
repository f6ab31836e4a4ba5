# Thirty small networks for Fashion-MNIST, drawn at random from a space in which accuracies really vary: how well do scores without training rank them?

pipeline {
  name = "zerocost"
  seed = 1
}

variable "data" {
  type        = string
  description = "Folder with the four idx files."
}

ingest "clothes" {
  source = var.data
  format = "idx"
  subset = "train"
}

split "parts" {
  data  = ingest.clothes.dataset
  sizes = { train = 6000, validation = 3000 }
}

nas "ranked" {
  data       = split.parts.train
  validation = split.parts.validation
  trials     = 30
  scores     = ["synflow", "naswot", "snip", "grad_norm", "parameters", "flops"]

  space "custom" {
    stems = [2, 4, 8, 16]
    stage {
      operators = ["residual", "inverted", "convolution", "separable", "identity"]
      widths    = [4, 8, 16]
      depths    = [1, 2]
      stride    = 2
    }
    stage {
      operators = ["residual", "inverted", "convolution", "separable", "identity"]
      widths    = [4, 8, 16, 32]
      depths    = [1, 2]
      stride    = 2
    }
    stage {
      operators = ["residual", "inverted", "convolution", "separable", "identity"]
      widths    = [8, 16, 32, 64]
      depths    = [1, 2]
    }
  }
  strategy "random" {}
  budget {
    epochs  = 2
    samples = 0
  }
}
