// SPDX-License-Identifier: BSD-3-Clause

package source_test

import (
	"fmt"
	"log"
	"maps"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/module/source"
)

// The files of a module's directory. The archive goes next to them, as
// [source.ArchiveName].
func ExampleRender() {
	files, err := source.Render(source.Archive{
		SHA256: strings.Repeat("0", 64), Size: 4346000, Release: "6.12.1", SrcArch: "x86",
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Println(name)
	}
	// Output:
	// Kbuild
	// Makefile
	// dkms.conf
	// kheaders.h
	// kheaders_data.S
	// kheaders_main.c
}
