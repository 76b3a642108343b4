// SPDX-License-Identifier: BSD-3-Clause

package stage

import (
	"context"

	"github.com/kheaders/kheaders/harness/internal/guest"
	"github.com/kheaders/kheaders/harness/target"
)

// GuestInput is what [Guest] takes.
type GuestInput struct {
	Builder guest.Builder
	Target  target.Target
	// Tests is the Go package of the guest tests.
	Tests string
	// Dir is where the test binary goes.
	Dir string
}

// Programs are what runs in the guest.
type Programs struct {
	guest.Programs
	// Base is u-root's image with our agent in it.
	Base string
}

// Guest compiles the guest's programs.
func Guest(ctx context.Context, in GuestInput) (Programs, error) {
	base, err := in.Builder.Base(ctx, in.Target)
	if err != nil {
		return Programs{}, err
	}
	programs, err := in.Builder.Programs(ctx, in.Target, in.Tests, in.Dir)
	return Programs{Programs: programs, Base: base}, err
}
