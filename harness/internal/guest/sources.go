// SPDX-License-Identifier: BSD-3-Clause

package guest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
)

// FindSources returns the directory of our own sources, which the guest's programs
// are compiled from: those around the working directory, or else those that this
// program was built from, in a clone or in Go's module cache. Go fetches them if
// they are no longer there.
func FindSources(ctx context.Context) (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	_, file, _, _ := runtime.Caller(0)
	for _, dir := range []string{here, filepath.Dir(file)} {
		if root := around(dir); root != "" {
			return root, nil
		}
	}
	return download(ctx, version())
}

// around returns the directory of our sources that dir is in, or nothing.
func around(dir string) string {
	if !filepath.IsAbs(dir) { // -trimpath leaves no directory
		return ""
	}
	for at := dir; ; at = filepath.Dir(at) {
		text, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module "+Module+"\n") {
			return at
		}
		if at == filepath.Dir(at) {
			return ""
		}
	}
}

// version returns the version of our module in this program, which may be someone
// else's, or nothing if it is not known.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	if info.Main.Path == Module {
		return info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == Module && d.Replace == nil {
			return d.Version
		}
	}
	return ""
}

// download has Go fetch a version of our sources, or find it in its module cache.
func download(ctx context.Context, version string) (string, error) {
	missing := func(err error) error {
		return hint.Usage(fmt.Errorf("finding the sources that the guest's programs are compiled from: %w", err),
			"run it in a clone of kheaders, or install a published version: go install "+Module+"/harness/cmd/kheaders@latest")
	}
	if version == "" || version == "(devel)" || strings.HasSuffix(version, "+dirty") {
		return "", missing(fmt.Errorf("this program was built from a tree that is no longer there, version %q", version))
	}
	out, err := run.Cmd{
		Argv: []string{"go", "mod", "download", "-json", Module + "@" + version}, Dir: "/", Env: []string{"GOWORK=off", "GOFLAGS="},
	}.Output(ctx)
	var found struct{ Dir, Error string }
	if jerr := json.Unmarshal(out, &found); jerr == nil && found.Error != "" {
		err = fmt.Errorf("%s", found.Error)
	} else if err == nil {
		err = jerr
	}
	if err != nil {
		return "", missing(err)
	}
	return found.Dir, nil
}
