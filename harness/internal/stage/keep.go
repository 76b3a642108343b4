// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/output"
)

// Keep copies files, keyed by their new names, into a directory. It skips those
// without a path.
func Keep(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keeping what is booted: %w", err)
	}
	for name, from := range files {
		if err := output.Copy(filepath.Join(dir, name), from); err != nil {
			return fmt.Errorf("keeping what is booted: %w", err)
		}
	}
	return nil
}
