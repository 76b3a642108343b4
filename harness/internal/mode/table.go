// SPDX-License-Identifier: BSD-3-Clause

package mode

import (
	"fmt"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
)

// All returns the modes, the default first.
func All() []Mode { return []Mode{module(), builtin(), dkms()} }

// Default returns the mode to use when none is named.
func Default() Mode { return All()[0] }

// Names returns the names of the modes, in the same order.
func Names() []string {
	var names []string
	for _, m := range All() {
		names = append(names, m.Name)
	}
	return names
}

// Lookup returns the mode of that name.
func Lookup(name string) (Mode, error) {
	for _, m := range All() {
		if m.Name == name {
			return m, nil
		}
	}
	return Mode{}, hint.Usage(fmt.Errorf("unknown mode %q", name), "use --mode "+strings.Join(Names(), ", "))
}
