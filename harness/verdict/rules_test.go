// SPDX-License-Identifier: BSD-3-Clause

package verdict

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kheaders/kheaders/initramfs/wire"
)

// calls returns the arguments of each call of a method in one of our files,
// such as j.add(TestFailed, "format", …): identifiers by name, strings by
// value.
func calls(t *testing.T, file, method string) [][]string {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found [][]string
	ast.Inspect(tree, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || selector.Sel.Name != method {
			return true
		}
		var args []string
		for _, arg := range call.Args {
			switch arg := arg.(type) {
			case *ast.Ident:
				args = append(args, arg.Name)
			case *ast.BasicLit:
				text, err := strconv.Unquote(arg.Value)
				if err != nil {
					t.Fatal(err)
				}
				args = append(args, text)
			}
		}
		found = append(found, args)
		return true
	})
	return found
}

// goldens returns the canned runs with the results that they must get.
func goldens(t *testing.T) map[string]*txtar.Archive {
	t.Helper()
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*txtar.Archive{}
	for _, file := range files {
		if all[file], err = txtar.ParseFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Each rule has its own words, and without it some canned run gets another
// result. So no rule can get lost unnoticed.
func TestEveryRuleIsNeeded(t *testing.T) {
	all := goldens(t)
	want := map[string]string{}
	evidence := map[string]Evidence{}
	for file, ar := range all {
		evidence[file] = gather(t, ar)
		want[file] = render(t, decide(evidence[file], ""))
	}
	var rules []string
	for _, args := range calls(t, "decide.go", "add") {
		// The constant BootHang has the value boot-hang.
		name := regexp.MustCompile(`\B[A-Z]`).ReplaceAllString(args[0], "-$0")
		rules = append(rules, rule(Verdict(strings.ToLower(name)), args[1]))
	}
	if len(rules) < 30 {
		t.Fatalf("found only %d rules", len(rules))
	}
	for i, rule := range rules {
		if slices.Contains(rules[:i], rule) {
			t.Errorf("two rules say %q", rule)
		}
		noticed := 0
		for file, e := range evidence {
			if render(t, decide(e, rule)) != want[file] {
				noticed++
			}
		}
		if noticed == 0 {
			t.Errorf("no canned run needs the rule that says %q", rule)
		}
	}
}

// Each breach of the protocol that a recorder notes is in some canned run, or
// in one of those that are too long to be canned.
func TestEveryBreachIsSeen(t *testing.T) {
	tests, facts := NewRecorder(), NewRecorder()
	for _, r := range []*Recorder{tests, facts} {
		feed(r, wire.Event{Kind: wire.KindHello, Version: wire.Version})
	}
	for i := range max(maxTests, maxAttrs) + 1 {
		feed(tests, wire.Event{Kind: wire.KindStart, Test: "Test" + strconv.Itoa(i)})
		feed(facts, wire.Event{Kind: wire.KindAttr, Key: "key"})
	}
	records := []Record{tests.Record(), facts.Record()}
	for _, ar := range goldens(t) {
		records = append(records, gather(t, ar).Record)
	}
	var seen strings.Builder
	for _, r := range records {
		for _, breach := range r.Breaches {
			seen.WriteString(breach + "\n")
		}
	}
	verb := regexp.MustCompile(`%[a-z]`)
	for _, args := range calls(t, "record.go", "breach") {
		format := args[0]
		quoted := verb.ReplaceAllString(strings.ReplaceAll(regexp.QuoteMeta(format), `\(%v\)`, `\(.+\)`), `.+`)
		if !regexp.MustCompile(`(?m)^` + quoted).MatchString(seen.String()) {
			t.Errorf("no canned run has the departure %q", format)
		}
	}
}

func render(t *testing.T, res Result) string {
	t.Helper()
	text, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestUnused(t *testing.T) {
	list, err := ParseAllowlist(strings.NewReader("warning: a # of use\nwarning: b # of none\nhung-task: a # of none\n"))
	if err != nil {
		t.Fatal(err)
	}
	found := []Finding{
		{Name: "warning", Title: "WARNING: a", Allowed: "of use"},
		// Not allowed, for whatever reason: it used no entry.
		{Name: "warning", Title: "WARNING: b"},
	}
	var got []string
	for _, a := range list.Unused(found) {
		got = append(got, a.String())
	}
	if want := []string{"warning: b # of none", "hung-task: a # of none"}; !slices.Equal(got, want) {
		t.Errorf("unused are %q, want %q", got, want)
	}
	if unused := Allowlist(nil).Unused(found); len(unused) != 0 {
		t.Errorf("of an empty list, %v is unused", unused)
	}
}
