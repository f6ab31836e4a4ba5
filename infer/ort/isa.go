package ort

import (
	"runtime"

	"github.com/klauspost/cpuid/v2"
)

// ISA returns the instruction class that ONNX Runtime's compute library (MLAS) chooses its kernels by on this machine,
// best first: "amx", "avx512_vnni", "avx512", "avx_vnni", "avx2", "avx" or "sse" on amd64; "arm64_i8mm", "arm64_dot" or
// "arm64" on arm64; else GOARCH. Equal thread counts on equal classes give equal bits; different classes may not. The
// tests are those of MLASPlatform's constructor (onnxruntime/core/mlas/lib/platform.cpp): AVX2 kernels need FMA too, and
// everything of AVX-512 beyond the float kernels needs BW, DQ and VL.
func ISA() string { return class(runtime.GOARCH, cpuid.CPU.Supports) }

// class is ISA for a processor whose features has reports.
func class(arch string, has func(...cpuid.FeatureID) bool) string {
	classes := map[string][]struct {
		name  string
		needs []cpuid.FeatureID
	}{
		"amd64": {
			{"amx", []cpuid.FeatureID{cpuid.AMXTILE, cpuid.AMXINT8, cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL, cpuid.AVX512VNNI}},
			{"avx512_vnni", []cpuid.FeatureID{cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL, cpuid.AVX512VNNI}},
			{"avx512", []cpuid.FeatureID{cpuid.AVX512F}},
			{"avx_vnni", []cpuid.FeatureID{cpuid.AVX2, cpuid.FMA3, cpuid.AVXVNNI}},
			{"avx2", []cpuid.FeatureID{cpuid.AVX2, cpuid.FMA3}},
			{"avx", []cpuid.FeatureID{cpuid.AVX}},
			{"sse", nil},
		},
		"arm64": {
			{"arm64_i8mm", []cpuid.FeatureID{cpuid.ASIMDDP, cpuid.I8MM}},
			{"arm64_dot", []cpuid.FeatureID{cpuid.ASIMDDP}},
			{"arm64", nil},
		},
	}[arch]
	for _, c := range classes {
		if has(c.needs...) {
			return c.name
		}
	}
	return arch
}
