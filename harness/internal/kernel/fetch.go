// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"context"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/target"
)

// Fetch turns a spec into a source tree. The store keeps downloads and unpacked
// tarballs, and what it has is used without asking anyone: a Debian package
// stays at the version fetched first until the store's source directory is
// removed. Of a directory, it brings a copy up to date, and the caller has the lock
// on that until [Source.Release]. progress receives a line for each
// step that takes time, with the command that runs. targets are the
// architectures to fetch a prebuilt kernel for.
func Fetch(ctx context.Context, store cache.Store, spec Spec, progress func(string), targets ...target.Target) (Source, error) {
	if progress == nil {
		progress = func(string) {}
	}
	return spec.origin.fetch(ctx, fetcher{store, spec.text, targets, progress})
}
