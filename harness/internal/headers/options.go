// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/archive"
)

// Options say what to pack, and how.
type Options struct {
	// Source is the kernel's source tree, or a distribution's
	// linux-headers-*-common.
	Source string
	// Build is the object tree, or a distribution's directory of headers
	// for one flavour. Empty means that the kernel was built in its source
	// tree.
	Build string
	// Target is the kernel's architecture.
	Target target.Target
	// Output is the archive to write. Its directory must exist.
	Output string
	// Compressor is "xz" or "go"; empty means xz.
	Compressor string
	// KeepComments leaves the comments in the headers.
	KeepComments bool
	// State is a directory in which Pack remembers what it packed. If an
	// output's headers and options have not changed since, Pack leaves the
	// output alone. If State cannot be used, or is empty, Pack always
	// packs.
	State string
}

// Result describes a finished archive.
type Result struct {
	// Path is the archive.
	Path string `json:"path"`
	// Size is its size in bytes.
	Size int64 `json:"size"`
	// SHA256 is its digest, in hex.
	SHA256 string `json:"sha256"`
	// Compressor is the name of the compressor that made it.
	Compressor string `json:"compressor"`
	// Unchanged says that the output already existed, made from the same
	// headers with the same options.
	Unchanged bool `json:"unchanged"`
	archive.Summary
}
