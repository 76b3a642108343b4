// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// neighbour makes a kernel tree beside the source tree, and a link into it.
func neighbour(t *testing.T, o *Options, name string) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(o.Source), name)
	put(t, filepath.Join(dir, "Makefile"), "# a comment\nVERSION = 6\nPATCHLEVEL\t= 12\n")
	put(t, filepath.Join(dir, inArch, "asm/b.h"), "#define B\n")
	put(t, filepath.Join(dir, "include/a.h"), "#define A\n")
	symlink(t, "../../"+name+"/include/a.h", filepath.Join(o.Source, "include/a.h"))
}

// neighbourRefusals are links to what is not quite a kernel tree.
func neighbourRefusals() []refusal {
	return []refusal{
		{"link to a neighbour without a version", func(t *testing.T, o *Options) {
			neighbour(t, o, "kernel")
			put(t, filepath.Join(filepath.Dir(o.Source), "kernel/Makefile"), "VERSION = 6\nX PATCHLEVEL = 1\nPATCHLEVELS = 1\n")
		}, "symbolic link DIR/source/include/a.h -> ../../kernel/include/a.h: leads outside the kernel trees"},
		{"link to a neighbour without arch", func(t *testing.T, o *Options) {
			neighbour(t, o, "kernel")
			if err := os.RemoveAll(filepath.Join(filepath.Dir(o.Source), "kernel/arch")); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link DIR/source/include/a.h -> ../../kernel/include/a.h: leads outside the kernel trees"},
		{"link to a neighbour without a Makefile", func(t *testing.T, o *Options) {
			neighbour(t, o, "kernel")
			makefile := filepath.Join(filepath.Dir(o.Source), "kernel/Makefile")
			if err := errors.Join(os.Remove(makefile), unix.Mkfifo(makefile, 0o644)); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link DIR/source/include/a.h -> ../../kernel/include/a.h: leads outside the kernel trees"},
		{"link to what is beside a neighbour", func(t *testing.T, o *Options) {
			neighbour(t, o, "kernel")
			put(t, filepath.Join(filepath.Dir(o.Source), "kernels/b.h"), "x\n")
			symlink(t, "../../kernels/b.h", filepath.Join(o.Source, "include/b.h"))
		}, "symbolic link DIR/source/include/b.h -> ../../kernels/b.h: leads outside the kernel trees"},
		{"link to a neighbour as a whole", func(t *testing.T, o *Options) {
			neighbour(t, o, "kernel")
			symlink(t, "../../kernel", filepath.Join(o.Source, "include/z"))
			if err := os.Remove(filepath.Join(o.Source, "include/a.h")); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link DIR/source/include/z -> ../../kernel: leads outside the kernel trees"},
	}
}
