// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"unicode"
)

// CheckPath rejects a path with a character in it that make or the shells of a
// kernel's makefiles would take for something else. They do not quote.
func CheckPath(path string) error {
	for _, r := range path {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune("\"#$%&'()*,:;<=>?[\\]^`{|}", r) {
			return fmt.Errorf("make cannot take the character %q in %q", r, path)
		}
	}
	return nil
}

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
