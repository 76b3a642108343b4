// SPDX-License-Identifier: BSD-3-Clause

package stage

// Carrier is what contains the archive: a module, or the kernel itself.
type Carrier struct {
	// Module is the kheaders.ko that the guest loads. It is the zero File
	// when the headers are built in.
	Module File
	// Embedded is the sha256 in hex of the archive as found in the module
	// or the kernel.
	Embedded string
	// Dir is where the module was built, or empty.
	Dir string

	// Unsigned and Compressed are paths of the module in other forms, for
	// kernels that refuse unsigned modules and load compressed ones. They
	// are empty for other kernels.
	Unsigned, Compressed string
	// OwnModule is the path of the kernel's own kheaders.ko, or empty.
	OwnModule string
	// SysfsTaken says that the kernel's own kheaders already has the file
	// in /sys.
	SysfsTaken bool
}
