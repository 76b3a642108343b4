// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// testPackerFailsToRead runs the packer as a user who may not read a header,
// list a directory, or write the tar.
func testPackerFailsToRead(t *testing.T, program string) {
	for name, tt := range map[string]struct {
		forbid, want string
		full         bool
	}{
		"a header":         {forbid: "include/linux/kconfig.h", want: "reading DIR/source/include/linux/kconfig.h: Permission denied"},
		"a directory":      {forbid: "include/linux", want: "listing DIR/source/include/linux: Permission denied"},
		"no room to write": {full: true, want: "writing the tar: No space left on device"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := smallTree(t)
			cmd := exec.CommandContext(t.Context(), program, opts.Target.SrcArch, opts.Source, opts.Build)
			if tt.forbid != "" {
				if err := os.Chmod(filepath.Join(opts.Source, tt.forbid), 0); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = os.Chmod(filepath.Join(opts.Source, tt.forbid), 0o700) })
			}
			if os.Getuid() == 0 {
				// Nothing is forbidden to root.
				openUp(t, filepath.Dir(program), filepath.Dir(opts.Source))
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			if tt.full {
				full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer full.Close() //nolint:errcheck // nothing is written
				cmd.Stdout = full
			}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			err := cmd.Run()
			got := strings.ReplaceAll(stderr.String(), filepath.Dir(opts.Source), "DIR")
			if err == nil || got != "kheaders_pack: "+tt.want+"\n" {
				t.Errorf("%v, %q, want %q", err, got, tt.want)
			}
		})
	}
}

// openUp lets other users pass through the test's directories.
func openUp(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		for ; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
}
