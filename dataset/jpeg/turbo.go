package jpeg

/*
#cgo CFLAGS: -std=gnu11 -O2 -Wall
#cgo LDFLAGS: -ldl
#include "turbo.h"
*/
import "C"

import (
	"os"
	"unsafe"
)

// turbo tells whether libjpeg-turbo decodes. DARKROOM_JPEG=go leaves it out.
var turbo = os.Getenv("DARKROOM_JPEG") != "go" && C.dj_open() == 1

func decodeTurbo(b []byte, p Picture, half bool) bool {
	divide := 1
	if half {
		divide = 2
	}
	return C.dj_decode((*C.uint8_t)(unsafe.SliceData(b)), C.size_t(len(b)), (*C.uint8_t)(unsafe.SliceData(p.Pixels)), C.int(p.Height), C.int(p.Width), C.int(p.Channels), C.int(divide)) == 1
}
