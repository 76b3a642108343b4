// SPDX-License-Identifier: BSD-3-Clause

package source

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed dkms
var dkmsFiles embed.FS

const dkmsDir = "dkms"

// DKMS returns the files, by name, of a directory from which dkms(8) builds the
// module for any kernel, each with the headers of its own: the build packs them
// from what it builds against. It takes a C compiler, make and xz. xz is the
// command that compresses standard input to standard output.
func DKMS(xz []string) (map[string][]byte, error) {
	rendered, err := dkms(xz)
	if err != nil {
		return nil, fmt.Errorf("rendering the DKMS tree: %w", err)
	}
	return rendered, nil
}

func dkms(xz []string) (map[string][]byte, error) {
	rendered := map[string][]byte{PackerName: Packer()}
	var err error
	for _, name := range []string{"kheaders_main.c", "kheaders_data.S", "Makefile"} {
		if rendered[name], err = files.ReadFile(templateDir + "/" + name); err != nil {
			return nil, err
		}
	}
	if rendered["kheaders.h.in"], err = HeaderTemplate(); err != nil {
		return nil, err
	}
	for _, name := range []string{"Kbuild", "dkms.conf"} {
		text, err := dkmsFiles.ReadFile(dkmsDir + "/" + name + templateSuffix)
		if err != nil {
			return nil, err
		}
		rendered[name], err = fill(name, string(text), struct{ Version, XZ string }{Version, strings.Join(xz, " ")})
		if err != nil {
			return nil, err
		}
	}
	return rendered, nil
}
