package probe

import (
	"encoding/json"
	"math"
	"os"
	"reflect"
	"runtime"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
)

// clouds makes images of classes whose features lie around a centre each, so far apart as gap says.
func clouds(n, width, classes int, gap float64, seed uint64) Features {
	f := Features{Width: width, Classes: classes}
	for i := range n {
		label := i % classes
		s := dataset.NewStream(seed, "cloud", uint64(i))
		for k := range width {
			centre := 0.0
			if k%classes == label {
				centre = gap
			}
			f.Values = append(f.Values, float32(centre+s.Normal()))
		}
		f.Labels = append(f.Labels, int32(label))
	}
	return f
}

// The answers of scikit-learn to the same questions; see testdata/probe.py.
func TestAgainstScikitLearn(t *testing.T) {
	b, err := os.ReadFile("testdata/probe.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Train, Test   []float32
		TrainLabels   []int32 `json:"train_labels"`
		TestLabels    []int32 `json:"test_labels"`
		Width         int
		Classes       int
		KNN           float64 `json:"knn"`
		Linear        float64
		Plane         [][2]float64 // of test, up to the signs of the axes
		FirstNearest  []int        `json:"first_nearest"`
		K             int
		Decay, Kelvin float64
	}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	train := Features{want.Width, want.Train, want.TrainLabels, want.Classes}
	test := Features{want.Width, want.Test, want.TestLabels, want.Classes}
	if got, err := KNN(train, test, want.K, want.Kelvin); err != nil || got != want.KNN {
		t.Errorf("kNN accuracy %g, %v; want %g", got, err, want.KNN)
	}
	if got, err := Linear(train, test, want.Decay); err != nil || math.Abs(got-want.Linear) > 1e-9 {
		t.Errorf("linear accuracy %g, %v; want %g", got, err, want.Linear)
	}
	plane, err := Plane(test)
	if err != nil {
		t.Fatal(err)
	}
	for axis := range 2 {
		sign := math.Copysign(1, plane[0][axis]*want.Plane[0][axis])
		for i := range plane {
			// Ours is not centred: the difference of two images is what the axes are about.
			if got, w := plane[i][axis]-plane[0][axis], sign*(want.Plane[i][axis]-want.Plane[0][axis]); math.Abs(got-w) > 1e-4 {
				t.Fatalf("axis %d, image %d: %g, want %g", axis, i, got, w)
			}
		}
	}
	if got := Neighbours(train, 0, len(want.FirstNearest)); !reflect.DeepEqual(got, want.FirstNearest) {
		t.Errorf("neighbours %v, want %v", got, want.FirstNearest)
	}
}

func TestSeparatedClassesAreTold(t *testing.T) {
	train, test := clouds(300, 12, 3, 6, 1), clouds(90, 12, 3, 6, 2)
	for name, f := range map[string]func() (float64, error){
		"kNN": func() (float64, error) { return KNN(train, test, 20, 0.1) }, "kNN within": func() (float64, error) { return KNNWithin(train, 20, 0.1) },
		"linear": func() (float64, error) { return Linear(train, test, 1e-3) },
	} {
		if got, err := f(); err != nil || got < 0.99 {
			t.Errorf("%s: %g, %v", name, got, err)
		}
	}
}

func TestNoiseTellsNothing(t *testing.T) {
	train, test := clouds(600, 12, 3, 0, 1), clouds(600, 12, 3, 0, 2)
	for name, f := range map[string]func() (float64, error){
		"kNN": func() (float64, error) { return KNN(train, test, 20, 0.1) }, "kNN within": func() (float64, error) { return KNNWithin(train, 20, 0.1) },
		"linear": func() (float64, error) { return Linear(train, test, 1e-3) },
	} {
		if got, err := f(); err != nil || math.Abs(got-1.0/3) > 0.08 {
			t.Errorf("%s: %g, %v; an image must not vote for itself", name, got, err)
		}
	}
}

func TestProcessorsChangeNothing(t *testing.T) {
	train, test := clouds(700, 16, 4, 1, 3), clouds(300, 16, 4, 1, 4)
	answers := func() [3]float64 {
		k, _ := KNN(train, test, 15, 0.1)
		l, _ := Linear(train, test, 1e-3)
		p, _ := Plane(test)
		return [3]float64{k, l, p[7][1]}
	}
	first := answers()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if again := answers(); again != first {
		t.Errorf("%v with one processor, %v with more", again, first)
	}
}

func TestMisfitsAreRefused(t *testing.T) {
	f := clouds(10, 4, 2, 1, 1)
	bad := f
	bad.Labels = append([]int32(nil), f.Labels...)
	bad.Labels[3] = 2
	for _, test := range []Features{{Width: 4, Classes: 2}, clouds(10, 5, 2, 1, 1), bad} {
		if _, err := KNN(f, test, 3, 0.1); err == nil {
			t.Errorf("%d images with %d features were accepted", test.Len(), test.Width)
		}
		if _, err := Linear(f, test, 0); err == nil {
			t.Error("accepted by the linear probe")
		}
	}
	if _, err := KNN(f, f, 0, 0.1); err == nil {
		t.Error("no neighbours were accepted")
	}
	if _, err := Plane(clouds(2, 4, 2, 1, 1)); err == nil {
		t.Error("a plane through two points")
	}
}
