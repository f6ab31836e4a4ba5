package ort

import (
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// versionPrefix begins the symbol version that every ONNX Runtime library for Linux defines: VERS_1.30.0.
const versionPrefix = "VERS_"

// checkLibrary looks at the library as a file: the right kind, for this processor, complete, and ONNX Runtime. It
// refuses what would crash the process when loaded. Only ELF files are looked into; elsewhere the loader decides.
func checkLibrary(path string) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	file, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("not a shared library, or truncated or damaged; remove it and run `make setup`: %w", err)
	}
	defer file.Close()
	if want := machines[runtime.GOARCH]; file.Machine != want {
		return fmt.Errorf("built for another processor (%v, this machine needs %v)", file.Machine, want)
	}
	for _, segment := range file.Progs {
		if end := segment.Off + segment.Filesz; end > uint64(info.Size()) {
			return fmt.Errorf("truncated: %d bytes, but its segments end at %d; remove it and run `make setup`", info.Size(), end)
		}
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return fmt.Errorf("damaged; remove it and run `make setup`: %w", err)
	}
	for _, symbol := range symbols {
		if symbol.Name == "OrtGetApiBase" && symbol.Section != elf.SHN_UNDEF {
			return nil
		}
	}
	return errors.New("not ONNX Runtime: it does not define OrtGetApiBase")
}

// machines maps GOARCH to the processor that an ELF file names.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// fileVersion reads the version from the library's symbol versions without loading it; "" when it has none.
func fileVersion(path string) string {
	file, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	versions, err := file.DynamicVersions()
	if err != nil {
		return ""
	}
	for _, v := range versions {
		if rest, ok := strings.CutPrefix(v.Name, versionPrefix); ok {
			return rest
		}
	}
	return ""
}

// buildID returns the first 8 hexadecimal digits of the identity that the linker gave the file; "" when it has none.
func buildID(path string) string {
	file, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	section := file.Section(".note.gnu.build-id")
	if section == nil {
		return ""
	}
	// A note: the sizes of name and description and a type, 4 bytes each, the name "GNU" and a zero, the description.
	const header = 12 + 4
	note, err := section.Data()
	if err != nil || len(note) < header+4 {
		return ""
	}
	return hex.EncodeToString(note[header : header+4])
}
