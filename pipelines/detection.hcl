# Boxes of blood cells: 364 smears with Pascal VOC annotations (github.com/Shenggan/BCCD_Dataset, licence MIT), as an archive of its
# folders JPEGImages, Annotations and ImageSets. It is read without unpacking. Say where it is:
#
#   darkroom run pipelines/detection.hcl --var data=PATH

pipeline {
  name = "detection"
}

variable "data" {
  type        = string
  default     = "../../shared/data/bccd/bccd.zip"
  description = "Archive or folder with pictures and their Pascal VOC annotations."
}

variable "size" {
  type        = number
  default     = 320
  description = "Side of the images in pixels."
}

# The report lists every oddity of the annotations: here two boxes without an area, which are left out.
ingest "cells" {
  source = var.data
  format = "voc"
  size   = var.size

  require {
    condition = self.findings.empty_box <= 2
    message   = "More boxes have no area than are known of."
  }
}

# The lists train.txt, val.txt and test.txt of the data set are its own division.
split "own" {
  data         = ingest.cells.dataset
  source_parts = { train = "train", validation = "validation", test = "test" }
}
