package xla

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/darkroom-dev/darkroom/artifact"
)

// entry is the function that every PJRT plugin exports.
const entry = "GetPjrtApi"

// machines maps GOARCH to the processor that an ELF file names.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// Check looks at a plugin as a file, without loading it: the right kind, for this processor, complete, and a PJRT plugin.
func Check(path string) error {
	if runtime.GOOS != "linux" {
		return errors.New("plugins are supported on Linux alone")
	}
	if !filepath.IsAbs(path) || strings.Contains(path, ",") {
		return errors.New("its path must be absolute and without a comma")
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	file, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("not a shared library, or truncated or damaged: %w", err)
	}
	defer file.Close()
	if want := machines[runtime.GOARCH]; file.Machine != want || file.Type != elf.ET_DYN {
		return fmt.Errorf("built for another processor, or no shared library (%v, %v; this machine needs %v)", file.Machine, file.Type, want)
	}
	for _, segment := range file.Progs {
		if end := segment.Off + segment.Filesz; end > uint64(info.Size()) {
			return fmt.Errorf("truncated: %d bytes, but its segments end at %d", info.Size(), end)
		}
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	for _, symbol := range symbols {
		if symbol.Name == entry && symbol.Section != elf.SHN_UNDEF {
			return nil
		}
	}
	return errors.New("not a PJRT plugin: it does not define " + entry)
}

// identities remembers digests by path; a plugin has hundreds of megabytes.
var identities sync.Map

// Identity names the build of a plugin by the beginning of its digest, "pjrt 0a1b2c3d": plugins carry no other identity in the
// file itself. It is "pjrt" when the file cannot be read.
func Identity(path string) string {
	if known, ok := identities.Load(path); ok {
		return known.(string)
	}
	digest, _, err := artifact.DigestFile(path)
	if err != nil {
		return "pjrt"
	}
	identity := "pjrt " + string(digest[:8])
	identities.Store(path, identity)
	return identity
}
