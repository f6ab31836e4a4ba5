// Package kernel holds the CPU device's own kernels: operators for ONNX Runtime, written in C, for what training needs and ONNX Runtime
// does slowly or not at all. Importing the package links them into the program; RegisterCustomOps in operators.c, which ONNX Runtime
// looks up in the program itself, adds them to a session in the domain "darkroom".
//
//   - Convolution: images (I, H, W, N) with a kernel of any layout, also read backwards and with a dilated input (the gradient of a
//     strided convolution), to (O, Ho, Wo, N); KernelGradient: what a kernel contributed, from the images and the gradient (O, Ho, Wo, N)
//     of the output.
//   - Product, BiasedProduct, AddedProduct, SummedProduct: a product of two matrices, each either way round, with what is added to it, or the sums
//     of the second one's columns.
//   - ColumnNorm, LayerNorm, LayerNormGradient, …: a normalisation of each column of features that lie outermost, with scale and shift, and all
//     of its gradients, with what flows around it.
//   - Attention, AttentionGradient: attention over (heads, features, tokens, images), read and written where a dense layer has it.
//   - Depthwise, DepthwiseGradient: the same where each channel meets a kernel of its own.
//   - LargestOfWindow, LargestOfWindowGradient: the greatest of windows, whose gradient goes to the first of the greatest.
//   - BatchNormTraining, BatchNormGradient, ActivatedBatchNormGradient: a batch normalisation by the batch's own statistics with the activation
//     that follows it, and the gradients of both, of (C, …) values; a channel is read from memory once, and what the activation was
//     given is computed again rather than kept.
//   - NormedDepthwise, NormedDepthwiseGradient: a normalisation, a Depthwise and another normalisation, and the gradients of all three; a
//     channel passes through them without leaving the cache.
//     NormedDepthwiseSum and WeighedNormedDepthwiseGradient are those of blocks that weigh their channels: with the sums over positions,
//     and from the parts of which the gradient is made.
//   - PositionSum, PositionProductSum: sums over positions, image by image, of values or of products of two.
//   - Elementwise: a program of elementwise instructions, run block by block.
//
// body.h includes a file for each of these ideas; kernels.h says what they take.
//
// Rules of the room: the batch is innermost, so vectors run over images. Work is cut into tasks, and sums are added, in an order
// that follows from shapes alone: the bits do not depend on the number of threads. They depend on the instruction class
// (body.h is compiled once for each), and on Version, which must rise when any bit changes. Not-a-number and infinity propagate.
package kernel

/*
#cgo CFLAGS: -std=gnu11 -O3 -Wall
#cgo LDFLAGS: -lm -rdynamic
#include "kernels.h"
*/
import "C"

import "fmt"

// Version is part of the device class in a stage's key.
const Version = 8

// Domain is the operators' domain in an ONNX graph.
const Domain = "darkroom"

// Library is the path by which ONNX Runtime finds the operators: the dynamic loader takes the empty name for the program itself.
const Library = ""

// ISA returns the instruction class that the kernels are chosen by: "avx512", "avx2" or "baseline". The environment variable
// DARKROOM_KERNELS names a lower one than the machine has, so that a result of another machine can be reproduced.
func ISA() string { return C.GoString(C.dk_isa()) }

// Class names the kernels as a device class does: their version and instruction class.
func Class() string { return fmt.Sprintf("kernels %d %s", Version, ISA()) }
