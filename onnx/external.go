package onnx

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// MaxExternal is the largest size of all values together that Load reads from files beside a model, in bytes.
const MaxExternal = 64 << 30

// readExternal brings values that a model keeps in files beside it (external data, as exporters write models over 2 GB) into p. The files
// must lie in the model's folder or below it; a location that leads elsewhere, by its text or by a link, is refused.
func readExternal(p *protos.ModelProto, folder string) error {
	var total int64
	files := map[string]*os.File{}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, t := range p.GetGraph().GetInitializer() {
		if t.GetDataLocation() != protos.TensorProto_EXTERNAL {
			continue
		}
		place, err := externalPlace(t)
		if err != nil {
			return fmt.Errorf("initializer %q: %w", t.Name, err)
		}
		if total += place.length; total > MaxExternal {
			return fmt.Errorf("its values beside it are over %d bytes", int64(MaxExternal))
		}
		f := files[place.location]
		if f == nil {
			if f, err = root.Open(place.location); err != nil {
				return fmt.Errorf("initializer %q: its values are in the file %q beside the model, which cannot be read: %w", t.Name, place.location, err)
			}
			files[place.location] = f
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || place.offset+place.length > info.Size() {
			return fmt.Errorf("initializer %q: the file %q has %d bytes; its values would end at %d", t.Name, place.location, info.Size(), place.offset+place.length)
		}
		t.RawData = make([]byte, place.length)
		if _, err := f.ReadAt(t.RawData, place.offset); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("initializer %q: reading the file %q: %w", t.Name, place.location, err)
		}
		t.DataLocation, t.ExternalData = protos.TensorProto_DEFAULT, nil
	}
	return nil
}

// place is where a tensor's values lie.
type place struct {
	location       string
	offset, length int64
}

func externalPlace(t *protos.TensorProto) (place, error) {
	n, bits := elements(t.Dims), elementBits(t.DataType)
	if n < 0 || bits == 0 {
		return place{}, fmt.Errorf("dimensions %v of type %d cannot be read", t.Dims, t.DataType)
	}
	p := place{length: (int64(n)*int64(bits) + 7) / 8}
	for _, e := range t.ExternalData {
		var err error
		switch e.GetKey() {
		case "location":
			p.location = e.GetValue()
		case "offset":
			p.offset, err = strconv.ParseInt(e.GetValue(), 10, 64)
		case "length":
			var length int64
			if length, err = strconv.ParseInt(e.GetValue(), 10, 64); err == nil && length != p.length {
				return place{}, fmt.Errorf("it says that its values have %d bytes, its dimensions %v need %d", length, t.Dims, p.length)
			}
		}
		if err != nil {
			return place{}, fmt.Errorf("its %s is not a number of bytes: %q", e.GetKey(), e.GetValue())
		}
	}
	if !filepath.IsLocal(p.location) {
		return place{}, fmt.Errorf("its values would be in the file %q, which is not in the model's folder", p.location)
	}
	if p.offset < 0 || p.offset > 1<<50 {
		return place{}, fmt.Errorf("its values would begin at byte %d", p.offset)
	}
	return p, nil
}

// externalThreshold is the smallest initializer that SaveExternal puts beside the model, in bytes.
const externalThreshold = 1024

// externalAlign is where values begin: a multiple of it, so that they can be mapped.
const externalAlign = 4096

// SaveExternal writes the model to path and the values of its larger initializers to the file data in the same folder, for models that are
// over 2 GB. Save is for all others. The data file is whole before the model names it.
func (m *Model) SaveExternal(path, data string) error {
	if filepath.Base(data) != data || !filepath.IsLocal(data) {
		return fmt.Errorf("writing the model %s: %q is not the name of a file beside it", path, data)
	}
	err := writeWhole(filepath.Join(filepath.Dir(path), data), func(w io.Writer) error { return m.writeValues(w) })
	if err != nil {
		return fmt.Errorf("writing the model %s: %w", path, err)
	}
	small := m.withoutValues(data)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(small)
	if err != nil {
		return fmt.Errorf("writing the model %s: %w", path, err)
	}
	if err := writeWhole(path, func(w io.Writer) error { _, err := w.Write(b); return err }); err != nil {
		return fmt.Errorf("writing the model %s: %w", path, err)
	}
	return nil
}

func outside(t *protos.TensorProto) bool { return len(t.RawData) >= externalThreshold }

func (m *Model) writeValues(w io.Writer) error {
	at, padding := 0, make([]byte, externalAlign)
	for _, t := range m.proto.Graph.Initializer {
		if !outside(t) {
			continue
		}
		pad := (externalAlign - at%externalAlign) % externalAlign
		if _, err := w.Write(padding[:pad]); err != nil {
			return err
		}
		if _, err := w.Write(t.RawData); err != nil {
			return err
		}
		at += pad + len(t.RawData)
	}
	return nil
}

// withoutValues returns the message whose larger initializers point into the file data.
func (m *Model) withoutValues(data string) *protos.ModelProto {
	g := m.proto.Graph
	values := make([][]byte, len(g.Initializer))
	for i, t := range g.Initializer { // not copied along: they may be large
		if outside(t) {
			values[i], t.RawData = t.RawData, nil
		}
	}
	p := proto.Clone(m.proto).(*protos.ModelProto)
	at := 0
	for i, v := range values {
		if v == nil {
			continue
		}
		g.Initializer[i].RawData = v
		at += (externalAlign - at%externalAlign) % externalAlign
		t := p.Graph.Initializer[i]
		t.DataLocation = protos.TensorProto_EXTERNAL
		for _, e := range [][2]string{{"location", data}, {"offset", strconv.Itoa(at)}, {"length", strconv.Itoa(len(v))}} {
			t.ExternalData = append(t.ExternalData, &protos.StringStringEntryProto{Key: e[0], Value: e[1]})
		}
		at += len(v)
	}
	return p
}

// writeWhole writes a file through a temporary one beside it, so that path never holds a part.
func writeWhole(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".model-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails when the rename succeeded, as it should
	w := bufio.NewWriterSize(f, 1<<20)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
