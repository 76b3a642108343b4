// SPDX-License-Identifier: BSD-3-Clause

package pipeline

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/guest"
	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/kernel"
	"github.com/kheaders/kheaders/harness/internal/qemu"
	"github.com/kheaders/kheaders/harness/internal/stage"
)

// runner is what the cells of a run share.
type runner struct {
	Config
	store  cache.Store
	guest  guest.Builder
	prober qemu.Prober
	// builds and boots limit how many kernels are built and how many
	// machines run at once. A second build gains nothing where one uses all
	// processors, and two machines that share processors cannot be timed.
	builds, boots *semaphore.Weighted
	printing      sync.Mutex
}

// newRunner fails when the configuration cannot be run.
func newRunner(c Config) (*runner, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	r := &runner{
		Config: c,
		prober: qemu.Prober{Dir: filepath.Join(c.Cache, "accel"), Device: c.KVM, Patience: c.Limits.Silence},
		builds: semaphore.NewWeighted(1),
		boots:  semaphore.NewWeighted(int64(max(1, runtime.NumCPU()/2))),
	}
	r.store = cache.Store{Dir: c.Cache, OnWait: func(kind string, _ cache.Key) {
		r.say("cache", "waiting for another run with the same %s", kind)
	}}
	r.guest = guest.Builder{Repo: c.Repo, Store: r.store}
	return r, nil
}

// say reports a line of progress about a subject.
func (r *runner) say(subject, format string, args ...any) {
	r.printing.Lock()
	defer r.printing.Unlock()
	r.Progress(fmt.Sprintf("%-7s %s", subject, fmt.Sprintf(format, args...)))
}

// fetched is a kernel's source, or why there is none.
type fetched struct {
	source kernel.Source
	err    error
}

// sources has the source of each kernel.
type sources map[kernel.Spec]fetched

// release lets other runs have them.
func (s sources) release() {
	for _, from := range s {
		from.source.Release()
	}
}

// fetch gets the source of every kernel, once for all its cells. The error is
// the user's mistake; anything else that goes wrong is up to the cells to
// report.
func (r *runner) fetch(ctx context.Context) (sources, error) {
	all := sources{}
	for _, c := range r.Cells {
		if _, done := all[c.Spec]; done {
			continue
		}
		source, err := stage.Fetch(ctx, stage.FetchInput{Store: r.store, Spec: c.Spec, Targets: targets(r.Cells), Say: r.say})
		if hint.IsUsage(err) {
			all.release()
			return nil, err
		}
		all[c.Spec] = fetched{source, err}
	}
	return all, nil
}
