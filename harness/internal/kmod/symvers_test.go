// SPDX-License-Identifier: BSD-3-Clause

package kmod_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kheaders/kheaders/harness/internal/kmod"
	"github.com/kheaders/kheaders/module/source"
)

// trimmed returns the files of the build of a kernel whose exports were trimmed.
func trimmed(release string, sysfs bool, exported ...string) map[string][]byte {
	config := modular + "CONFIG_TRIM_UNUSED_KSYMS=y\n"
	if sysfs {
		config += "CONFIG_SYSFS=y\n"
	}
	kernel := files(config, "")
	kernel["include/generated/utsrelease.h"] = fmt.Appendf(nil, "#define UTS_RELEASE %q\n", release)
	for i, name := range exported {
		kernel["Module.symvers"] = fmt.Appendf(kernel["Module.symvers"], "0x%08x\t%s\tvmlinux\tEXPORT_SYMBOL\t\n", i, name)
	}
	return kernel
}

// TestExamineTrimmed checks that a kernel which does not export what the module
// needs is refused before the build.
func TestExamineTrimmed(t *testing.T) {
	proc := []string{"_printk", "default_llseek", "init_uts_ns", "proc_create", "proc_set_size", "remove_proc_entry", "_copy_to_iter"}
	sys := []string{"kernel_kobj", "kernfs_find_and_get_ns", "kernfs_put", "memory_read_from_buffer", "param_ops_bool", "sysfs_create_bin_file", "sysfs_remove_bin_file"}
	both := slices.Concat(proc, sys)
	old := slices.Concat([]string{"printk", "proc_create_data", "simple_read_from_buffer"}, proc[1:3], proc[4:6], sys)
	for name, test := range map[string]struct {
		kernel map[string][]byte
		want   string
	}{
		"all":              {trimmed("6.12.0-toy", true, both...), ""},
		"without /sys":     {trimmed("6.12.0-toy", false, proc...), ""},
		"an old kernel":    {trimmed("4.14.336", true, old...), ""},
		"another old one":  {trimmed("5.9.16", true, old...), ""},
		"not so old":       {trimmed("5.10.0", true, old...), ": _copy_to_iter"},
		"new names on old": {trimmed("5.9.0", true, both...), ": simple_read_from_buffer"},
		"/sys is wanted":   {trimmed("6.12.0-toy", true, proc...), ": " + strings.Join(sys, ", ")},
		"one, and another": {trimmed("6.12.0-toy", true, both[2:]...), ": _printk, default_llseek"},
		"nothing":          {trimmed("6.12.0-toy", false), ": _copy_to_iter, _printk, default_llseek, init_uts_ns, proc_create, proc_set_size, remove_proc_entry"},
		"part of a name":   {trimmed("6.12.0-toy", true, append(slices.Clone(both[1:]), "x_printk", "_printk_deferred")...), ": _printk"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, test.kernel)
			_, err := kmod.Examine(dir)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refused(t, err, "does not export what the module needs (CONFIG_TRIM_UNUSED_KSYMS=y)"+test.want, "CONFIG_TRIM_UNUSED_KSYMS=n")
			if !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("error %q, want it to end with %q", err, test.want)
			}
		})
	}

	// A kernel that exports everything is not looked at.
	dir := t.TempDir()
	write(t, dir, files(modular, ""))
	if _, err := kmod.Examine(dir); err != nil {
		t.Error(err)
	}
	if n := len(source.Symbols(6, 12, true)); n != len(both) {
		t.Errorf("the module needs %d symbols, the test knows %d", n, len(both))
	}
}
