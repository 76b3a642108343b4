// SPDX-License-Identifier: BSD-3-Clause

package snapshot

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// notSource are the names of files that may be in a kernel tree and are no part
// of its source: git ignores them there, and no build reads them. The kernel's
// .gitignore also lists what a build makes, such as *.o, and a build may read
// that if it is there. So that is not in this list.
var notSource = []string{
	"tags", "tags.lock", "tags.temp", "TAGS", // ctags, etags
	"cscope.*", "ncscope.*", // cscope
	"GPATH", "GRTAGS", "GSYMS", "GTAGS", // GNU global
	"ID",                                         // id-utils
	"compile_commands.json", "rust-project.json", // for clangd, rust-analyzer
	"*~", "#*#", "*.bak", "*.swp", "*.swo", "*.kdev4", // editors
	"*.orig", "*.rej", "*.patch", "*.diff", // patch, git format-patch
	"series", "patches", // quilt: the latter may be a link
	"*.pyc", // Python
}

// notSourceDirs are such names of directories.
var notSourceDirs = []string{
	"lost+found",  // of a file system
	"__pycache__", // of the kernel's own scripts in Python
	"patches",     // quilt
	"patches-*",   // stgit
}

// dotSource are the names with a dot that kbuild reads. Git ignores all others
// in a kernel tree; the few that it has are settings of tools.
var dotSource = []string{".config*", ".scmversion", ".kernelvariables"}

// isSource reports whether a file or a directory of that name may be part of a
// kernel's source.
func isSource(name string, dir bool) bool {
	// A pattern has one star at most, and there are 80,000 names.
	is := func(pattern string) bool {
		prefix, suffix, wild := strings.Cut(pattern, "*")
		if !wild {
			return name == pattern
		}
		return len(name) >= len(prefix)+len(suffix) && strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix)
	}
	switch {
	case strings.HasPrefix(name, "."):
		return !dir && slices.ContainsFunc(dotSource, is)
	case dir:
		return !slices.ContainsFunc(notSourceDirs, is)
	}
	return !slices.ContainsFunc(notSource, is)
}

// ignoresItself reports whether git ignores all that is in a directory, because
// of the .gitignore that kbuild writes into a tree of objects. Tools write the
// same into their caches.
func ignoresItself(dir string) bool {
	name := filepath.Join(dir, ".gitignore")
	if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return false
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return false
	}
	all := false
	for line := range strings.Lines(string(text)) {
		switch line = strings.TrimSpace(line); {
		case line == "*":
			all = true
		case line != "" && !strings.HasPrefix(line, "#"):
			return false // it may say what not to ignore
		}
	}
	return all
}
