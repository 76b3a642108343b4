// SPDX-License-Identifier: BSD-3-Clause

package source

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// BuiltInSymbol is the kernel option that [InTree] adds, without CONFIG_.
const BuiltInSymbol = "IKHEADERS_PROC"

// InTreeDir is the directory that the patch adds to a kernel tree. In the object
// tree it has the archive, as [ArchiveName].
const InTreeDir = "kernel/kheaders_proc"

// The files of a kernel tree that [InTree] adds lines to.
const (
	kconfigFile  = "init/Kconfig"
	makefileFile = "kernel/Makefile"
)

// Changed returns the files of a kernel tree that the patch changes, without
// those that it adds.
func Changed() []string { return []string{kconfigFile, makefileFile} }

// TreeError says that a kernel tree cannot take the patch.
type TreeError struct {
	// File is the file at fault, in the tree.
	File string
	// Err says why.
	Err error
}

// Error names the file.
func (e *TreeError) Error() string { return fmt.Sprintf("%s: %v", e.File, e.Err) }

// Unwrap returns the cause.
func (e *TreeError) Unwrap() error { return e.Err }

// What can be wrong with a kernel tree.
var (
	// ErrPatched means that it has the option already, from this patch or
	// another.
	ErrPatched = errors.New("CONFIG_" + BuiltInSymbol + " is there already")
	// ErrNoAnchor means that it has none of the lines that the patch goes after.
	ErrNoAnchor = errors.New("has no place for the lines to add")
)

// InTree returns the patch that adds CONFIG_IKHEADERS_PROC to a kernel tree, in
// the format of git format-patch. With it, the kernel's own build packs the
// archive and puts it into the kernel, or into a module. The same tree gives the
// same patch. xz is the command that compresses standard input to standard
// output. A tree that cannot take the patch is a [*TreeError].
func InTree(tree fs.FS, xz []string) ([]byte, error) {
	major, minor, err := version(tree)
	if err != nil {
		return nil, err
	}
	added, err := inTreeSource(major, minor, xz)
	if err != nil {
		return nil, err
	}
	if _, err := fs.Stat(tree, InTreeDir); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = ErrPatched
		}
		return nil, &TreeError{InTreeDir, err}
	}
	var diff bytes.Buffer
	for _, change := range []struct {
		file string
		edit func(lines []string) (at int, added []string, err error)
	}{
		{kconfigFile, addOption},
		{makefileFile, addDirectory},
	} {
		text, err := fs.ReadFile(tree, change.file)
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, &TreeError{change.file, pathErr.Err}
		}
		if err != nil {
			return nil, &TreeError{change.file, err}
		}
		if !bytes.HasSuffix(text, []byte("\n")) {
			return nil, &TreeError{change.file, errors.New("its last line has no newline")}
		}
		lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
		lines[len(lines)-1] += "\n"
		at, added, err := change.edit(lines)
		if err != nil {
			return nil, &TreeError{change.file, err}
		}
		insertion(&diff, change.file, lines, at, added)
	}
	for _, name := range slices.Sorted(maps.Keys(added)) {
		addition(&diff, path.Join(InTreeDir, name), added[name])
	}
	message, err := files.ReadFile("intree/message")
	if err != nil {
		return nil, err
	}
	subject, body, _ := strings.Cut(string(message), "\n\n")
	return fmt.Appendf(nil, mail, subject, body, diff.Bytes()), nil
}

// mail is the format of a patch. Its date is fixed, so that the same tree gives
// the same patch.
const mail = `From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: kheaders authors <kheaders@localhost>
Date: Thu, 1 Jan 1970 00:00:00 +0000
Subject: [PATCH] %s

%s---
%s-- 
kheaders
`

var versionLine = regexp.MustCompile(`(?m)^(VERSION|PATCHLEVEL)[ \t]*=[ \t]*([0-9]+)[ \t]*$`)

// version reads a kernel's version from the Makefile of its tree.
func version(tree fs.FS) (major, minor int, err error) {
	text, err := fs.ReadFile(tree, "Makefile")
	if errors.Is(err, fs.ErrNotExist) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return 0, 0, &TreeError{"Makefile", err}
	}
	numbers := map[string]int{}
	for _, m := range versionLine.FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			return 0, 0, &TreeError{"Makefile", err}
		}
		if _, ok := numbers[m[1]]; !ok {
			numbers[m[1]] = n
		}
	}
	if len(numbers) != 2 {
		return 0, 0, &TreeError{"Makefile", errors.New("has no VERSION and PATCHLEVEL of a kernel")}
	}
	return numbers["VERSION"], numbers["PATCHLEVEL"], nil
}

// inTreeSource returns the files to add, by name.
func inTreeSource(major, minor int, xz []string) (map[string][]byte, error) {
	p, err := packing(xz)
	if err != nil {
		return nil, err
	}
	p.Hostprogs = "hostprogs"
	if major < 5 || major == 5 && minor < 6 {
		p.Hostprogs = "hostprogs-y"
	}
	return render(p, map[string]string{
		".gitignore":    "intree/gitignore",
		"Makefile":      "intree/Makefile.tmpl",
		"kheaders.h.in": "template/kheaders.h.tmpl",
	})
}

// addOption finds the place for the option in init/Kconfig: after the kernel's
// own option for headers or, failing that, the one for the configuration.
func addOption(lines []string) (int, []string, error) {
	var at int
	for _, name := range []string{BuiltInSymbol, "IKHEADERS", "IKCONFIG_PROC"} {
		start := slices.IndexFunc(lines, func(line string) bool {
			keyword, symbol, _ := strings.Cut(strings.TrimRight(line, " \t\n"), " ")
			return (keyword == "config" || keyword == "menuconfig") && strings.TrimSpace(symbol) == name
		})
		if start < 0 {
			continue
		}
		if name == BuiltInSymbol {
			return 0, nil, ErrPatched
		}
		// The entry goes on to the next line that is not indented.
		at = start + 1
		for at < len(lines) && (strings.TrimSpace(lines[at]) == "" || strings.HasPrefix(lines[at], "\t") || strings.HasPrefix(lines[at], " ")) {
			at++
		}
		break
	}
	if at == 0 {
		return 0, nil, ErrNoAnchor
	}
	option, err := files.ReadFile("intree/Kconfig")
	if err != nil {
		return 0, nil, err
	}
	added := strings.SplitAfter(string(option), "\n")
	if strings.TrimSpace(lines[at-1]) != "" { // at the end of the file
		return at, append([]string{"\n"}, added[:len(added)-1]...), nil
	}
	added[len(added)-1] = "\n"
	return at, added, nil
}

// addDirectory finds the place for the directory in kernel/Makefile. It goes
// after the kernel's own kheaders, which so gets the file in /sys when both are
// built in.
func addDirectory(lines []string) (int, []string, error) {
	for _, before := range []string{"obj-$(CONFIG_IKHEADERS)", "obj-$(CONFIG_IKCONFIG)"} {
		for i, line := range lines {
			if name, rest, ok := strings.Cut(line, "+="); ok && strings.TrimSpace(name) == before && !strings.HasSuffix(rest, "\\\n") {
				return i + 1, []string{"obj-$(CONFIG_" + BuiltInSymbol + ") += " + path.Base(InTreeDir) + "/\n"}, nil
			}
		}
	}
	return 0, nil, ErrNoAnchor
}

// context is how many lines a patch shows around a change.
const context = 3

// insertion writes the part of a patch that adds lines to a file.
func insertion(diff *bytes.Buffer, name string, lines []string, at int, added []string) {
	before, after := lines[max(0, at-context):at], lines[at:min(len(lines), at+context)]
	now := slices.Concat(lines[:at], added, lines[at:])
	fmt.Fprintf(diff, "diff --git a/%s b/%s\nindex %s..%s 100644\n--- a/%s\n+++ b/%s\n", name, name, blob(strings.Join(lines, "")), blob(strings.Join(now, "")), name, name)
	start, old := at-len(before)+1, len(before)+len(after)
	fmt.Fprintf(diff, "@@ -%d,%d +%d,%d @@\n", start, old, start, old+len(added))
	for _, part := range []struct {
		mark  string
		lines []string
	}{{" ", before}, {"+", added}, {" ", after}} {
		for _, line := range part.lines {
			diff.WriteString(part.mark + line)
		}
	}
}

// addition writes the part of a patch that adds a file.
func addition(diff *bytes.Buffer, name string, text []byte) {
	fmt.Fprintf(diff, "diff --git a/%s b/%s\nnew file mode 100644\nindex %s..%s\n--- /dev/null\n+++ b/%s\n", name, name, strings.Repeat("0", 40), blob(string(text)), name)
	lines := strings.SplitAfter(string(text), "\n")
	lines = lines[:len(lines)-1]
	fmt.Fprintf(diff, "@@ -0,0 +1,%d @@\n", len(lines))
	for _, line := range lines {
		diff.WriteString("+" + line)
	}
}

// blob is git's name for a file's content.
func blob(text string) string {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00%s", len(text), text)
	return hex.EncodeToString(h.Sum(nil))
}
