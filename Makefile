# darkroom: `make run` on a fresh clone is the whole story in one command.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

GO ?= go
PIPELINE ?= pipelines/quickstart.hcl
# Which commit this is, without any time in it: equal sources give equal binaries.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.PHONY: help setup setup-jpeg setup-xla build run test lint bench bench-evaluate bench-train bench-quantize bench-prune bench-data bench-ingest bench-gpu docs accept clean

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## installs the ONNX Runtime library into the user's cache folder, once
	@scripts/setup.sh

setup-jpeg: ## installs libjpeg-turbo's header and library with apt-get: JPEG files are decoded faster, to the same bytes; build again after it
	@if [ "$$(id -u)" = 0 ]; then apt-get install -y libjpeg62-turbo-dev; else sudo apt-get install -y libjpeg62-turbo-dev; fi

setup-xla: ## installs XLA for NVIDIA GPUs; KIND=cpu: the one that tests use without a GPU
	@scripts/setup-xla.sh $(or $(KIND),cuda)

build: ## builds bin/darkroom
	@mkdir -p bin
	@CGO_ENABLED=1 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/darkroom ./cmd/darkroom

run: setup build ## sets up, builds and runs the quickstart pipeline
	@bin/darkroom run $(PIPELINE)

test: setup ## sets up and runs every test
	$(GO) test ./...

lint: ## formatting, vet and the rules of who may import whom
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then printf 'not formatted (run gofmt -w):\n%s\n' "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) test ./cmd/lint
	@if command -v golangci-lint >/dev/null; then golangci-lint run ./...; fi

bench: setup ## benchmarks of every room, in a form that benchstat reads
	@mkdir -p bench/out
	$(GO) test -run '^$$' -bench . -benchmem -count $${COUNT:-5} $${PACKAGES:-./...} | tee bench/out/bench.txt

bench-evaluate: setup ## images a second through evaluate against a bare loop over ONNX Runtime in Python
	$(GO) run ./bench/evaluate -python "$$(scripts/peer-onnxruntime.sh)" $(if $(FLAGS),$(FLAGS),-out bench/RESULTS.md)

bench-train: setup ## training steps against PyTorch, side by side; FLAGS="-cases resnet20 -rounds 1" for a part
	$(GO) run ./bench/train -python "$$(scripts/peer.sh)" $(if $(FLAGS),$(FLAGS),-out bench/RESULTS.md)

bench-quantize: setup ## int8 models against onnxruntime.quantization; FLAGS="-model … -calibration … -test …" adds trained ones
	$(GO) run ./bench/quantize -python "$$(scripts/peer.sh onnx onnxruntime)" $(if $(FLAGS),$(FLAGS),-out bench/RESULTS.md)

bench-prune: setup ## pruning against Torch-Pruning; needs FLAGS="-model … -train … -test …": a trained resnet20 and its images
	$(GO) run ./bench/prune -python "$$(scripts/peer.sh onnx torch_pruning)" $(FLAGS)

bench-gpu: setup build ## training on a GPU, against PyTorch; without a GPU it says so and exits with 3
	@nvidia-smi -L >/dev/null 2>&1 || { echo 'bench-gpu: no NVIDIA GPU on this machine, so nothing was measured' >&2; exit 3; }
	@scripts/setup-xla.sh cuda
	$(GO) run ./bench/gpu -python "$$(scripts/peer.sh)" $(FLAGS)

bench-data: ## augmentation, loading and decoding against Albumentations, PyTorch and OpenCV; FLAGS="-cases rotate" for a part
	$(GO) run ./bench/data -python "$$(scripts/peer-data.sh)" $(if $(FLAGS),$(FLAGS),-out bench/RESULTS.md)

bench-ingest: setup build ## folders of 100,000 and 1,000,000 files that have not changed, and the memory of a large source; needs 25 GB of disk
	$(GO) run ./bench/ingest $(if $(FLAGS),$(FLAGS),-out bench/RESULTS.md)

docs: build ## generates the reference of every kind, and the pictures of the operations
	@bin/darkroom stages --markdown docs/stages
	@$(GO) run ./cmd/sheets docs/operations

accept: setup build ## the full-size checks; writes bench/RESULTS.md
	$(GO) run ./bench/accept

clean: ## removes what was built; the cache of artifacts stays
	@rm -rf bin bench/out
