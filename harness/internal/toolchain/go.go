// SPDX-License-Identifier: BSD-3-Clause

package toolchain

import (
	"context"
	"fmt"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
)

// CheckGo rejects a Go command that cannot fetch the toolchain that our go.mod
// names, given what it calls its version. Go 1.21 was the first that can.
func CheckGo(version string) error {
	var minor int
	if _, err := fmt.Sscanf(version, "go1.%d", &minor); err == nil && minor < 21 {
		return hint.New(fmt.Errorf("%s is too old to compile the guest's programs", version),
			"install Go 1.21 or newer from https://go.dev/dl/; it fetches by itself what go.mod asks for")
	}
	return nil
}

// Go checks the installed Go command. Whether there is one is up to others.
func Go(ctx context.Context) error {
	version, err := run.Cmd{Argv: []string{"go", "env", "GOVERSION"}, Dir: "/", Env: []string{"GOTOOLCHAIN=local"}}.Output(ctx)
	if err != nil {
		return nil
	}
	return CheckGo(strings.TrimSpace(string(version)))
}
