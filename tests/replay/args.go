// SPDX-License-Identifier: BSD-3-Clause

package replay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// exit ends a program, and prints its error if there is one.
func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
	os.Exit(0)
}

// option returns the value of the last such option, or "".
func option(args []string, name string) string {
	value := ""
	for i := range len(args) - 1 {
		if args[i] == name {
			value = args[i+1]
		}
	}
	return value
}

// has reports whether the arguments start with these words.
func has(args []string, start string) bool {
	return strings.HasPrefix(strings.Join(args, " ")+" ", start+" ")
}
