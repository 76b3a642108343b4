// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/archive"
)

// A real kernel to check in addition to the corpus; a whole one takes a few
// minutes:
//
//	go test ./harness/internal/headers -run Preprocessor -source DIR -build DIR -arch ARCH
var (
	sourceFlag = flag.String("source", "", "check the headers of the kernel in this `DIR` too")
	buildFlag  = flag.String("build", "", "with the object tree in this `DIR`")
	archFlag   = flag.String("arch", target.Names()[0], "for this `ARCH`")
)

const corpusDir = "../../../module/archive/testdata/strip"

// TestPreprocessorSeesNoDifference asks the C preprocessor itself: it must
// read the same tokens before and after stripping.
func TestPreprocessorSeesNoDifference(t *testing.T) {
	var files []archive.File
	names, err := filepath.Glob(filepath.Join(corpusDir, "*.h"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no corpus in %s: %v", corpusDir, err)
	}
	for _, name := range names {
		base := filepath.Base(name)
		// Preprocessed text has no #include any more, so gcc takes the
		// header names in include.h for comments. The comment in
		// unterminated.h would swallow the file after it.
		if base == "include.h" || base == "unterminated.h" {
			continue
		}
		files = append(files, archive.File{Name: base, Path: base})
	}
	// Only with lines joined: the corpus has tokens that span two lines.
	checkTokens(t, os.DirFS(corpusDir), files, true)
	if *sourceFlag == "" {
		return
	}
	arch, err := target.Lookup(*archFlag)
	if err != nil {
		t.Fatal(err)
	}
	trees, err := openTrees(*sourceFlag, *buildFlag, arch)
	if err != nil {
		t.Fatal(err)
	}
	files, err = trees.Select()
	if err != nil {
		t.Fatal(err)
	}
	checkTokens(t, trees.FS, files, false)
	checkTokens(t, trees.FS, files, true)
	t.Logf("%d headers", len(files))
}

// TestPreprocessorSeesDifferences proves that the comparison can fail.
func TestPreprocessorSeesDifferences(t *testing.T) {
	for _, tt := range []struct{ before, after string }{
		{"a/**/b\n", "ab\n"},
		{"#define A(x)\n", "#define A (x)\n"},
		{"x = \"a /* b */\";\n", "x = \"a \";\n"},
		{"a \\\n/**/\nb\n", "a \\\nb\n"},
	} {
		if preprocess(t, []byte(tt.before), true) == preprocess(t, []byte(tt.after), true) {
			t.Errorf("no difference seen between %q and %q", tt.before, tt.after)
		}
	}
}

// checkTokens compares many headers at once, because starting the compiler
// takes longer than its work.
func checkTokens(t *testing.T, fsys fs.FS, files []archive.File, join bool) {
	const atATime = 200
	for len(files) > 0 {
		n := min(atATime, len(files))
		if diff := tokenDiff(t, fsys, files[:n], join); diff != "" {
			for _, file := range files[:n] {
				if diff := tokenDiff(t, fsys, []archive.File{file}, join); diff != "" {
					t.Errorf("%s has other tokens after stripping (-before +after):\n%s", file.Path, diff)
				}
			}
			if !t.Failed() {
				t.Errorf("other tokens after stripping (-before +after):\n%s", diff)
			}
		}
		files = files[n:]
	}
}

func tokenDiff(t *testing.T, fsys fs.FS, files []archive.File, join bool) string {
	t.Helper()
	var before, after []byte
	for _, file := range files {
		text, err := fs.ReadFile(fsys, file.Path)
		if err != nil {
			t.Fatal(err)
		}
		mark := fmt.Sprintf("\n@@@ %s @@@\n", file.Name)
		before = append(append(before, mark...), text...)
		after = archive.Strip(append(after, mark...), text)
	}
	return cmp.Diff(preprocess(t, before, join), preprocess(t, after, join))
}

var (
	continuation = regexp.MustCompile(`\\[ \t\f\v]*\r?\n`)
	blanks       = regexp.MustCompile(`[ \t\f\v]+`)
	lineEdges    = regexp.MustCompile(` ?\n[ \n]*`)
)

// preprocess returns the tokens as gcc's preprocessor prints them, with one
// blank where it saw white space. gcc treats its input as already preprocessed,
// so it neither evaluates conditions nor expands macros: all of the text
// counts. It does not join continued lines either, so callers look at the text
// both with and without its lines joined.
func preprocess(t *testing.T, text []byte, join bool) string {
	t.Helper()
	if join {
		text = continuation.ReplaceAll(text, nil)
	}
	// gcc may complain about headers out of context. We compare what it
	// printed all the same.
	out, err := run.Cmd{
		Argv:  []string{"gcc", "-fpreprocessed", "-dD", "-E", "-P", "-w", "-x", "c", "-std=gnu11", "-"},
		Stdin: bytes.NewReader(text),
	}.Output(t.Context())
	if len(out) == 0 && len(bytes.TrimSpace(text)) > 0 {
		t.Fatalf("gcc prints nothing: %v", err)
	}
	out = blanks.ReplaceAll(out, []byte(" "))
	return string(lineEdges.ReplaceAll(out, []byte("\n")))
}
