// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"context"
	"runtime"
	"slices"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/run"
	"github.com/kheaders/kheaders/harness/internal/toolchain"
)

// supply are the settings of the Go command that say where modules come from
// and where they are kept.
var supply = []string{
	"GOPATH", "GOMODCACHE", "GOCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOVCS", "GOAUTH",
}

// valid has all Go commands answer, whichever Go a user has chosen, and whatever
// else is in the file of "go env -w", which the environment overrides.
var valid = []string{
	"GOTOOLCHAIN=local", "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOEXPERIMENT=none",
	"GOOS=" + runtime.GOOS, "GOARCH=" + runtime.GOARCH, "GOAMD64=v1", "GOARM64=v8.0",
}

// goTool is the installed Go command.
type goTool struct {
	version string
	// env keeps a user's settings for other work away from what it compiles,
	// those of "go env -w" included, except for the supply.
	env []string
}

// askGo asks the Go command about itself, as it is in the directory where it is
// going to compile.
func askGo(ctx context.Context, dir, log string) (goTool, error) {
	values, err := run.Cmd{
		Argv: slices.Concat([]string{"go", "env"}, supply, []string{"GOVERSION"}),
		Dir:  "/", Env: valid, Log: log,
	}.Output(ctx)
	if err != nil {
		return goTool{}, err
	}
	env := []string{"GOENV=off", "GOFLAGS=-buildvcs=false", "GOWORK=off"}
	for i, value := range strings.Split(strings.TrimSuffix(string(values), "\n"), "\n") {
		if i == len(supply) {
			if err := toolchain.CheckGo(value); err != nil {
				return goTool{}, err
			}
		}
		// A line is empty for what this Go does not know.
		if value != "" && i < len(supply) {
			env = append(env, supply[i]+"="+value)
		}
	}
	version, err := run.Cmd{Argv: []string{"go", "env", "GOVERSION"}, Dir: dir, Env: env, Log: log}.Output(ctx)
	return goTool{version: string(version), env: slices.Clip(env)}, err // callers append to env
}
