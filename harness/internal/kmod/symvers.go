// SPDX-License-Identifier: BSD-3-Clause

package kmod

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/module/source"
)

// symversFile lists what a kernel and its modules export.
const symversFile = "Module.symvers"

// exports returns a usage error when the kernel in a directory was built without
// something that the module needs. Only a kernel that was trimmed is looked at: any
// other exports it all, if under names that we do not know yet.
func exports(dir, release string, config map[string]string) error {
	if config["CONFIG_TRIM_UNUSED_KSYMS"] != "y" {
		return nil
	}
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("the kernel's release %q has no version", release)
	}
	text, err := os.ReadFile(filepath.Join(dir, symversFile))
	if err != nil {
		return err
	}
	exported := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		// The checksum comes first, the exporting module third.
		if fields := strings.Split(line, "\t"); len(fields) >= 3 {
			exported[fields[1]] = true
		}
	}
	var missing []string
	for _, group := range source.Symbols(major, minor, config["CONFIG_SYSFS"] == "y") {
		if !slices.ContainsFunc(group, func(name string) bool { return exported[name] }) {
			missing = append(missing, group[0])
		}
	}
	if missing == nil {
		return nil
	}
	return hint.Usage(fmt.Errorf("the kernel in %s does not export what the module needs (CONFIG_TRIM_UNUSED_KSYMS=y): %s", dir, strings.Join(missing, ", ")),
		"build the kernel again with CONFIG_TRIM_UNUSED_KSYMS=n, or with these in the file that CONFIG_UNUSED_KSYMS_WHITELIST names")
}
