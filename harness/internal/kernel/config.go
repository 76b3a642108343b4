// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/target"
)

// fragments holds common.config, one file per architecture, and one per
// profile.
//
//go:embed config/*.config
var fragments embed.FS

// DefaultProfile is the profile that has no fragment of its own.
const DefaultProfile = "default"

const (
	profilePrefix = "profile-"
	configSuffix  = ".config"
)

// Profiles returns the names of the known profiles, the default first.
func Profiles() []string {
	names := []string{DefaultProfile}
	list, err := fs.Glob(fragments, "config/"+profilePrefix+"*"+configSuffix)
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for _, path := range list {
		name := strings.TrimPrefix(path, "config/"+profilePrefix)
		names = append(names, strings.TrimSuffix(name, configSuffix))
	}
	return names
}

// request is one line of a fragment.
type request struct {
	symbol string // without CONFIG_
	value  string // as in .config; "n" for "is not set"
	group  int    // requests of one any-of group share a number; 0: none
	since  series // the first series that knows the symbol
}

// series is a kernel's major and minor version.
type series [2]int

// seriesOf returns the series of a version such as 6.12.117 or 7.3.0-rc7.
func seriesOf(version string) (series, error) {
	var s series
	if _, err := fmt.Sscanf(version, "%d.%d", &s[0], &s[1]); err != nil {
		return series{}, fmt.Errorf("kernel version %q: %w", version, err)
	}
	return s, nil
}

// before reports whether s is older than t.
func (s series) before(t series) bool { return slices.Compare(s[:], t[:]) < 0 }

// clangSymbol is how a kernel's configuration says that its compiler is clang.
// A fragment that asks for it gets a kernel built by clang.
const clangSymbol = "CC_IS_CLANG"

// UsesClang reports whether a profile's kernels are built by clang.
func UsesClang(profile string) bool {
	text, err := fragments.ReadFile("config/" + profilePrefix + profile + configSuffix)
	if err != nil {
		return false // the default profile has none
	}
	list, err := parseFragment(string(text), new(int))
	return err == nil && wantsClang(list)
}

// wantsClang reports whether a kernel with these requests is built by clang.
func wantsClang(list []request) bool {
	return slices.ContainsFunc(list, func(r request) bool { return r.symbol == clangSymbol && r.value == "y" })
}

// line returns the request as a line of .config.
func (r request) line() string {
	if r.value == "n" {
		return "# CONFIG_" + r.symbol + " is not set"
	}
	return "CONFIG_" + r.symbol + "=" + r.value
}

// requests returns what the fragments of a target and a profile request from a
// kernel of some version. A later line replaces an earlier one for the same
// symbol.
func requests(t target.Target, profile, version string) ([]request, error) {
	kernel, err := seriesOf(version)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(Profiles(), profile) {
		return nil, hint.Usage(fmt.Errorf("unknown profile %q", profile), "known profiles: "+strings.Join(Profiles(), ", "))
	}
	names := []string{"common", t.Name}
	if profile != DefaultProfile {
		names = append(names, profilePrefix+profile)
	}
	var all []request
	groups := 0
	for _, name := range names {
		text, err := fragments.ReadFile("config/" + name + configSuffix)
		if err != nil {
			return nil, fmt.Errorf("reading the config fragment for %s: %w", name, err)
		}
		list, err := parseFragment(string(text), &groups)
		if err != nil {
			return nil, fmt.Errorf("config fragment %s: %w", name, err)
		}
		for _, r := range list {
			all = slices.DeleteFunc(all, func(old request) bool { return old.symbol == r.symbol })
			if !kernel.before(r.since) {
				all = append(all, r)
			}
		}
	}
	return all, nil
}

var (
	setLine   = regexp.MustCompile(`^CONFIG_([A-Za-z0-9_]+)=(.+)$`)
	unsetLine = regexp.MustCompile(`^# CONFIG_([A-Za-z0-9_]+) is not set$`)
	anyOfLine = regexp.MustCompile(`^# any-of: (CONFIG_[A-Za-z0-9_]+(?: CONFIG_[A-Za-z0-9_]+)+)$`)
	sinceLine = regexp.MustCompile(`^# since (\d+\.\d+): (CONFIG_[A-Za-z0-9_]+(?: CONFIG_[A-Za-z0-9_]+)*)$`)
)

// parseFragment reads a fragment: lines as in .config, comments, and
//
//	# any-of: CONFIG_A CONFIG_B
//
// for a symbol that has different names in different versions of the kernel.
// The lines that follow request each of them. A kernel must know at least one,
// and must not give another one a different value. With
//
//	# since 5.13: CONFIG_C
//
// the symbol is not requested from older kernels. groups counts the groups of
// all fragments.
func parseFragment(text string, groups *int) ([]request, error) {
	var list []request
	group, since := map[string]int{}, map[string]series{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, " \t\r\n")
		var r request
		if m := setLine.FindStringSubmatch(line); m != nil {
			r = request{symbol: m[1], value: m[2]}
		} else if m := unsetLine.FindStringSubmatch(line); m != nil {
			r = request{symbol: m[1], value: "n"}
		} else if m := anyOfLine.FindStringSubmatch(line); m != nil {
			*groups++
			for symbol := range strings.FieldsSeq(m[1]) {
				group[strings.TrimPrefix(symbol, "CONFIG_")] = *groups
			}
			continue
		} else if m := sinceLine.FindStringSubmatch(line); m != nil {
			first, err := seriesOf(m[1])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			for symbol := range strings.FieldsSeq(m[2]) {
				since[strings.TrimPrefix(symbol, "CONFIG_")] = first
			}
			continue
		} else if line == "" || strings.HasPrefix(line, "#") && !strings.Contains(line, "CONFIG_") {
			continue
		} else {
			return nil, fmt.Errorf("line %d is neither a setting nor a comment: %q", n, line)
		}
		r.group, r.since = group[r.symbol], since[r.symbol]
		delete(group, r.symbol)
		delete(since, r.symbol)
		if slices.ContainsFunc(list, func(old request) bool { return old.symbol == r.symbol }) {
			return nil, fmt.Errorf("line %d sets %s a second time", n, r.symbol)
		}
		list = append(list, r)
	}
	if len(since) > 0 {
		return nil, fmt.Errorf("since names %s, which nothing sets", strings.Join(slices.Sorted(maps.Keys(since)), ", "))
	}
	if len(group) > 0 {
		return nil, fmt.Errorf("any-of names %s, which nothing sets", strings.Join(slices.Sorted(maps.Keys(group)), ", "))
	}
	return list, nil
}

// formatRequests returns the requests as a config file.
func formatRequests(list []request) string {
	var b strings.Builder
	for _, r := range list {
		b.WriteString(r.line() + "\n")
	}
	return b.String()
}

// merge returns a .config with the requests in it. Each symbol appears once,
// because kconfig complains about a symbol that is set twice.
func merge(base string, list []request) string {
	asked := map[string]bool{}
	for _, r := range list {
		asked[r.symbol] = true
	}
	var b strings.Builder
	for line := range strings.Lines(base) {
		if symbol, _, ok := configLine(line); !ok || !asked[symbol] {
			b.WriteString(line)
		}
	}
	b.WriteString(formatRequests(list))
	return b.String()
}

// configLine reads a line of .config.
func configLine(line string) (symbol, value string, ok bool) {
	line = strings.TrimRight(line, "\r\n")
	if m := setLine.FindStringSubmatch(line); m != nil {
		return m[1], m[2], true
	}
	if m := unsetLine.FindStringSubmatch(line); m != nil {
		return m[1], "n", true
	}
	return "", "", false
}

// lost returns a line for each request that the final .config does not fulfil.
// A missing symbol counts as not set, but in an any-of group as unknown.
func lost(config string, list []request) []string {
	final := map[string]string{}
	for line := range strings.Lines(config) {
		if symbol, value, ok := configLine(line); ok {
			final[symbol] = value
		}
	}
	known := map[int]bool{} // groups with a symbol that the kernel knows
	for _, r := range list {
		if _, ok := final[r.symbol]; ok {
			known[r.group] = true
		}
	}
	var lines []string
	for _, r := range list {
		switch value, ok := final[r.symbol]; {
		case ok && value == r.value:
		case !ok && r.group == 0 && r.value == "n":
			// kconfig leaves out symbols that depend on something
			// that is off.
		case !ok && r.group != 0 && known[r.group]:
		case ok:
			lines = append(lines, fmt.Sprintf("CONFIG_%s: wanted %s, is %s", r.symbol, r.value, value))
		default:
			lines = append(lines, fmt.Sprintf("CONFIG_%s: wanted %s, is not there", r.symbol, r.value))
		}
	}
	return lines
}

// ConfigError says that a kernel cannot be configured as requested.
type ConfigError struct {
	// Lost has a line for each symbol that did not come out as requested.
	Lost []string
}

// Error names every lost symbol.
func (e *ConfigError) Error() string {
	return "the kernel's configuration does not keep what was requested: " + strings.Join(e.Lost, "; ")
}
