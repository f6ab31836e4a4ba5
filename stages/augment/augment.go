// Package augment is the kind that attaches an augmentation policy to a dataset.
//
// Rules of the room: operations, their arguments and what they do are declared once, in package dataset; the blocks here are made from that. Nothing about the preview may reach the dataset: changing its size must stop there.
package augment

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the catalog's entry.
var Kind = &stages.Kind{
	Name:    "augment",
	Version: 3,
	Seeded:  true,
	Doc: "Attaches a policy, a list of random changes in order, to a dataset. Training applies it anew to each image in each epoch; evaluation " +
		"never does. Names and defaults are those of Albumentations where it has the operation. Boxes, polygons and masks move with the pixels. " +
		"A dataset that has a policy already keeps it, and the new operations come after the old ones.\n\n" +
		"Neighbouring operations that move pixels (flips, rotate, scale, shift, shear, perspective, crops) are carried out in one resampling, " +
		"so that they blur only once. Crops, resize and pad change the size of the images that a training sees, and so that of its model.\n\n" +
		"With `materialise = n` the operations are applied now instead, n times to each image, and the dataset holds the results.\n\n" +
		"`preview` is a picture of some images before (left) and after (right). Its size changes nothing in the dataset, so nothing behind the stage runs again. " +
		"[A picture of each operation](../operations/README.md) shows what it does with its defaults.",
	Example: "augment \"policy\" {\n" +
		"  data = split.holdout.train\n\n" +
		"  random_resized_crop { scale = [0.5, 1] }\n" +
		"  horizontal_flip {}\n" +
		"  one_of {\n" +
		"    color_jitter {}\n" +
		"    gaussian_blur { sigma_limit = [0.5, 1.5] }\n" +
		"  }\n" +
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
	visibility  float64
	preview     preview
}

func (a *augment) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "The dataset that gets the policy.")
	s.Int(&a.materialise, "materialise", 0, "Apply the operations now, so many times to each image, instead of in training. 0 attaches the policy.").In(0, 1000)
	s.Float(&a.visibility, "min_visibility", 0, "A box or polygon of which less than this share of the area remains inside of the image is dropped; one of which nothing remains always is.").In(0, 1)
	s.Sequence(&a.operations, "operations", "The operations, in order.", variants(maxNesting)...)
	s.Block("preview", &a.preview, "The picture of images before and after.")
	s.Out("dataset", artifact.Dataset, "The images with the policy, or the changed images.")
	s.Out("preview", artifact.Image, "A PNG of pairs of images, before (left) and after (right).")
}

// Check warns of a stage that changes nothing, and finds what the operations say of each other.
func (a *augment) Check() []stages.Problem {
	if len(a.operations) == 0 {
		p := stages.Problemf("", "No operations", "The stage lists no operation, so it changes nothing. Write at least one, such as horizontal_flip {}.")
		p.Warning = true
		return []stages.Problem{p}
	}
	if _, err := a.policy(nil); err != nil {
		return []stages.Problem{stages.Problemf("", "Operations that do not go together", "%s.", capital(err.Error()))}
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
		return stages.Problemf("", "Operations that do not go together", "With those that the dataset has already: %v.", err)
	}
	augmenter, err := a.augmenter(job, d, policy)
	if err != nil {
		return err
	}
	if err := a.write(ctx, job, d, policy, augmenter); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return a.preview.write(job.Output("preview"), d, augmenter, job.Seed)
}

// policy returns the operations, after those that the dataset has.
func (a *augment) policy(before *dataset.Policy) (*dataset.Policy, error) {
	operations, visibility := plain(a.operations), a.visibility
	if before != nil {
		operations = slices.Concat(before.Operations(), operations)
		visibility = max(visibility, before.Visibility())
	}
	return dataset.NewPolicy(operations, visibility)
}

// augmenter finds out whether the operations fit the images.
func (a *augment) augmenter(job *stages.Job, d *dataset.Dataset, policy *dataset.Policy) (*dataset.Augmenter, error) {
	info := d.Info()
	if a.materialise > 0 && policy.Mixes() && (info.Task == dataset.Classification || info.Task == dataset.MultiLabel) {
		return nil, stages.Problemf("materialise", "Mixed labels cannot be stored",
			"The operations mix images and so their labels, and a stored image has labels of its own only. Remove materialise: training mixes them anew in each epoch.")
	}
	g, err := dataset.NewAugmenter(policy, info, d)
	var size *dataset.SizeError
	if errors.As(err, &size) {
		own := size.Operation - len(info.Policy.Operations())
		if own < 0 {
			return nil, err
		}
		return nil, stages.Problemf(place(job.Args.Blocks, own), "Operation does not fit the images", "On images of %d×%d: %v.", size.Width, size.Height, size.Err)
	}
	return g, err
}

// write writes the dataset: the same images with the policy, or images with the policy applied and none attached.
func (a *augment) write(ctx context.Context, job *stages.Job, d *dataset.Dataset, policy *dataset.Policy, augmenter *dataset.Augmenter) (err error) {
	info := d.Info()
	info.Policy = policy
	if len(policy.Operations()) == 0 {
		info.Policy = nil
	}
	if a.materialise > 0 {
		info = augmenter.Info()
		info.Encoded = false
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
	pixels, copies := make([]byte, d.Info().ImageSize()), max(1, a.materialise)
	for i := range d.Len() {
		if i%256 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			job.Progress(stages.Progress{Phase: "images", Done: int64(i * copies), Total: int64(d.Len() * copies), Unit: "images"})
		}
		s := d.Sample(i)
		if a.materialise == 0 {
			if err := w.AddSample(s); err != nil {
				return err
			}
			continue
		}
		image, err := d.Pixels(i, pixels)
		if err != nil {
			return err
		}
		for n := range copies {
			changed, err := augmenter.ApplySample(s, image, job.Seed, uint64(n), uint64(i))
			if err != nil {
				return err
			}
			changed.ID = fmt.Sprintf("%s#%d", s.ID, n)
			if err := w.AddSample(changed); err != nil {
				return err
			}
		}
	}
	return nil
}
