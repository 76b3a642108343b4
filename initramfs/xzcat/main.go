// SPDX-License-Identifier: BSD-3-Clause

// Command xzcat decompresses .xz files, or standard input, to standard output.
// u-root has no xz. Use it in the guest's shell:
//
//	xzcat /proc/kheaders.tar.xz >/tmp/kheaders.tar
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"github.com/ulikunitz/xz"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "xzcat: %v\n", err)
		os.Exit(1)
	}
}

func run(paths []string) error {
	if len(paths) == 0 {
		return decompress(os.Stdin)
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = decompress(f)
		_ = f.Close() // it was only read
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func decompress(r io.Reader) error {
	x, err := xz.NewReader(bufio.NewReader(r))
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, x)
	return err
}
