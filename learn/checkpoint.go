package learn

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
)

// A checkpoint is one file: a line that names the format, the digest of the rest as 64 hexadecimal digits and a line end, the length of
// the header as 8 bytes, the header as JSON, and then the floats of the state and of the best state, little-endian. It is written beside
// its place and renamed, so a crash leaves the former one; what does not match its digest is not used.
const checkpointFormat = "darkroom checkpoint 2\n"

const checkpointFile = "checkpoint"

// position is where a training is, exactly: everything that is not weights.
type position struct {
	Fingerprint artifact.Digest    `json:"fingerprint"` // of the training it belongs to
	Epoch       int                `json:"epoch"`       // to do next, counted from 0
	Batch       int                `json:"batch"`
	LossSum     float64            `json:"loss_sum"`
	Totals      map[string]float64 `json:"totals"`
	Seen        int                `json:"seen"`
	History     []Epoch            `json:"history"`
	BestEpoch   int                `json:"best_epoch"`
	Updates     int                `json:"updates"`
	Sizes       []int              `json:"sizes"`                // elements of each tensor of the state
	MeanCount   int                `json:"mean_count,omitempty"` // snapshots in SWA's mean, whose tensors come last
	MeanSizes   []int              `json:"mean_sizes,omitempty"`
	HasBest     bool               `json:"has_best"`
}

// keeper writes and reads the checkpoint of one training.
type keeper struct {
	dir         string
	fingerprint artifact.Digest
}

// fingerprint names everything that changes the result, so that another training's checkpoint is never resumed.
func (r *run) fingerprint() (artifact.Digest, error) {
	model, err := r.Model.Bytes()
	if err != nil {
		return "", err
	}
	images := 0
	if r.Validation != nil {
		images = r.Validation.Len()
	}
	source := ""
	if r.Source != nil {
		source = r.Source.Identity()
	}
	further := fmt.Sprintf("%s %+v %t %+v %+v %+v %+v %+v %+v %q", maskIdentity(r.Masks), r.Clip, r.Balanced, r.Drop, r.Freeze, r.Rates, r.Average, r.SWA, r.Stopping, r.Monitor)
	if r.Settle.Share > 0 {
		further += fmt.Sprintf(" %+v", r.Settle)
	}
	text := fmt.Sprintf("%s %s %d %d %d %d %d %x %T%+v %T %s %q %q %T%+v %d %s", artifact.DigestBytes(model), r.Backend.Description(), r.Data.Len(), images,
		r.Epochs, r.Batch, r.Accumulate, r.LearningRate, r.Optimizer, r.Optimizer, r.Objective, r.Objective.Identity(), source, r.JudgeIdentity, r.Schedule.Shape, r.Schedule, r.Seed, further)
	return artifact.DigestBytes([]byte(text)), nil
}

// maskIdentity names the masks; "" where there are none.
func maskIdentity(masks map[string][]bool) string {
	var text bytes.Buffer
	for _, name := range sortedKeys(masks) {
		fmt.Fprintf(&text, "%q ", name)
		for _, stays := range masks[name] {
			if stays {
				text.WriteByte(1)
			} else {
				text.WriteByte(0)
			}
		}
	}
	if text.Len() == 0 {
		return ""
	}
	return string(artifact.DigestBytes(text.Bytes()))
}

// keep writes a checkpoint of the run as it is, unless its weights are not finite: the former one stays then.
func (r *run) keep() error {
	state, err := r.machine.Snapshot()
	if err != nil {
		return err
	}
	done, _ := r.steps()
	if !state.finite() {
		return r.diverged(done, r.rate(max(done-1, 0)), nil)
	}
	p := position{Fingerprint: r.keeper.fingerprint, Epoch: r.epoch, Batch: r.batch, LossSum: r.lossSum, Totals: r.totals, Seen: r.seen,
		History: r.history, BestEpoch: r.bestEpoch}
	if err := r.keeper.save(p, state, r.best, r.mean); err != nil {
		return fmt.Errorf("writing the checkpoint in %s: %w", r.keeper.dir, err)
	}
	r.kept = done
	return nil
}

func (k *keeper) save(p position, state Snapshot, best *Snapshot, mean weightMean) error {
	lists := [][][]float32{state.tensors}
	p.Updates, p.HasBest = state.updates, best != nil
	if best != nil {
		lists = append(lists, best.tensors)
	}
	lists = append(lists, mean.tensors)
	p.MeanCount = mean.count
	for _, t := range mean.tensors {
		p.MeanSizes = append(p.MeanSizes, len(t))
	}
	for _, t := range state.tensors {
		p.Sizes = append(p.Sizes, len(t))
	}
	header, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.dir, 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(k.dir, "."+checkpointFile+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed, as it should
	if err := errors.Join(writeCheckpoint(f, header, lists), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(k.dir, checkpointFile)); err != nil {
		return err
	}
	return syncFolder(k.dir)
}

// writeCheckpoint writes the file's content, tensor by tensor, so that no second copy of the weights is made in memory: the digest is of what was
// written, and takes its place in the end.
func writeCheckpoint(f *os.File, header []byte, lists [][][]float32) error {
	start := checkpointFormat + strings.Repeat("0", 64) + "\n"
	w := bufio.NewWriterSize(f, 1<<20)
	// A bufio.Writer keeps its first error, which Flush returns.
	_, _ = w.WriteString(start)
	_, _ = w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(header))))
	_, _ = w.Write(header)
	var four [4]byte
	for _, list := range lists {
		for _, t := range list {
			for _, v := range t {
				binary.LittleEndian.PutUint32(four[:], math.Float32bits(v))
				_, _ = w.Write(four[:])
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := f.Seek(int64(len(start)), io.SeekStart); err != nil {
		return err
	}
	digest, _, err := artifact.DigestReader(f)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(digest), int64(len(checkpointFormat))); err != nil {
		return err
	}
	return f.Sync()
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// load returns the checkpoint, or nil when there is none. An error says why the one that is there cannot be used. Temporary files of
// attempts that were killed are removed.
func (k *keeper) load() (p *position, state, best *Snapshot, mean weightMean, err error) {
	torn, err := filepath.Glob(filepath.Join(k.dir, "."+checkpointFile+"-*"))
	if err != nil {
		return nil, nil, nil, mean, err
	}
	for _, t := range torn {
		_ = os.Remove(t) // only takes space
	}
	b, err := os.ReadFile(filepath.Join(k.dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, mean, nil
	}
	if err != nil {
		return nil, nil, nil, mean, err
	}
	p, state, best, mean, err = parseCheckpoint(b)
	if err != nil {
		return nil, nil, nil, mean, fmt.Errorf("the checkpoint is damaged: %w", err)
	}
	if p.Fingerprint != k.fingerprint {
		return nil, nil, nil, mean, errors.New("the checkpoint belongs to another training")
	}
	return p, state, best, mean, nil
}

// parseCheckpoint checks and reads the bytes of a checkpoint.
func parseCheckpoint(b []byte) (p *position, state, best *Snapshot, mean weightMean, err error) {
	rest, ok := bytes.CutPrefix(b, []byte(checkpointFormat))
	if !ok || len(rest) < 65+8 || rest[64] != '\n' {
		return nil, nil, nil, mean, errors.New("it is not a checkpoint")
	}
	body := rest[65:]
	if artifact.DigestBytes(body) != artifact.Digest(rest[:64]) {
		return nil, nil, nil, mean, errors.New("its content does not match its digest")
	}
	length := binary.LittleEndian.Uint64(body)
	body = body[8:]
	if length > uint64(len(body)) {
		return nil, nil, nil, mean, errors.New("its header is cut off")
	}
	p = &position{}
	if err := json.Unmarshal(body[:length], p); err != nil {
		return nil, nil, nil, mean, err
	}
	if p.Epoch < 0 || p.Batch < 0 || p.Updates < 0 || p.MeanCount < 0 || len(p.History) != p.Epoch || p.BestEpoch < 0 || p.BestEpoch > p.Epoch {
		return nil, nil, nil, mean, errors.New("its position is impossible")
	}
	body = body[length:]
	state = &Snapshot{updates: p.Updates}
	if state.tensors, body, err = readTensors(body, p.Sizes); err != nil {
		return nil, nil, nil, mean, err
	}
	if p.HasBest {
		best = &Snapshot{}
		if best.tensors, body, err = readTensors(body, p.Sizes); err != nil {
			return nil, nil, nil, mean, err
		}
	}
	mean.count = p.MeanCount
	if len(p.MeanSizes) > 0 {
		if mean.tensors, body, err = readTensors(body, p.MeanSizes); err != nil {
			return nil, nil, nil, mean, err
		}
	}
	if len(body) > 0 {
		return nil, nil, nil, mean, errors.New("it has bytes after its end")
	}
	return p, state, best, mean, nil
}

func readTensors(b []byte, sizes []int) (list [][]float32, rest []byte, err error) {
	for _, n := range sizes {
		if n < 0 || n > len(b)/4 {
			return nil, nil, errors.New("its tensors are cut off")
		}
		t := make([]float32, n)
		for i := range t {
			t[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		list, b = append(list, t), b[4*n:]
	}
	return list, b, nil
}
