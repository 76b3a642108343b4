// SPDX-License-Identifier: BSD-3-Clause

package source

import _ "embed"

// PackerName is the name of the C file that [Packer] returns.
const PackerName = "kheaders_pack.c"

//go:embed packer/kheaders_pack.c
var packer []byte

// Packer returns the C source of a program that writes the tar of a kernel's
// headers, byte for byte as package archive does. It is for builds that have a C
// compiler but not kheaders: a kernel's own, or the module's under DKMS. The file
// documents its arguments.
func Packer() []byte { return append([]byte(nil), packer...) }
