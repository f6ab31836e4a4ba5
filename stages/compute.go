package stages

// The devices and the precisions that a stage can ask for.
const (
	CPU  = "cpu"
	CUDA = "cuda"
	// TensorRT is what an engine is tied to: the version of TensorRT, the GPU and its driver. A kind asks for it by itself, no user does.
	TensorRT = "tensorrt"

	FP32 = "fp32"
	BF16 = "bf16"
	FP16 = "fp16"
	// ModelPrecision is that of the model's own types.
	ModelPrecision = "model"
)

// Compute is where a stage computes and how precisely: the arguments of kinds that can do so on a GPU. Like the thread count
// they are in the key as a part of the device class, not as arguments.
type Compute struct {
	Device    string // CPU, CUDA, or "": as the runner does
	Precision string // FP32, BF16, FP16
}

// Declare implements Declarer; a kind calls it in its own Declare.
func (c *Compute) Declare(s *Schema) {
	s.String(&c.Device, "device", "", "Where the stage computes: on the processor, or on an NVIDIA GPU, which it leases of a `runner \"gpu\"`. Without it, on what its runner has; a stage "+
		"without a runner computes on the processor. It is in the key as a part of the device class.").OneOf(CPU, CUDA).NoDefault().NotInKey()
	s.String(&c.Precision, "precision", FP32, "What matrix products and convolutions are computed in; weights, their updates, normalisations, sums and losses are in fp32 in any case. bf16 and fp16 "+
		"need a GPU; with fp16 the loss is scaled by itself. It is in the key as a part of the device class.").OneOf(FP32, BF16, FP16).NotInKey()
	s.Compute = c
}

// Check returns a problem when the two do not go together.
func (c *Compute) Check() []Problem {
	if c.Device == CPU && c.Precision != FP32 {
		return []Problem{NarrowOnCPU(c.Precision)}
	}
	return nil
}

// NarrowOnCPU is the problem of a precision that the processor's device does not have.
func NarrowOnCPU(precision string) Problem {
	return Problemf("precision", "Precision that the device lacks", "The stage computes on the processor, which does so in fp32 only, but it asks for %s. Leave \"precision\" out, or compute on a GPU: device = \"cuda\", or "+
		"runner = runner.gpu.NAME with a block runner \"gpu\" \"NAME\" {}.", precision)
}
