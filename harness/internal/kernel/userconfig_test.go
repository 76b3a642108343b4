// SPDX-License-Identifier: BSD-3-Clause

package kernel_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
)

const wholeConfig = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/toy 6.99.1 Kernel Configuration\n#\n"

// TestBuildConfiguration builds kernels with a user's configuration.
func TestBuildConfiguration(t *testing.T) {
	for _, c := range []struct {
		name, text, lose string
		has, not         string // lines of the configuration
		err, says        string
	}{
		{name: "fragment", text: "# mine\nCONFIG_MINE=y\n\n# CONFIG_OTHER is not set\nCONFIG_TEXT=\"a b\"\n", has: "CONFIG_MINE=y\nCONFIG_TEXT=\"a b\"\nCONFIG_TOY=y"},
		{name: "fragment that we need too", text: "CONFIG_PVPANIC=y\nCONFIG_MINE=m\n", has: "CONFIG_MINE=m"},
		{name: "the last line counts", text: "CONFIG_MINE=y\nCONFIG_MINE=m\n", has: "CONFIG_MINE=m", not: "CONFIG_MINE=y"},
		{name: "fragment against us", text: "# CONFIG_PVPANIC is not set\n", err: "CONFIG_PVPANIC is not set"},
		{name: "fragment that gets lost", text: "CONFIG_MINE=y\n", lose: "MINE", err: "CONFIG_MINE: wanted y, is not there"},
		{name: "whole", text: wholeConfig + "CONFIG_MINE=y\n# CONFIG_PVPANIC is not set\n", has: "CONFIG_MINE=y\nCONFIG_PVPANIC=y", not: "CONFIG_TOY=y", says: "CONFIG_PVPANIC: wanted n, is y"},
		{name: "whole that gets lost", text: wholeConfig + "CONFIG_MINE=y\n", lose: "MINE", not: "CONFIG_MINE", says: "CONFIG_MINE: wanted y, is not there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			t.Setenv("LOSE", c.lose)
			path := filepath.Join(t.TempDir(), "config")
			write(t, path, c.text)
			user, err := kernel.ReadConfiguration(path)
			if err != nil {
				t.Fatal(err)
			}
			var said lines
			with := func(o *kernel.BuildOptions) { o.User = user; o.Progress = said.add }
			k, err := f.build(t, first.Name, with)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || hint.Of(err) == "" {
					t.Errorf("the error is %v, the hint %q", err, hint.Of(err))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			config := "\n" + read(t, k.Config)
			for line := range strings.SplitSeq(c.has, "\n") {
				if line != "" && !strings.Contains(config, "\n"+line+"\n") {
					t.Errorf("there is no %q in\n%s", line, config)
				}
			}
			if c.not != "" && strings.Contains(config, "\n"+c.not) {
				t.Errorf("there is %q in\n%s", c.not, config)
			}
			if !strings.Contains(said.String(), c.says) || c.says == "" && strings.Contains(said.String(), "came out") {
				t.Errorf("it said\n%s", &said)
			}
			if again := f.mustBuild(t, first.Name, with); !again.Cached {
				t.Error("it was built again")
			}
			if other := f.mustBuild(t, first.Name); other.Dir == k.Dir {
				t.Error("the kernel without it is the same")
			}
		})
	}
}

func TestReadConfigurationErrors(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "comments": "# nothing\n", "code": "int main;\n", "half": "CONFIG_X\n"} {
		path := filepath.Join(dir, name)
		write(t, path, text)
		if _, err := kernel.ReadConfiguration(path); !hint.IsUsage(err) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range []string{filepath.Join(dir, "none"), dir} {
		if _, err := kernel.ReadConfiguration(path); !hint.IsUsage(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
