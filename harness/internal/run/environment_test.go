// SPDX-License-Identifier: BSD-3-Clause

package run

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestEnvironment(t *testing.T) {
	t.Setenv("http_proxy", "http://proxy")
	t.Setenv("CPATH", "/usr/include")
	t.Setenv("MINE", "yes")
	see := func() string {
		t.Helper()
		out, err := Cmd{Argv: sh("export -p"), Env: []string{"OURS=1"}}.Output(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for _, tt := range []struct {
		keep         string
		seen, unseen []string
	}{
		{"", []string{"http_proxy", "OURS", "PATH"}, []string{"CPATH", "MINE"}},
		{" OTHER  MINE", []string{"http_proxy", "OURS", "PATH", "MINE"}, []string{"CPATH"}},
	} {
		t.Setenv(KeepVariable, tt.keep)
		text, withheld := see(), Withheld()
		for _, name := range tt.seen {
			if !strings.Contains(text, "export "+name+"=") || slices.Contains(withheld, name) {
				t.Errorf("with %q kept, %s is not seen:\n%s%q", tt.keep, name, text, withheld)
			}
		}
		for _, name := range tt.unseen {
			if strings.Contains(text, "export "+name+"=") || !slices.Contains(withheld, name) {
				t.Errorf("with %q kept, %s is seen:\n%s%q", tt.keep, name, text, withheld)
			}
		}
		if all := len(os.Environ()); len(Environment())+len(withheld) != all {
			t.Errorf("%d and %d variables are not all %d", len(Environment()), len(withheld), all)
		}
	}
}
