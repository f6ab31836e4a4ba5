// Package augment is the kind that attaches an augmentation policy to a dataset.
//
// Rules of the room: an operation's arguments are declared once, in its Declare, which also names them in the policy; what
// an operation does lives in package dataset. Nothing about the preview may reach the dataset: changing its size must stop there.
package augment

import (
	"context"
	"fmt"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the catalog's entry.
var Kind = &stages.Kind{
	Name:    "augment",
	Version: 2,
	Seeded:  true,
	Doc: "Attaches a policy, a list of random changes in order, to a dataset. Training applies it anew to each image in each epoch; evaluation " +
		"never does. Neighbouring operations that move pixels (flip, rotate, scale, shift, crop) are carried out in one resampling, " +
		"so that they blur only once. A dataset that has a policy already keeps it, and the new operations come after the old ones.\n\n" +
		"With `materialise = n` the operations are applied now instead, n times to each image, and the dataset holds the results.\n\n" +
		"`preview` is a picture of some images before (left) and after (right). Its size changes nothing in the dataset, so nothing behind the stage runs again.",
	Example: "augment \"policy\" {\n" +
		"  data = split.holdout.train\n\n" +
		"  flip {}\n" +
		"  rotate         { limit = 15 }\n" +
		"  crop           { padding = 4 }\n" +
		"  gaussian_noise { sigma = 0.01 }\n\n" +
		"  preview {\n" +
		"    columns = 4\n" +
		"    rows    = 6\n" +
		"  }\n" +
		"}",
	New: func() stages.Stage { return &augment{} },
}

type augment struct {
	operations  []stages.Chosen
	materialise int
	preview     preview
}

func (a *augment) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "The dataset that gets the policy.")
	s.Int(&a.materialise, "materialise", 0, "Apply the operations now, so many times to each image, instead of in training. 0 attaches the policy.").In(0, 1000)
	s.Sequence(&a.operations, "operations", "The operations, in order.", variants...)
	s.Block("preview", &a.preview, "The picture of images before and after.")
	s.Out("dataset", artifact.Dataset, "The images with the policy, or the changed images.")
	s.Out("preview", artifact.Image, "A PNG of pairs of images, before (left) and after (right).")
}

// Check warns of a stage that changes nothing.
func (a *augment) Check() []stages.Problem {
	if len(a.operations) == 0 {
		p := stages.Problemf("", "No operations", "The stage lists no operation, so it changes nothing. Write at least one, such as flip {}.")
		p.Warning = true
		return []stages.Problem{p}
	}
	return nil
}

func (a *augment) Run(ctx context.Context, job *stages.Job) error {
	in, _ := job.Input("data")
	d, err := dataset.Open(in.Path)
	if err != nil {
		return err
	}
	defer d.Close()
	policy, err := a.policy(d.Info().Policy)
	if err != nil {
		return err
	}
	if problem := fits(job.Args.Blocks, a.operations, d.Info()); problem != nil {
		return *problem
	}
	if err := a.write(ctx, job, d, policy); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return a.preview.write(job.Output("preview"), d, policy, job.Seed)
}

// policy returns the operations, after those that the dataset has.
func (a *augment) policy(before *dataset.Policy) (*dataset.Policy, error) {
	var operations []dataset.Operation
	if before != nil {
		operations = append(operations, before.Operations()...)
	}
	for _, c := range a.operations {
		operations = append(operations, dataset.Operation{Name: c.Name, Args: c.Body.(operation).args()})
	}
	return dataset.NewPolicy(operations)
}

// fits refuses a padding that leaves nothing of an image. It reads the blocks as they are written, since a problem names
// a block by its place among all.
func fits(blocks []stages.BlockArgs, operations []stages.Chosen, info dataset.Info) *stages.Problem {
	side, n := min(info.Height, info.Width), 0
	for at, b := range blocks {
		if b.Type == "preview" {
			continue
		}
		if c, ok := operations[n].Body.(*crop); ok && c.padding >= side {
			p := stages.Problemf(fmt.Sprintf("crop[%d].padding", at), "Value out of range", "A padding of %d pixels can push an image of %d×%d out of sight. It must be below %d.", c.padding, info.Width, info.Height, side)
			return &p
		}
		n++
	}
	return nil
}

// write writes the dataset: the same images with the policy, or images with the policy applied and none attached.
func (a *augment) write(ctx context.Context, job *stages.Job, d *dataset.Dataset, policy *dataset.Policy) (err error) {
	info := d.Info()
	info.Policy = policy
	if a.materialise > 0 || len(policy.Operations()) == 0 {
		info.Policy = nil
	}
	w, err := dataset.Create(job.Output("dataset"), info)
	if err != nil {
		return err
	}
	defer func() {
		if e := w.Close(); err == nil {
			err = e
		}
	}()
	augmenter, image := dataset.NewAugmenter(policy, info), make([]byte, info.ImageSize())
	copies := max(1, a.materialise)
	for i := range d.Len() {
		if i%256 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			job.Progress(stages.Progress{Phase: "images", Done: int64(i * copies), Total: int64(d.Len() * copies), Unit: "images"})
		}
		if a.materialise == 0 {
			if err := w.AddSample(d.Sample(i)); err != nil {
				return err
			}
			continue
		}
		for n := range copies {
			toBytes(image, augmenter.Apply(d.Image(i), job.Seed, uint64(n), uint64(i)))
			if err := w.Add(fmt.Sprintf("%s#%d", d.ID(i), n), d.Label(i), image); err != nil {
				return err
			}
		}
	}
	return nil
}

// toBytes converts values in 0–1, rounding to the nearest; both are (H, W, C).
func toBytes(to []byte, from []float32) {
	for i, v := range from {
		to[i] = byte(min(max(v, 0), 1)*255 + 0.5)
	}
}
