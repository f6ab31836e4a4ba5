package zoo

import (
	"fmt"
	"math"

	"github.com/darkroom-dev/darkroom/onnx"
)

// The vision transformers of Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", in the sizes of Touvron et al. 2020 (DeiT), as timm's
// vit_tiny_patch16_224 and so on.
var visionTransformers = []architecture{
	{name: "vit_tiny", minimum: 8, parameters: 5_717_416, classes: 1000, size: 224, check: checkPatch, build: visionTransformer(192, 12, 3)},
	{name: "vit_small", minimum: 8, parameters: 22_050_664, classes: 1000, size: 224, check: checkPatch, build: visionTransformer(384, 12, 6)},
	{name: "vit_base", minimum: 8, parameters: 86_567_656, classes: 1000, size: 224, check: checkPatch, build: visionTransformer(768, 12, 12)},
}

// leastPatches is how many patches at least a side is cut into, where its size allows: 14 with the paper's patches of 16 pixels at 224.
const leastPatches = 7

// patch returns the side of a patch: the one asked for, or the largest of 16, 8, 4 and 2 pixels that divides the image into enough patches.
func (o Options) patch() (int, error) {
	if o.Patch > 0 {
		if o.Height%o.Patch != 0 || o.Width%o.Patch != 0 {
			return 0, fmt.Errorf("patches of %d pixels do not divide images of %d×%d", o.Patch, o.Width, o.Height)
		}
		return o.Patch, nil
	}
	fallback := 0
	for _, p := range []int{16, 8, 4, 2} {
		if o.Height%p != 0 || o.Width%p != 0 {
			continue
		}
		if min(o.Height, o.Width)/p >= leastPatches {
			return p, nil
		}
		fallback = p
	}
	if fallback == 0 {
		return 0, fmt.Errorf("images of %d×%d are not divided by patches of 16, 8, 4 or 2 pixels", o.Width, o.Height)
	}
	return fallback, nil
}

func checkPatch(o Options) error {
	_, err := o.patch()
	return err
}

const vitEpsilon = 1e-6

func visionTransformer(width, depth, heads int) func(b *builder) {
	return func(b *builder) {
		p, _ := b.o.patch() // checked before
		patches := (b.o.Height / p) * (b.o.Width / p)
		x := b.convolution("patch_embed.proj", b.normalised(), b.o.Channels, width, kernel{size: p, stride: p, unpadded: true, draw: uniformIn, bias: uniformIn})
		x = b.Node("Reshape", "patch_embed.flat", []string{x, b.Ints("patch_embed.flat.shape", 0, width, patches)})
		x = b.Node("Transpose", "patch_embed", []string{x}, onnx.IntsOf("perm", 0, 2, 1)) // (N, patches, width)
		x = b.classToken(x, width)
		embedding := b.weight("pos_embed", []int{1, patches + 1, width}, normal(0.02), 0, 0)
		x = b.dropout("pos_drop", b.Node("Add", "embedded", []string{x, embedding}), b.o.Dropout)
		for i := range depth {
			x = b.transformerBlock(fmt.Sprintf("blocks.%d", i), x, patches+1, width, heads)
		}
		x = b.layerNorm("norm", x, width, vitEpsilon)
		first := b.Node("Slice", "head.token", []string{x, b.Ints("head.token.start", 0), b.Ints("head.token.end", 1), b.Ints("head.token.axis", 1)})
		first = b.Node("Flatten", "head.flat", []string{first}, onnx.IntOf("axis", 1))
		b.linear("head", onnx.OutputName, first, width, len(b.o.Classes), normal(0.02), zero)
	}
}

// classToken puts a learned vector before the patches of each image.
func (b *builder) classToken(x string, width int) string {
	token := b.weight("cls_token", []int{1, 1, width}, normal(1e-6), 0, 0)
	n := b.Node("Shape", "cls_token.images", []string{x}, onnx.IntOf("start", 0), onnx.IntOf("end", 1))
	shape := b.Node("Concat", "cls_token.shape", []string{n, b.Ints("cls_token.rest", 1, width)}, onnx.IntOf("axis", 0))
	return b.Node("Concat", "tokens", []string{b.Node("Expand", "cls_token.each", []string{token, shape}), x}, onnx.IntOf("axis", 1))
}

// transformerBlock is attention and a perceptron, each normalised before and added to what came in.
func (b *builder) transformerBlock(name, x string, tokens, width, heads int) string {
	y := b.attention(name+".attn", b.layerNorm(name+".norm1", x, width, vitEpsilon), tokens, width, heads, nil)
	x = b.Node("Add", name+".add1", []string{x, y})
	y = b.perceptron(name+".mlp.fc1", name+".mlp.fc2", b.layerNorm(name+".norm2", x, width, vitEpsilon), width, 4*width, b.o.Dropout)
	return b.Node("Add", name+".add2", []string{x, y})
}

// perceptron is two dense layers with a GELU between.
func (b *builder) perceptron(first, second, x string, width, inner int, drop float64) string {
	y := b.gelu(first+".act", b.project(first, x, width, inner, normal(0.02), zero))
	y = b.dropout(first+".drop", y, drop)
	return b.dropout(second+".drop", b.project(second, y, inner, width, normal(0.02), zero), drop)
}

// attention is multi-head self-attention (Vaswani et al. 2017) over (N, tokens, width). What change does to the scores, (N, heads, tokens, tokens),
// happens before the softmax; nil: nothing.
func (b *builder) attention(name, x string, tokens, width, heads int, change func(scores string) string) string {
	each := width / heads
	x = b.project(name+".qkv", x, width, 3*width, normal(0.02), zero)
	parts := b.Split(name+".split", x, b.Ints(name+".split.sizes", width, width, width), 2, name+".q", name+".k", name+".v")
	shape := b.Ints(name+".heads.shape", 0, tokens, heads, each)
	split := func(part string, perm ...int) string {
		return b.Node("Transpose", part+".heads", []string{b.Node("Reshape", part+".split", []string{part, shape})}, onnx.IntsOf("perm", perm...))
	}
	q, k, v := split(parts[0], 0, 2, 1, 3), split(parts[1], 0, 2, 3, 1), split(parts[2], 0, 2, 1, 3)
	q = b.Node("Mul", name+".q.scaled", []string{q, b.Number(name+".scale", 1/math.Sqrt(float64(each)))})
	scores := b.Node("MatMul", name+".scores", []string{q, k})
	if change != nil {
		scores = change(scores)
	}
	scores = b.Node("Softmax", name+".softmax", []string{scores}, onnx.IntOf("axis", -1))
	y := b.Node("Transpose", name+".mixed", []string{b.Node("MatMul", name+".mix", []string{scores, v})}, onnx.IntsOf("perm", 0, 2, 1, 3))
	y = b.Node("Reshape", name+".joined", []string{y, b.Ints(name+".joined.shape", 0, tokens, width)})
	return b.dropout(name+".proj_drop", b.project(name+".proj", y, width, width, normal(0.02), zero), b.o.Dropout)
}
