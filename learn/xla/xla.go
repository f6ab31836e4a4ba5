// Package xla is the device that training runs on with a GPU: GoMLX's backend for XLA, which compiles a whole computation, over a PJRT plugin, a
// shared library that holds the compiler and drives the device.
//
// Rules of the room:
//   - A plugin is named by its path and looked at as a file before it is loaded, because the dynamic loader answers a
//     truncated library with SIGBUS. Nothing is searched for here (package device does that) and nothing is ever
//     downloaded: go-xla's installer is not imported.
//   - The binary has no link-time dependency on a plugin; loading it is the first thing that New does.
//   - What has to be set in the environment before the plugin is loaded, such as the loader's path, is the business of
//     who starts this process.
package xla

import (
	"fmt"
	"os"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	goxla "github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"
)

// Options says which device.
type Options struct {
	Plugin string // absolute path of the PJRT plugin
	// Platform is what the plugin must say it drives, "cuda"; "": whatever it does. A plugin that drives something else is
	// refused, so that nobody trains on a processor who asked for a GPU.
	Platform string
	// Apart has a plugin for the processor share no memory with the caller, as a GPU shares none.
	Apart bool
}

// Backend is a device behind a PJRT plugin. It is safe for concurrent use.
type Backend struct {
	*goxla.Backend
	description  string
	capabilities compute.Capabilities
}

var _ compute.Backend = (*Backend)(nil)

// starting serialises the start of a client: it reads and writes the environment.
var starting sync.Mutex

// New loads the plugin and starts its client, on the devices that CUDA_VISIBLE_DEVICES leaves. A plugin stays loaded until the
// process ends.
func New(o Options) (compute.Backend, error) {
	if err := Check(o.Plugin); err != nil {
		return nil, fmt.Errorf("PJRT plugin %s: %w", o.Plugin, err)
	}
	starting.Lock()
	defer starting.Unlock()
	// go-xla guesses where CUDA's libraries are, and warns on standard error when it guesses wrong.
	if err := os.Setenv("GOPJRT_CUDA_CHECKS", "no"); err != nil {
		return nil, err
	}
	options := pjrt.NamedValuesMap{}
	if o.Platform == "cuda" {
		options["preallocate"] = false // take memory as it is needed: the device may show pictures, too
	}
	if err := drives(o, options); err != nil {
		return nil, err
	}
	config := o.Plugin + ",notf32"
	if o.Apart {
		config += ",noshared_buffers"
	}
	inner, err := goxla.NewWithOptions(config, options)
	if err != nil {
		return nil, fmt.Errorf("starting the PJRT plugin %s: %w", o.Plugin, err)
	}
	b := &Backend{Backend: inner, description: "xla, " + Identity(o.Plugin), capabilities: inner.Capabilities()}
	// XLA has float16 on every platform; go-xla leaves it out of its list.
	b.capabilities.DTypes[dtypes.Float16] = true
	return b, nil
}

// drives refuses a plugin that drives something else than what is asked for. go-xla's backend does not tell, so a client is
// started to ask it.
func drives(o Options, options pjrt.NamedValuesMap) error {
	if o.Platform == "" {
		return nil
	}
	plugin, err := pjrt.GetPlugin(o.Plugin)
	if err != nil {
		return fmt.Errorf("loading the PJRT plugin %s: %w", o.Plugin, err)
	}
	client, err := plugin.NewClient(options)
	if err != nil {
		return fmt.Errorf("starting the PJRT plugin %s: %w", o.Plugin, err)
	}
	platform := client.Platform()
	if err := client.Destroy(); err != nil {
		return fmt.Errorf("ending a client of the PJRT plugin %s: %w", o.Plugin, err)
	}
	if platform != o.Platform {
		return fmt.Errorf("the PJRT plugin %s drives %q, not %q", o.Plugin, platform, o.Platform)
	}
	return nil
}

// Name returns "xla".
func (b *Backend) Name() string { return "xla" }

// String returns Name.
func (b *Backend) String() string { return b.Name() }

// Description names the plugin's build, on which the bits of results depend.
func (b *Backend) Description() string { return b.description }

// Capabilities lists the operations and element types of this backend.
func (b *Backend) Capabilities() compute.Capabilities { return b.capabilities.Clone() }
