package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/infer"
)

// predictOptions are the flags of predict.
type predictOptions struct {
	top       int
	threads   int
	mean, std []float64
	size      int
	channels  int
}

// prediction is the answer for one image.
type prediction struct {
	Image   string           `json:"image"`
	Class   string           `json:"class,omitempty"`
	Guesses []predictedClass `json:"guesses,omitempty"`
	Error   string           `json:"error,omitempty"`
}

type predictedClass struct {
	Class       string  `json:"class"`
	Index       int     `json:"index"`
	Probability float64 `json:"probability"`
}

func (a *app) predictCommand() *cobra.Command {
	var o predictOptions
	cmd := &cobra.Command{
		Use:   "predict MODEL IMAGE…",
		Short: "Classifies images, or folders of them, with a model",
		Long: `Classifies images, or every image of a folder, with an ONNX model.

MODEL is an ONNX file, an output of the pipeline such as train.net.model, or the digest of an artifact.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.predict(cmd.Context(), args[0], args[1:], o)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.top, "top", 3, "name the `N` likeliest classes for each image")
	flags.IntVar(&o.threads, "threads", 0, "let the compute library use `N` threads (default: all)")
	flags.Float64SliceVar(&o.mean, "mean", nil, "mean of the pixels (0–1), a `NUMBER,…` for each channel, for a model that does not normalise itself")
	flags.Float64SliceVar(&o.std, "std", nil, "standard deviation of the pixels, a `NUMBER,…` for each channel, likewise")
	flags.IntVar(&o.size, "size", 0, "height and width of the images in `PIXELS`, for a model that leaves them open")
	flags.IntVar(&o.channels, "channels", 0, "`N` channels of the images, for a model that leaves them open")
	a.variableFlags(cmd)
	return cmd
}

func (a *app) predict(ctx context.Context, model string, paths []string, o predictOptions) error {
	if o.top < 1 {
		return wrongf("--top is %d; it must be at least 1", o.top)
	}
	images, err := listImages(paths)
	if err != nil {
		return err
	}
	file, done, err := a.modelFile(ctx, model)
	if err != nil {
		return err
	}
	defer done()
	if o.threads == 0 {
		o.threads = machineThreads()
	}
	session, err := infer.Open(file, infer.Options{Threads: o.threads, Batch: 16, Channels: o.channels, Height: o.size, Width: o.size, Mean: o.mean, Std: o.std})
	if err != nil {
		return modelFailure(model, err)
	}
	defer session.Close()
	predictions, err := classify(ctx, session, images, o.top)
	if err != nil {
		return err
	}
	return a.printPredictions(predictions)
}

func modelFailure(model string, err error) error {
	var bad *infer.ModelError
	if errors.As(err, &bad) {
		return wrongf("%s cannot be used as a model: %s", model, bad.Detail)
	}
	return lackingf("opening the model %s: %w", model, err)
}

// classify answers image after image, a batch at a time; an image that cannot be read is answered with its error.
func classify(ctx context.Context, session *infer.Session, images []string, top int) ([]prediction, error) {
	info := session.Info()
	predictions := make([]prediction, len(images))
	for start := 0; start < len(images); start += info.Batch {
		var pixels []float32 // (n, C, H, W)
		var readable []int
		for i := start; i < min(start+info.Batch, len(images)); i++ {
			predictions[i].Image = images[i]
			image, err := infer.LoadImage(images[i], info)
			if err != nil {
				predictions[i].Error = err.Error()
				continue
			}
			pixels, readable = append(pixels, image...), append(readable, i)
		}
		if len(readable) == 0 {
			continue
		}
		logits, err := session.Logits(ctx, pixels, len(readable)) // (n, classes)
		if err != nil {
			return nil, err
		}
		classes := len(logits) / len(readable)
		for k, i := range readable {
			predictions[i].answer(infer.TopK(logits[k*classes:(k+1)*classes], top), info.Classes)
		}
	}
	return predictions, nil
}

func (p *prediction) answer(guesses []infer.Guess, names []string) {
	for _, g := range guesses {
		name := strconv.Itoa(g.Class)
		if g.Class < len(names) {
			name = names[g.Class]
		}
		p.Guesses = append(p.Guesses, predictedClass{name, g.Class, g.Probability})
	}
	p.Class = p.Guesses[0].Class
}

func (a *app) printPredictions(predictions []prediction) error {
	failed := 0
	for _, p := range predictions {
		if p.Error != "" {
			failed++
		}
	}
	if a.json {
		if err := a.printJSON(map[string]any{"predictions": predictions}); err != nil {
			return err
		}
	} else {
		a.printGuesses(predictions)
	}
	if failed > 0 {
		if !a.json {
			fmt.Fprintf(a.err, "%s could not be read.\n", plural(failed, "image"))
		}
		return told(exitWrong)
	}
	return nil
}

// printGuesses prints an image a line; those that cannot be read come last, because their messages are long.
func (a *app) printGuesses(predictions []prediction) {
	var rows, unread [][]string
	for _, p := range predictions {
		row := []string{p.Image}
		if p.Error != "" {
			unread = append(unread, append(row, a.paint(a.out, red, p.Error)))
			continue
		}
		for _, g := range p.Guesses {
			row = append(row, fmt.Sprintf("%s %5.1f %%", g.Class, 100*g.Probability))
		}
		rows = append(rows, row)
	}
	table(a.out, "", rows)
	table(a.out, "", unread)
}

var imageSuffixes = map[string]bool{".png": true, ".jpg": true, ".jpeg": true, ".gif": true, ".bmp": true, ".webp": true}

// listImages replaces folders by the images in them, in order of their paths.
func listImages(paths []string) ([]string, error) {
	var images []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, wrongf("there is no image or folder %s", path)
		}
		if !info.IsDir() {
			images = append(images, path)
			continue
		}
		var found []string
		err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && imageSuffixes[strings.ToLower(filepath.Ext(p))] {
				found = append(found, p)
			}
			return err
		})
		if err != nil {
			return nil, wrongf("looking for images: %w", err)
		}
		if len(found) == 0 {
			return nil, wrongf("the folder %s holds no images (png, jpg, gif, bmp, webp)", path)
		}
		sort.Strings(found)
		images = append(images, found...)
	}
	return images, nil
}

// modelFile returns the path of the model that the user names: a file, else an artifact, which it copies out of the
// cache until done is called.
func (a *app) modelFile(ctx context.Context, model string) (path string, done func(), err error) {
	nothing := func() {}
	if info, err := os.Stat(model); err == nil && !info.IsDir() {
		return model, nothing, nil
	}
	if strings.HasSuffix(strings.ToLower(model), ".onnx") {
		return "", nothing, wrongf("there is no model %s", model)
	}
	f, err := a.findArtifact(ctx, model)
	if err != nil {
		return "", nothing, err
	}
	defer f.cache.Close()
	a.noteStale(f)
	dir, err := os.MkdirTemp("", "darkroom-model-")
	if err != nil {
		return "", nothing, lackingf("making a folder for the model: %w", err)
	}
	path = filepath.Join(dir, "model.onnx")
	if err := f.cache.Materialize(f.ref, path, cache.Copy); err != nil {
		_ = os.RemoveAll(dir)
		return "", nothing, f.unreadable(err)
	}
	return path, func() { _ = os.RemoveAll(dir) }, nil
}
