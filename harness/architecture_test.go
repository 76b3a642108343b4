// SPDX-License-Identifier: BSD-3-Clause

package harness_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

const module = "github.com/kheaders/kheaders/"

// sources parses the Go files of the repository and returns them by path.
func sources(t *testing.T) (map[string]*ast.File, *token.FileSet) {
	t.Helper()
	files, set := map[string]*ast.File{}, token.NewFileSet()
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".go" {
			return err
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		files[name], err = parser.ParseFile(set, name, text, parser.ParseComments)
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	return files, set
}

// quoted matches text in backquotes.
var quoted = regexp.MustCompile("`([^`]+)`")

// mayImport reads the table in ARCHITECTURE.md. Its last column says what each
// package may import, by the last part of the path.
func mayImport(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		columns := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(columns) != 3 || !strings.HasPrefix(line, "| `") {
			continue
		}
		var names []string
		for _, m := range quoted.FindAllStringSubmatch(columns[2], -1) {
			names = append(names, m[1])
		}
		for _, m := range quoted.FindAllStringSubmatch(columns[0], -1) {
			allowed[m[1]] = names
		}
	}
	return allowed
}

// TestImports checks the packages against ARCHITECTURE.md: each is in its
// table, and imports no other packages of ours than those listed there. Tests
// may.
func TestImports(t *testing.T) {
	allowed := mayImport(t)
	files, _ := sources(t)
	seen := map[string]bool{}
	for name, file := range files {
		dir := path.Dir(name)
		if strings.HasPrefix(dir, "tests/faults/") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		seen[dir] = true
		names, listed := allowed[dir]
		if !listed {
			t.Errorf("%s is not in ARCHITECTURE.md", dir)
			allowed[dir] = nil
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			ours, ok := strings.CutPrefix(imported, module)
			if ok && !slices.Contains(names, path.Base(ours)) {
				t.Errorf("%s imports %s, which ARCHITECTURE.md does not allow", name, ours)
			}
		}
	}
	for dir := range allowed {
		if !seen[dir] {
			t.Errorf("ARCHITECTURE.md has %s, where there is no package", dir)
		}
	}
}

// TestFilesInOrder holds that the files of a package can be read one after the
// other: none uses what is declared in one that uses it in turn.
func TestFilesInOrder(t *testing.T) {
	list, err := packages.Load(&packages.Config{
		Dir: "..", Mode: packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports,
	}, "./...")
	if err != nil || len(list) == 0 {
		t.Fatalf("no packages: %v", err)
	}
	for _, p := range list {
		if len(p.Errors) > 0 {
			t.Fatalf("%s: %v", p.PkgPath, p.Errors)
		}
		uses := usesOf(p)
		for file := range uses {
			if by := way(uses, file, file, map[string]bool{}); by != nil {
				t.Errorf("%s: %s", strings.TrimPrefix(p.PkgPath, module), strings.Join(append([]string{file}, by...), " uses "))
			}
		}
	}
}

// usesOf returns which files of a package use what others declare.
func usesOf(p *packages.Package) map[string]map[string]bool {
	uses := map[string]map[string]bool{}
	for _, f := range p.Syntax {
		from := path.Base(p.Fset.Position(f.Pos()).Filename)
		uses[from] = map[string]bool{}
		ast.Inspect(f, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok {
				return true
			}
			object := p.TypesInfo.Uses[id]
			if object == nil || object.Pkg() != p.Types {
				return true
			}
			method, isFunc := object.(*types.Func)
			if object.Parent() == p.Types.Scope() || isFunc && method.Signature().Recv() != nil {
				if to := path.Base(p.Fset.Position(object.Pos()).Filename); to != from {
					uses[from][to] = true
				}
			}
			return true
		})
	}
	return uses
}

// way returns the files by which one leads to another, or nil.
func way(uses map[string]map[string]bool, from, to string, seen map[string]bool) []string {
	for next := range uses[from] {
		if next == to {
			return []string{to}
		}
		if seen[next] {
			continue
		}
		seen[next] = true
		if rest := way(uses, next, to, seen); rest != nil {
			return append([]string{next}, rest...)
		}
	}
	return nil
}

// long lists the exceptions: what may be longer than the rest, and why.
var long = map[string]string{}

// TestLengths checks that a file can be read in one go, and that a function
// fits on two screens.
func TestLengths(t *testing.T) {
	const file, function = 400, 80
	files, set := sources(t)
	for name, parsed := range files {
		text, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("\n")); n > file && long[name] == "" {
			t.Errorf("%s has %d lines, more than %d", name, n, file)
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; n > function && long[name+" "+f.Name.Name] == "" {
				t.Errorf("%s: %s has %d lines, more than %d", name, f.Name.Name, n, function)
			}
		}
	}
}

// TestPublic checks that the set of packages that others can import is small
// and deliberate: everything else is internal.
func TestPublic(t *testing.T) {
	want := []string{
		"harness", "harness/report", "harness/verdict", "harness/target", // a run and its results
		"harness/rig",                 // for the tests of this repository
		"initramfs", "initramfs/wire", // what is in the guest, and what it says
		"module/archive", "module/source", // the archive, and the module around it
	}
	files, _ := sources(t)
	var got []string
	for name, file := range files {
		dir := path.Dir(name)
		if file.Name.Name != "main" && !strings.HasSuffix(name, "_test.go") && !strings.Contains(dir, "internal") &&
			!strings.HasPrefix(dir, "tests") && !slices.Contains(got, dir) {
			got = append(got, dir)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("others can import %q, want %q", got, want)
	}
}
