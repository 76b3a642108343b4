// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"io/fs"
	"os"
	"regexp"
)

// scheme distinguishes debian:6.12 and https://… from a path.
var scheme = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)

// pathInfo returns what is at the path that a spec names. It is nil when
// nothing is there, or when the spec is not a path.
func pathInfo(text string) fs.FileInfo {
	if scheme.MatchString(text) {
		return nil
	}
	info, err := os.Stat(text)
	if err != nil {
		return nil // unknown says why
	}
	return info
}
