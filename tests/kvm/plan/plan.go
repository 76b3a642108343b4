// SPDX-License-Identifier: BSD-3-Clause

// Package plan is what the host tells the init of a machine that has KVM.
package plan

// Path is where the plan lies in the initramfs, as JSON.
const Path = "plan.json"

// The names under which the host lends directories.
const (
	// Root becomes the machine's root. It is read only.
	Root = "root"
	// Results is where the machine may write.
	Results = "results"
)

// Plan is what the machine is to do.
type Plan struct {
	// Modules are the files of the kernel's drivers, in the order in which they
	// can be loaded.
	Modules []string `json:"modules"`
	// Results is where the results go, on the host and in the machine.
	Results string `json:"results"`
	// Dir, Env and Argv are those of the command to run.
	Dir  string   `json:"dir"`
	Env  []string `json:"env"`
	Argv []string `json:"argv"`
}
