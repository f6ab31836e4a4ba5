# Marks on magnetic tiles: images in a folder for each kind of defect, with a mask of the same name beside each (image.jpg, image.png;
# github.com/abin24/Magnetic-tile-defect-datasets.). Say where they are:
#
#   darkroom run pipelines/segmentation.hcl --var data=PATH

pipeline {
  name = "segmentation"
}

variable "data" {
  type        = string
  default     = "../../shared/data/magnetic-tile/magnetic-tile.zip"
  description = "Archive or folder of images with masks."
}

variable "size" {
  type        = number
  default     = 128
  description = "Side of the images in pixels."
}

# Anti-aliased masks are divided at a grey level; the report counts them, and lists empty masks among the defects.
ingest "tiles" {
  source         = var.data
  format         = "masks"
  size           = var.size
  mask_threshold = 127
}

split "holdout" {
  data  = ingest.tiles.dataset
  ratio = { train = 8, validation = 1, test = 1 }
}
