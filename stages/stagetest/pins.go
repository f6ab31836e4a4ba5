package stagetest

import (
	"fmt"
	"strings"
)

// pinClass names what the pinned digests hold for: the kind's version and, for kinds that compute, the device class.
func pinClass(f Fixture) string {
	class := fmt.Sprintf("version %d", f.Kind.Version)
	if f.Kind.Computes {
		d := f.Device
		class += fmt.Sprintf(", %s %s %s %s threads=%d", d.Backend, d.Version, d.ISA, d.Precision, d.Threads)
	}
	return class
}

// hasVersion reports whether the kind's version is pinned for some device class.
func hasVersion(all pins, f Fixture) bool {
	for class := range all {
		if strings.HasPrefix(class, fmt.Sprintf("version %d,", f.Kind.Version)) {
			return true
		}
	}
	return false
}
