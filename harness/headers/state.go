// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/cache"
	"github.com/kheaders/kheaders/harness/index"
	"github.com/kheaders/kheaders/module/archive"
)

// state is what is known from the last time about an output and the headers in
// it. It saves the work when nothing has changed. Without it, or when it is
// damaged, the headers are packed.
type state struct {
	index, record string // files
	options       string // everything but the headers that decides about the output
	window        time.Duration
}

// record says what an output was made of.
type record struct {
	// Key stands for the headers and the options.
	Key cache.Key `json:"key"`
	// Result is what [Pack] returned.
	Result Result `json:"result"`
}

// openState finds what is known about the output.
func openState(opts Options) (*state, error) {
	options, err := Key(opts)
	if err != nil {
		return nil, err
	}
	output, err := filepath.Abs(opts.Output)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", opts.Output, err)
	}
	file := index.Path(opts.State, "archive "+output)
	return &state{index: file, record: file + ".json", options: options, window: index.Window}, nil
}

// content is what the selected headers hold.
type content struct {
	index index.Index
	id    string // a digest of their names and contents
	read  int    // how many had to be read
}

// look finds out what the headers hold, reading those that are not known.
func (s *state) look(ctx context.Context, files []archive.File, known index.Index) (content, error) {
	dirs := map[string][]string{}
	for _, file := range files {
		dir, name := path.Split(file.Path)
		dirs[dir] = append(dirs[dir], name)
	}
	settled := time.Now().Add(-s.window)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	type part struct {
		entries []index.Entry
		read    int
	}
	parts := map[string]*part{}
	for dir, names := range dirs {
		p := &part{}
		parts[dir] = p
		group.Go(func() (err error) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			slices.Sort(names)
			p.entries, p.read, err = lookDir(rootFS{}.path(dir), slices.Compact(names), known[dir], settled)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return content{}, fmt.Errorf("looking for changes: %w", err)
	}
	c := content{index: index.Index{}}
	for dir, p := range parts {
		c.index[dir] = p.entries
		c.read += p.read
	}
	h := sha256.New()
	for _, file := range files {
		digest := c.digest(file)
		fmt.Fprintf(h, "%d:%s", len(file.Name), file.Name)
		h.Write(digest[:])
	}
	c.id = hex.EncodeToString(h.Sum(nil))
	return c, nil
}

// digest returns the digest of a header.
func (c content) digest(file archive.File) [sha256.Size]byte {
	dir, name := path.Split(file.Path)
	entries := c.index[dir]
	at, _ := slices.BinarySearchFunc(entries, name, func(e index.Entry, name string) int { return strings.Compare(e.Name, name) })
	return entries[at].Digest
}

// lookDir digests the named files of a directory, except those that are as
// they were known. Both lists are sorted.
func lookDir(dir string, names []string, known []index.Entry, settled time.Time) (_ []index.Entry, read int, err error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	entries := make([]index.Entry, 0, len(names))
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, 0, &fs.PathError{Op: "stat", Path: filepath.Join(dir, name), Err: err}
		}
		for len(known) > 0 && known[0].Name < name {
			known = known[1:]
		}
		e := index.Entry{Name: name, Stamp: index.StampOf(&st)}
		if len(known) > 0 && known[0].Name == name && known[0].Stamp == e.Stamp {
			e.Digest = known[0].Digest
		} else {
			if err := e.Read(fd, filepath.Join(dir, name)); err != nil {
				return nil, 0, err
			}
			read++
			e.Stamp = e.Stamp.Settled(settled)
		}
		entries = append(entries, e)
	}
	return entries, read, nil
}

// key stands for an output.
func (s *state) key(c content) cache.Key { return cache.KeyOf(s.options, c.id) }

// unchanged returns the last result, if the same headers were packed with the
// same options then, and the output is still there.
func (s *state) unchanged(output string, c content) (Result, bool) {
	text, err := os.ReadFile(s.record)
	if err != nil {
		return Result{}, false
	}
	var r record
	if json.Unmarshal(text, &r) != nil || r.Key != s.key(c) {
		return Result{}, false
	}
	digest, err := cache.Digest(output)
	if err != nil || digest.Size != r.Result.Size || digest.SHA256 != r.Result.SHA256 {
		return Result{}, false
	}
	r.Result.Path = output // as it was named this time
	r.Result.Unchanged = true
	return r.Result, true
}

// remember keeps what is known now for the next time. Where it cannot be kept,
// the next time takes longer.
func (s *state) remember(c content, result Result) {
	text, err := json.MarshalIndent(record{Key: s.key(c), Result: result}, "", "\t")
	if err == nil && index.Save(s.index, c.index) == nil {
		_ = renameio.WriteFile(s.record, text, 0o644)
	}
}

// confirm keeps what look has learned about files that were touched, or that
// were too new to be known for good, and returns the result.
func (s *state) confirm(c content, result Result) Result {
	if c.read > 0 {
		_ = index.Save(s.index, c.index)
	}
	return result
}
