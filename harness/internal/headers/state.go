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
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/cache"
	"github.com/kheaders/kheaders/harness/internal/index"
	"github.com/kheaders/kheaders/module/archive"
)

// state is what Pack remembers about an output and the headers in it. It saves
// work when nothing has changed. When it is missing or damaged, the headers are
// packed.
type state struct {
	index, record string // files
	options       string // everything that shapes the output except the headers
	window        time.Duration
}

// record says what an output was made of.
type record struct {
	// Options and Content are those of [state] and [content].
	Options string `json:"options"`
	Content string `json:"content"`
	// Result is what [Pack] returned.
	Result Result `json:"result"`
}

// openState finds what is remembered about the output.
func openState(ctx context.Context, opts Options, compressor compressor, mtime time.Time) (*state, error) {
	options, err := keyOf(ctx, opts, compressor, mtime)
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

// last returns the record of the output, if it was packed with the same options
// and has not changed since.
func (s *state) last(output string) (record, bool) {
	text, err := os.ReadFile(s.record)
	if err != nil {
		return record{}, false
	}
	var r record
	if json.Unmarshal(text, &r) != nil || r.Options != s.options {
		return record{}, false
	}
	digest, err := cache.Digest(output)
	if err != nil || digest.Size != r.Result.Size || digest.SHA256 != r.Result.SHA256 {
		return record{}, false
	}
	r.Result.Path = output // as it was named this time
	r.Result.Unchanged = true
	return r, true
}

// content is the content of the headers, as far as it is known.
type content struct {
	files []archive.File
	index index.Index
	// settled is the time before which a file's last change must lie for
	// its stamp to stand for its content.
	settled time.Time

	mu sync.Mutex
	// unread are entries with a known stamp but unknown content, by path.
	unread map[string]*index.Entry
	// read is how many have been read, by anyone.
	read int
	// torn says that a file with two names was packed with different
	// contents.
	torn bool
}

// look calls stat for all headers. If a header's stamp has not changed, its
// known content is still right.
func (s *state) look(ctx context.Context, files []archive.File, known index.Index) (*content, error) {
	dirs := map[string][]string{}
	for _, file := range files {
		dir, name := path.Split(file.Path)
		dirs[dir] = append(dirs[dir], name)
	}
	c := &content{files: files, index: index.Index{}, settled: time.Now().Add(-s.window), unread: map[string]*index.Entry{}}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for dir, names := range dirs {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			slices.Sort(names)
			entries, unread, err := lookDir(rootFS{}.path(dir), slices.Compact(names), known[dir])
			if err != nil {
				return err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.index[dir] = entries
			for _, at := range unread {
				c.unread[dir+entries[at].Name] = &entries[at]
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("looking for changes: %w", err)
	}
	return c, nil
}

// lookDir calls stat for the named files of a directory, and returns which of
// them have changed or are new. Both lists are sorted.
func lookDir(dir string, names []string, known []index.Entry) (_ []index.Entry, unread []int, err error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	entries := make([]index.Entry, 0, len(names))
	for i, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, nil, &fs.PathError{Op: "stat", Path: filepath.Join(dir, name), Err: err}
		}
		for len(known) > 0 && known[0].Name < name {
			known = known[1:]
		}
		e := index.Entry{Name: name, Stamp: index.StampOf(&st)}
		if len(known) > 0 && known[0].Name == name && known[0].Stamp == e.Stamp {
			e.Digest = known[0].Digest
		} else {
			unread = append(unread, i)
		}
		entries = append(entries, e)
	}
	return entries, unread, nil
}

// readAll reads the headers with unknown content.
func (c *content) readAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for name, e := range c.unread {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := e.Read(rootFS{}.path(name)); err != nil {
				return err
			}
			e.Stamp = e.Stamp.Settled(c.settled)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("looking for changes: %w", err)
	}
	c.read += len(c.unread)
	clear(c.unread)
	return nil
}

// packed takes the content that a header had when it was packed, some time
// after look. If somebody wrote to the header in between, the stamp that look
// saw is either no longer the file's, or too young to be trusted, so the next
// look reads the header again.
func (c *content) packed(file archive.File, text []byte) {
	digest := sha256.Sum256(text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.unread[file.Path]; ok {
		e.Digest = digest
		e.Stamp = e.Stamp.Settled(c.settled)
		delete(c.unread, file.Path)
		c.read++
		return
	}
	if e := c.entry(file); e.Digest != digest {
		c.torn = true
	}
}

// entry returns the entry of a header.
func (c *content) entry(file archive.File) *index.Entry {
	dir, name := path.Split(file.Path)
	entries := c.index[dir]
	at, _ := slices.BinarySearchFunc(entries, name, func(e index.Entry, name string) int { return strings.Compare(e.Name, name) })
	return &entries[at]
}

// id is a digest of the names and contents of all headers. All must be known.
func (c *content) id() string {
	h := sha256.New()
	for _, file := range c.files {
		fmt.Fprintf(h, "%d:%s", len(file.Name), file.Name)
		h.Write(c.entry(file).Digest[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// remember saves what was packed for the next time. If that fails, the next
// time just takes longer.
func (s *state) remember(c *content, result Result) {
	if c.torn || len(c.unread) > 0 {
		return
	}
	text, err := json.MarshalIndent(record{Options: s.options, Content: c.id(), Result: result}, "", "\t")
	if err == nil && index.Save(s.index, c.index) == nil {
		_ = renameio.WriteFile(s.record, text, 0o644)
	}
}

// confirm saves what was learned about files that were touched, or whose stamps
// were too young to be trusted, and returns the result.
func (s *state) confirm(c *content, result Result) Result {
	if c.read > 0 {
		_ = index.Save(s.index, c.index)
	}
	return result
}
