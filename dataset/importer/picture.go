package importer

import (
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/picture"
)

// Decode decodes the bytes of one picture file as the records of a folder are decoded, scaled to info's size and channels,
// so that a model predicts on what it would have been trained on. (H, W, C)
func Decode(b []byte, info dataset.Info) ([]byte, error) {
	return picture.Decode(b, info.Target(), nil)
}
