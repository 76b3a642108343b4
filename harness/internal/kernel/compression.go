// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
)

// compression is how a tarball is compressed.
type compression struct {
	// magic is what the file starts with.
	magic string
	// command is what tar calls to decompress it. It is empty for a tar that
	// is not compressed.
	command string
	// endings are what the names of such files end in.
	endings []string
}

// compressions are the kinds of tarballs. The programs are much faster than
// what Go has. Without --long, zstd refuses what was compressed with it.
var compressions = []compression{
	{"", "", []string{".tar"}},
	{"\xfd7zXZ\x00", "xz", []string{".tar.xz", ".txz"}},
	{"\x1f\x8b", "gzip", []string{".tar.gz", ".tgz"}},
	{"BZh", "bzip2", []string{".tar.bz2", ".tbz2", ".tbz"}},
	{"\x28\xb5\x2f\xfd", "zstd --long=31", []string{".tar.zst", ".tzst"}},
	{"\x04\x22\x4d\x18", "lz4", []string{".tar.lz4"}},
}

// program is what must be installed, or empty.
func (c compression) program() string {
	name, _, _ := strings.Cut(c.command, " ")
	return name
}

// used returns what to pass to doctor.Needed for the program that decompresses a
// tarball. xz is needed in any case, and gzip is part of every system.
func used(program string) []string {
	switch program {
	case "", "xz", "gzip":
		return nil
	default:
		return []string{program}
	}
}

// byName returns the compression that a file's name promises.
func byName(name string) (compression, bool) {
	ends := func(ending string) bool { return strings.HasSuffix(name, ending) }
	i := slices.IndexFunc(compressions, func(c compression) bool { return slices.ContainsFunc(c.endings, ends) })
	if i < 0 {
		return compression{}, false
	}
	return compressions[i], true
}

const (
	tarMagic   = "ustar"
	tarMagicAt = 257
)

// compressionOf returns a tarball's compression, by its first bytes. Names are
// often wrong: browsers undo a compression and leave the name. A file that is
// none of ours, such as one cut short, is what its name promises. ok is false
// if that is nothing.
func compressionOf(path string) (_ compression, ok bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return compression{}, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	start := make([]byte, tarMagicAt+len(tarMagic))
	n, err := io.ReadFull(f, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return compression{}, false, err
	}
	text := string(start[:n])
	for _, c := range compressions {
		if c.magic != "" && strings.HasPrefix(text, c.magic) {
			return c, true, nil
		}
	}
	if strings.HasSuffix(text, tarMagic) {
		return compressions[0], true, nil
	}
	c, ok := byName(path)
	return c, ok, nil
}
