package main

// decoder names what reads JPEG files.
func decoder() string { return "image/jpeg" }
