package learn

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
)

// TeacherInput is what a distillation takes with each batch: the teacher's logits for its images.
const TeacherInput = "teacher" // float32, (N, classes)

// AgreementMetric counts the images whose largest logit is that of the teacher's largest.
const AgreementMetric = "agreement"

// SoftTargets is the loss of Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network": (1-w)·CE + w·T²·KL(teacher ‖ student), the
// divergence between the softmax of both logits ÷ T, the mean over the images. T² keeps the gradients of both terms of one size.
type SoftTargets struct {
	CrossEntropy         // of the labels; its Classes must be given
	Unlabelled   bool    // there are no labels, and Weight is 1
	Temperature  float64 // T, above 0
	Weight       float64 // w, 0 to 1
}

// Identity implements Objective.
func (o SoftTargets) Identity() string {
	return fmt.Sprintf("soft targets, temperature %x, weight %x, unlabelled %t, %s", o.Temperature, o.Weight, o.Unlabelled, o.CrossEntropy.Identity())
}

// Inputs implements Objective.
func (o SoftTargets) Inputs() []Input {
	teacher := Input{Name: TeacherInput, Type: dtypes.Float32, Dims: []int{o.Classes}}
	if o.Unlabelled {
		return []Input{teacher}
	}
	return append(o.CrossEntropy.Inputs(), teacher)
}

// Build implements Objective.
func (o SoftTargets) Build(s *Step) (Terms, error) {
	if o.Unlabelled && o.Weight != 1 {
		return Terms{}, fmt.Errorf("without labels the weight of the soft targets is 1, not %g", o.Weight)
	}
	return classifier(s, func(logits *graph.Node) Terms { // (classes, N)
		logs, student := logSoftmax(graph.MulScalar(logits, 1/o.Temperature))
		teacherLogs, teacher := logSoftmax(graph.MulScalar(s.Inputs[TeacherInput], 1/o.Temperature))
		n := float64(logits.Shape().Dimensions[1])
		soft := Terms{
			Loss:    graph.MulScalar(divergence(teacher, teacherLogs, logs), o.Weight*o.Temperature*o.Temperature/n),
			Output:  graph.MulScalar(graph.Sub(student, teacher), o.Weight*o.Temperature/n),
			Metrics: []Metric{{AgreementMetric, agreement(logits, s.Inputs[TeacherInput])}},
		}
		if o.Unlabelled {
			return soft
		}
		return sum(soft, o.terms(logits, s.Inputs), 1-o.Weight)
	})
}

// DKD is decoupled knowledge distillation (Zhao et al. 2022, equation 7): w·CE + T²·(α·TCKD + β·NCKD), the mean over the images. TCKD is the divergence
// KL(teacher ‖ student) between the probabilities of the image's class and of all others together, NCKD that among the others.
type DKD struct {
	CrossEntropy         // of the labels, which are not soft; its Classes must be given
	Temperature  float64 // T, above 0
	Alpha, Beta  float64 // at least 0
	Weight       float64 // w, at least 0
}

// Identity implements Objective.
func (o DKD) Identity() string {
	return fmt.Sprintf("dkd, temperature %x, α %x, β %x, weight %x, %s", o.Temperature, o.Alpha, o.Beta, o.Weight, o.CrossEntropy.Identity())
}

// Inputs implements Objective.
func (o DKD) Inputs() []Input {
	return append(o.CrossEntropy.Inputs(), Input{Name: TeacherInput, Type: dtypes.Float32, Dims: []int{o.Classes}})
}

// Build implements Objective.
func (o DKD) Build(s *Step) (Terms, error) {
	if o.Soft {
		return Terms{}, fmt.Errorf("decoupled distillation needs one class for each image, not shares of several")
	}
	return classifier(s, func(logits *graph.Node) Terms { // (classes, N)
		own := o.of(logits, s.Inputs).raw // 1 for the image's class
		student := decouple(graph.MulScalar(logits, 1/o.Temperature), own)
		teacher := decouple(graph.MulScalar(s.Inputs[TeacherInput], 1/o.Temperature), own)
		n := float64(logits.Shape().Dimensions[1])
		target := graph.Add(divergence(teacher.own, teacher.ownLogs, student.ownLogs), divergence(teacher.rest, teacher.restLogs, student.restLogs))
		among := divergence(teacher.among, teacher.amongLogs, student.amongLogs)
		// With d = p_own of the student - of the teacher and q the probabilities among the others: T·∂TCKD is d for the own class and -d·q for another,
		// T·∂NCKD is 0 for the own class and q - q of the teacher for another.
		d := graph.Sub(student.own, teacher.own) // (1, N)
		ofTarget := graph.Mul(graph.Sub(own, student.among), d)
		ofAmong := graph.Sub(student.among, teacher.among)
		decoupled := Terms{
			Loss:    graph.MulScalar(graph.Add(graph.MulScalar(target, o.Alpha), graph.MulScalar(among, o.Beta)), o.Temperature*o.Temperature/n),
			Output:  graph.MulScalar(graph.Add(graph.MulScalar(ofTarget, o.Alpha), graph.MulScalar(ofAmong, o.Beta)), o.Temperature/n),
			Metrics: []Metric{{AgreementMetric, agreement(logits, s.Inputs[TeacherInput])}},
		}
		return sum(decoupled, o.terms(logits, s.Inputs), o.Weight)
	})
}

// decoupled are the probabilities of logits, with their logarithms, in two steps: whether it is the image's class, and among the others which.
type decoupled struct {
	own, ownLogs     *graph.Node // (1, N): of the image's class
	rest, restLogs   *graph.Node // (1, N): of all others together
	among, amongLogs *graph.Node // (classes, N): of each of the others, given that it is one; 0 for the image's class
}

// decouple splits logits (classes, N), where own is 1 for the image's class and 0 elsewhere.
func decouple(z, own *graph.Node) decoupled {
	logs, _ := logSoftmax(z)
	var d decoupled
	d.ownLogs = graph.ReduceAndKeep(graph.Mul(logs, own), graph.ReduceSum, 0)
	others := graph.Sub(z, graph.MulScalar(own, 1e9)) // the image's class has no part among the others
	d.amongLogs, d.among = logSoftmax(others)
	// log Σ of the others' probabilities, not log(1 - p), which is rough where p is near 1.
	lifted := graph.Sub(logs, graph.MulScalar(own, 1e9))
	largest := graph.ReduceAndKeep(lifted, graph.ReduceMax, 0)
	d.restLogs = graph.Add(largest, graph.Log(graph.ReduceAndKeep(graph.Exp(graph.Sub(lifted, largest)), graph.ReduceSum, 0)))
	d.own, d.rest = graph.Exp(d.ownLogs), graph.Exp(d.restLogs)
	return d
}

// divergence is Σ p·(log p - log q) over all elements.
func divergence(p, logP, logQ *graph.Node) *graph.Node {
	return graph.ReduceAllSum(graph.Mul(p, graph.Sub(logP, logQ)))
}

// agreement returns for how many images no logit is above that of the teacher's first choice; both are (classes, N).
func agreement(logits, teacher *graph.Node) *graph.Node {
	g, dtype, d := logits.Graph(), logits.DType(), logits.Shape().Dimensions
	choice := graph.Equal(teacher, graph.BroadcastToDims(graph.ReduceAndKeep(teacher, graph.ReduceMax, 0), d...))
	lowest := graph.BroadcastToDims(graph.ReduceAndKeep(logits, graph.ReduceMin, 0), d...)
	chosen := graph.ReduceAndKeep(graph.Where(choice, logits, lowest), graph.ReduceMax, 0)
	largest := graph.ReduceAndKeep(logits, graph.ReduceMax, 0)
	return graph.ReduceAllSum(graph.Where(graph.GreaterOrEqual(chosen, largest), graph.ScalarOne(g, dtype), graph.ScalarZero(g, dtype)))
}

// sum adds weight times the terms of the labels to those of the teacher.
func sum(teacher, labels Terms, weight float64) Terms {
	return Terms{
		Loss:    graph.Add(teacher.Loss, graph.MulScalar(labels.Loss, weight)),
		Output:  graph.Add(teacher.Output, graph.MulScalar(labels.Output, weight)),
		Metrics: append(labels.Metrics, teacher.Metrics...),
	}
}
