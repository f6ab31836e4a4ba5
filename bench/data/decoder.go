package main

import "github.com/darkroom-dev/darkroom/dataset/jpeg"

// decoder names what reads JPEG files.
func decoder() string { return jpeg.Library() }
