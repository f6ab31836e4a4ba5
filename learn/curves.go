package learn

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protowire"
)

// The files of a folder of curves.
const (
	CurvesFile = "curves.json"
	EventsFile = "events.out.tfevents.0.darkroom"
)

// Curves is what a training was like, epoch by epoch.
type Curves struct {
	BestEpoch int     `json:"best_epoch"`
	Epochs    []Epoch `json:"epochs"`
	// Groups are those whose learning rates differ; none where all have one.
	Groups []RateGroup `json:"rate_groups,omitempty"`
}

// WriteCurves makes the folder dir with the curves as JSON and as a TensorBoard event file. The events' times are their steps, as
// seconds, so that equal trainings give equal files.
func WriteCurves(dir string, c Curves) error {
	if err := os.Mkdir(dir, 0o777); err != nil {
		return fmt.Errorf("writing the curves: %w", err)
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the curves: %w", err)
	}
	for name, content := range map[string][]byte{CurvesFile: append(b, '\n'), EventsFile: c.events()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
			return fmt.Errorf("writing the curves: %w", err)
		}
	}
	return nil
}

// scalar is a number of an epoch under its name in TensorBoard.
type scalar struct {
	tag   string
	value float64
}

// scalars lists every number of an epoch: the learning rate, that of each group by its first parameter, losses, accuracies and all other metrics of the
// objective and of the judge, and what loss scaling did.
func (c Curves) scalars(e Epoch) []scalar {
	list := []scalar{{"learning_rate", e.LearningRate}}
	for _, g := range c.Groups {
		list = append(list, scalar{"learning_rate/" + g.First, e.LearningRate * g.Factor})
	}
	list = append(list, scalar{"loss/train", e.TrainLoss}, scalar{"accuracy/train", e.TrainAccuracy})
	for _, name := range sortedKeys(e.TrainMetrics) {
		list = append(list, scalar{name + "/train", e.TrainMetrics[name]})
	}
	if v := e.Validation; v != nil {
		list = append(list, scalar{"loss/validation", v.Loss}, scalar{"accuracy/validation", v.Accuracy})
		for _, name := range sortedKeys(v.Metrics) {
			list = append(list, scalar{name + "/validation", v.Metrics[name]})
		}
	}
	if e.LossScale > 0 {
		list = append(list, scalar{"loss_scale", e.LossScale}, scalar{"skipped_steps", float64(e.Skipped)})
	}
	return list
}

// events returns a TensorBoard event file: records of the messages Event and Summary of tensorflow/core/util/event.proto.
func (c Curves) events() []byte {
	version := protowire.AppendTag(event(0), 3, protowire.BytesType)
	file := tfRecord(protowire.AppendString(version, "brain.Event:2"))
	for _, e := range c.Epochs {
		var summary []byte
		for _, s := range c.scalars(e) {
			value := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), s.tag)
			value = protowire.AppendFixed32(protowire.AppendTag(value, 2, protowire.Fixed32Type), math.Float32bits(float32(s.value)))
			summary = protowire.AppendBytes(protowire.AppendTag(summary, 1, protowire.BytesType), value)
		}
		message := protowire.AppendTag(event(e.Step), 5, protowire.BytesType)
		file = append(file, tfRecord(protowire.AppendBytes(message, summary))...)
	}
	return file
}

// event returns the beginning of an Event: its wall time and its step.
func event(step int) []byte {
	b := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(float64(step)))
	return protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(step))
}

// tfRecord frames a message as one TFRecord: length, its masked checksum, data, its masked checksum.
func tfRecord(data []byte) []byte {
	length := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b := binary.LittleEndian.AppendUint32(length, maskedChecksum(length))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint32(b, maskedChecksum(data))
}

// maskedChecksum is the CRC-32C, rotated and shifted as the TFRecord format wants it.
func maskedChecksum(b []byte) uint32 {
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (c>>15 | c<<17) + 0xa282ead8
}
