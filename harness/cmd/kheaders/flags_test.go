// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryOptionIsInAScript checks that some script uses each option, and not
// just to see it refused.
func TestEveryOptionIsInAScript(t *testing.T) {
	scripts, err := filepath.Glob("../../../tests/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	call := regexp.MustCompile(`\bkheaders ([a-z]+)((?: .*)?)$`)
	option := regexp.MustCompile(` (--[a-z-]+)`)
	used := map[string]bool{}
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			m := call.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil || strings.HasPrefix(line, "fails 2 ") {
				continue
			}
			for _, o := range option.FindAllStringSubmatch(m[2], -1) {
				used[m[1]+" "+o[1]] = true
			}
		}
	}
	listed := regexp.MustCompile(`(?m)^  (--[a-z-]+)`)
	for _, cmd := range commands() {
		var help bytes.Buffer
		if code := realMain([]string{cmd.name, "--help"}, &help, &help); code != exitPass {
			t.Fatalf("%s --help exits with %d", cmd.name, code)
		}
		for _, m := range listed.FindAllStringSubmatch(help.String(), -1) {
			name := cmd.name + " " + m[1]
			if !used[name] {
				t.Errorf("no script uses kheaders %s", name)
			}
		}
	}
}
