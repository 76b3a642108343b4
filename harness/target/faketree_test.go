// SPDX-License-Identifier: BSD-3-Clause

package target

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the toy kernel tree's architectures")

const fakeTree = "../../tests/fakelinux"

// archMK returns what the toy kernel tree's makefile must know about
// architectures.
func archMK() string {
	var b strings.Builder
	b.WriteString("# SPDX-License-Identifier: GPL-2.0-only\n# Written from the table of architectures: go test ./harness/target -update\n# ELF is machine and byte order.\n")
	var names []string
	for _, a := range All() {
		names = append(names, a.MakeArch)
		fmt.Fprintf(&b, "SRCARCH_%s := %s\n", a.MakeArch, a.SrcArch)
		fmt.Fprintf(&b, "ELF_%s := %d %d\n", a.MakeArch, a.Machine, a.ByteOrder)
		fmt.Fprintf(&b, "IMAGE_%s := %s\n", a.MakeArch, a.ImagePath)
	}
	fmt.Fprintf(&b, "ARCHS := %s\n", strings.Join(names, " "))
	return b.String()
}

// archFiles returns the tree's files for each architecture.
func archFiles() map[string]string {
	files := map[string]string{"scripts/arch.mk": archMK()}
	for _, a := range All() {
		dir := path.Join("arch", a.SrcArch)
		files[dir+"/Makefile"] = "# SPDX-License-Identifier: GPL-2.0-only\n# Present because an architecture has one.\n"
		files[dir+"/include/asm/arch.h"] = "/* SPDX-License-Identifier: GPL-2.0-only */\n#define TOY_ARCH \"" + a.SrcArch + "\"\n"
		files[dir+"/include/uapi/asm/page.h"] = "/* SPDX-License-Identifier: GPL-2.0-only */\n#define TOY_PAGE 4096\n"
	}
	return files
}

// TestFakeTree keeps the toy kernel tree in step with the table.
func TestFakeTree(t *testing.T) {
	files := archFiles()
	for name, want := range files {
		file := filepath.Join(fakeTree, name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s is %q (%v), want %q: run it with -update", file, got, err, want)
		}
	}
	err := fs.WalkDir(os.DirFS(fakeTree), "arch", func(name string, d fs.DirEntry, err error) error {
		if _, ok := files[name]; err == nil && !d.IsDir() && !ok {
			t.Errorf("%s is of no architecture in the table", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
