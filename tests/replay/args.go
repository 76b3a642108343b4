// SPDX-License-Identifier: BSD-3-Clause

package replay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// exit ends a program that has nothing to say but its error.
func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
	os.Exit(0)
}

// option returns the value of the option that comes last, or nothing.
func option(args []string, name string) string {
	value := ""
	for i := range len(args) - 1 {
		if args[i] == name {
			value = args[i+1]
		}
	}
	return value
}

// has tells whether the arguments begin like that.
func has(args []string, start string) bool {
	return strings.HasPrefix(strings.Join(args, " ")+" ", start+" ")
}
