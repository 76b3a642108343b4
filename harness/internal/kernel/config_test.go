// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/target"
)

func parse(t *testing.T, text string) []request {
	t.Helper()
	groups := 0
	list, err := parseFragment(text, &groups)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestFragments checks that every fragment can be read, for each target and
// profile, and requests what the harness cannot do without.
func TestFragments(t *testing.T) {
	for _, a := range target.All() {
		for _, profile := range Profiles() {
			list, err := requests(a, profile, "6.12.1")
			if err != nil {
				t.Errorf("%s, %s: %v", a.Name, profile, err)
				continue
			}
			text := formatRequests(list)
			for _, line := range []string{"CONFIG_MODULES=y", "CONFIG_PROC_FS=y", "CONFIG_PVPANIC_PCI=y", "CONFIG_VIRTIO_CONSOLE=y"} {
				if !strings.Contains("\n"+text, "\n"+line+"\n") {
					t.Errorf("%s, %s: %s is not asked for", a.Name, profile, line)
				}
			}
		}
	}
}

// TestSince checks that a kernel is not asked for symbols newer than itself.
func TestSince(t *testing.T) {
	for version, want := range map[string]bool{"4.14.98": false, "5.12.19": false, "5.13": true, "5.13.0-rc1": true, "6.1.192": true, "10.0": true} {
		list, err := requests(target.All()[0], DefaultProfile, version)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.ContainsFunc(list, func(r request) bool { return r.symbol == "PVPANIC_PCI" }); got != want {
			t.Errorf("%s: asked for PVPANIC_PCI: %v", version, got)
		}
	}
	if _, err := requests(target.All()[0], DefaultProfile, "next"); err == nil {
		t.Error("a version without numbers is taken")
	}
}

func TestUnknownProfile(t *testing.T) {
	_, err := requests(target.All()[0], "none", "6.12")
	if !hint.IsUsage(err) || !strings.Contains(hint.Of(err), DefaultProfile) {
		t.Errorf("the error is %v, the hint %q", err, hint.Of(err))
	}
}

func TestParseFragment(t *testing.T) {
	got := parse(t, `# a comment
CONFIG_A=y

# CONFIG_B is not set
CONFIG_C="a = b"
# any-of: CONFIG_NEW CONFIG_OLD
CONFIG_NEW=m
CONFIG_OLD=m
# since 5.13: CONFIG_D
CONFIG_D=0x10
`)
	want := []request{
		{symbol: "A", value: "y"},
		{symbol: "B", value: "n"},
		{symbol: "C", value: `"a = b"`},
		{symbol: "NEW", value: "m", group: 1},
		{symbol: "OLD", value: "m", group: 1},
		{symbol: "D", value: "0x10", since: series{5, 13}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(request{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseFragmentErrors(t *testing.T) {
	for text, want := range map[string]string{
		"CONFIG_A=y\nCONFIG_A=m\n": "line 2 sets A a second time",
		"#CONFIG_A is not set\n":   "line 1 is neither",
		"# CONFIG_A is  not set\n": "line 1 is neither",
		"CONFIG_A\n":               "line 1 is neither",
		"A=y\n":                    "line 1 is neither",
		"# any-of: CONFIG_A\n":     "line 1 is neither",

		"# any-of: CONFIG_A CONFIG_B\nCONFIG_A=y\n":     "any-of names B, which nothing sets",
		"# since 5.13: CONFIG_A CONFIG_B\nCONFIG_A=y\n": "since names B, which nothing sets",
		"# since 5: CONFIG_A\nCONFIG_A=y\n":             "line 1 is neither",
		"CONFIG_A=y\n# any-of: CONFIG_A CONFIG_Z\nZ\n":  "line 3 is neither",
	} {
		groups := 0
		if _, err := parseFragment(text, &groups); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v", text, err)
		}
	}
}

func TestMerge(t *testing.T) {
	got := merge(`# Automatically generated
CONFIG_A=y
# CONFIG_B is not set
CONFIG_AB=y
CONFIG_C="text"
# CONFIG_D is not set
`, parse(t, "# CONFIG_A is not set\nCONFIG_B=m\nCONFIG_C=\"\"\nCONFIG_E=y\n"))
	want := `# Automatically generated
CONFIG_AB=y
# CONFIG_D is not set
# CONFIG_A is not set
CONFIG_B=m
CONFIG_C=""
CONFIG_E=y
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLost(t *testing.T) {
	const renamed = "# any-of: CONFIG_NEW CONFIG_OLD\n# CONFIG_NEW is not set\n# CONFIG_OLD is not set\n"
	cases := []struct {
		name, fragment, config string
		want                   []string
	}{
		{name: "all there", fragment: "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x\"\n", config: "CONFIG_C=\"x\"\nCONFIG_A=y\n# CONFIG_B is not set\n"},
		{name: "gone", fragment: "CONFIG_A=y\n", want: []string{"CONFIG_A: wanted y, is not there"}},
		{name: "off", fragment: "CONFIG_A=y\n", config: "# CONFIG_A is not set\n", want: []string{"CONFIG_A: wanted y, is n"}},
		{name: "module", fragment: "CONFIG_A=y\n", config: "CONFIG_A=m\n", want: []string{"CONFIG_A: wanted y, is m"}},
		{name: "other value", fragment: "CONFIG_A=\"x\"\n", config: "CONFIG_A=\"xy\"\n", want: []string{`CONFIG_A: wanted "x", is "xy"`}},
		{name: "on", fragment: "# CONFIG_A is not set\n", config: "CONFIG_A=y\n", want: []string{"CONFIG_A: wanted n, is y"}},
		{name: "unknown, and so off", fragment: "# CONFIG_A is not set\n"},
		{name: "a longer name is another", fragment: "CONFIG_A=y\n", config: "CONFIG_AB=y\n", want: []string{"CONFIG_A: wanted y, is not there"}},
		{name: "several", fragment: "CONFIG_A=y\nCONFIG_B=y\n", want: []string{"CONFIG_A: wanted y, is not there", "CONFIG_B: wanted y, is not there"}},
		{name: "the new name", fragment: renamed, config: "# CONFIG_NEW is not set\n"},
		{name: "the old name", fragment: renamed, config: "# CONFIG_OLD is not set\n"},
		{name: "neither name", fragment: renamed, config: "CONFIG_A=y\n", want: []string{"CONFIG_NEW: wanted n, is not there", "CONFIG_OLD: wanted n, is not there"}},
		{name: "one name with another value", fragment: renamed, config: "# CONFIG_NEW is not set\nCONFIG_OLD=y\n", want: []string{"CONFIG_OLD: wanted n, is y"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := lost(c.config, parse(t, c.fragment)); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
