// SPDX-License-Identifier: BSD-3-Clause

package source

import _ "embed"

// PackerName is the name of the C file that [Packer] returns.
const PackerName = "kheaders_pack.c"

//go:embed packer/kheaders_pack.c
var packer []byte

// Packer returns the C source of a program that writes the tar of a kernel's
// headers, the very bytes that package archive writes, where there is a C
// compiler and nothing of ours: in a kernel's own build, or when DKMS builds
// the module. The file says how it is called.
func Packer() []byte { return append([]byte(nil), packer...) }
