// SPDX-License-Identifier: BSD-3-Clause

// Package snapshot keeps a copy of a kernel tree that somebody else edits.
//
// Make goes by the times of files, and those of a user's tree prove little: a
// file may come back with its old date, and a tree may be switched by something
// that keeps dates. So kernels are built from a copy, in which a file gets a new
// time exactly when its content is another than at the last look. Nobody edits
// that copy while it is being built, and no build writes to the user's tree.
package snapshot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kheaders/kheaders/harness/internal/index"
)

// Update makes the copy equal to the user's tree. A file that changes while it
// is being copied is in the copy as it was read, and so in the ID; the next
// update reads it again. If Update fails, or is killed, the next one mends it.
func Update(ctx context.Context, o Options) (Tree, error) {
	u := &update{
		Options: o, settled: time.Now().Add(-cmp.Or(o.Window, index.Window)), old: index.Load(o.Index),
		tree: Tree{files: index.Index{}}, digests: map[string][sha256.Size]byte{}, added: map[string]bool{},
	}
	// Without an index, the copy is compared by its content.
	u.begin = sync.OnceValue(func() error {
		if err := os.Remove(o.Index); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	switch err := os.Mkdir(o.To, 0o755); {
	case err == nil:
		u.fresh, u.old = true, nil
	case errors.Is(err, fs.ErrExist):
		u.tree.Opaque = u.old == nil // an update has not come to its end
	default:
		return Tree{}, fmt.Errorf("copying the kernel tree: %w", err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	u.group = group
	group.Go(func() error { return u.walk(groupCtx, ".", nil) })
	err := group.Wait()
	if err == nil {
		err = u.finish(ctx)
	}
	if err != nil {
		return Tree{}, fmt.Errorf("copying the kernel tree: %w", err)
	}
	return u.tree, nil
}

// finish completes the copy and the ID, and saves the index.
func (u *update) finish(ctx context.Context) error {
	for dir, entries := range u.old {
		// A directory that is a link by now leads to files that stay.
		if u.tree.files[dir] != nil {
			continue
		}
		path := filepath.Join(u.To, dir)
		if at, err := filepath.EvalSymlinks(path); err != nil || at != path {
			continue
		}
		for _, e := range entries {
			if err := u.remove(filepath.Join(dir, e.Name)); err != nil {
				return err
			}
		}
	}
	if err := u.renew(ctx); err != nil {
		return err
	}
	h := sha256.New()
	for _, dir := range slices.Sorted(maps.Keys(u.digests)) {
		digest := u.digests[dir]
		fmt.Fprintf(h, "%d:%s%s", len(dir), dir, digest[:])
	}
	u.tree.ID = hex.EncodeToString(h.Sum(nil))
	if u.tree.Opaque && u.Discard != nil {
		if err := u.Discard(); err != nil {
			return err
		}
	}
	if u.tree.Changed > 0 {
		// The index must not survive a crash that the copy does not.
		if err := SyncFileSystem(u.To); err != nil {
			return err
		}
	}
	if u.tree.Changed == 0 && u.tree.Read == 0 && u.old != nil {
		return nil
	}
	return index.Save(u.Index, u.tree.files)
}

// renew gives a new time to every file that has the base name of an added one.
// The compiler may find the added one first from now on, and make does not know.
func (u *update) renew(ctx context.Context) error {
	if u.old == nil || len(u.added) == 0 {
		return nil
	}
	now := time.Now()
	for dir, entries := range u.tree.files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, e := range entries {
			path := filepath.Join(u.To, dir, e.Name)
			if !u.added[e.Name] {
				continue
			}
			if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
				continue // a link may lead nowhere
			}
			if err := os.Chtimes(path, now, now); err != nil {
				return err
			}
		}
	}
	if u.Added == nil {
		return nil
	}
	return u.Added(u.added)
}

// walk copies the directory dir, and those below it in parallel. via are the
// real paths of the directories outside the tree that led there.
func (u *update) walk(ctx context.Context, dir string, via []string) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if dir != "." && ignoresItself(filepath.Join(u.From, dir)) {
		return u.clear(dir, nil, nil)
	}
	d, err := os.Open(filepath.Join(u.From, dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	list, err := d.ReadDir(-1)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	var items []item
	subs := map[string][]string{} // what led to each
	for _, entry := range list {
		name := filepath.Join(dir, entry.Name())
		if !isSource(entry.Name(), entry.IsDir()) || u.Skip != nil && u.Skip(name) {
			continue
		}
		if entry.IsDir() {
			subs[name] = via
			continue
		}
		to := resolved{file: name}
		if entry.Type()&fs.ModeSymlink != 0 {
			if to, err = u.resolve(name, via); err != nil {
				return err
			}
		}
		if to.dir != "" {
			if isSource(entry.Name(), true) {
				subs[name] = append(slices.Clone(via), to.dir)
			}
			continue
		}
		i := item{path: cmp.Or(to.file, name), link: to.link}
		if i.path == name { // in the directory itself
			err = i.look(int(d.Fd()), entry.Name())
		} else {
			err = i.look(unix.AT_FDCWD, i.path)
		}
		i.entry.Name = entry.Name()
		if err != nil {
			return err
		}
		items = append(items, i)
	}
	if err := u.clear(dir, items, subs); err != nil {
		return err
	}
	if err := u.files(dir, items); err != nil {
		return err
	}
	for _, sub := range slices.Sorted(maps.Keys(subs)) {
		walk := func() error { return u.walk(ctx, sub, subs[sub]) }
		// TryGo never blocks: while every worker is busy, this one goes on by
		// itself.
		if !u.group.TryGo(walk) {
			if err := walk(); err != nil {
				return err
			}
		}
	}
	return nil
}

// files copies those files of a directory that are not in the copy already.
func (u *update) files(dir string, items []item) error {
	old := u.old[dir]
	entries := make([]index.Entry, 0, len(items))
	var sum []byte // what goes into the directory's digest
	var changed, read int
	var added []string
	for _, i := range items {
		for len(old) > 0 && old[0].Name < i.entry.Name {
			old = old[1:]
		}
		known := len(old) > 0 && old[0].Name == i.entry.Name
		if known && old[0].Stamp == i.entry.Stamp {
			i.entry.Digest = old[0].Digest
		} else {
			if !u.fresh { // put does it as well
				if err := u.digest(&i); err != nil {
					return err
				}
			}
			read++
			put := !known || old[0].Digest != i.entry.Digest
			if !u.fresh && (!put || u.old == nil) {
				same, err := u.has(dir, i)
				if err != nil {
					return err
				}
				put = !same
			}
			if put {
				if err := u.put(dir, &i); err != nil {
					return err
				}
				changed++
			}
			if !known {
				added = append(added, i.entry.Name)
			}
			i.entry.Stamp = i.entry.Stamp.Settled(u.settled)
		}
		sum = append(sum, i.kind)
		sum = binary.LittleEndian.AppendUint32(sum, uint32(len(i.entry.Name)))
		sum = append(sum, i.entry.Name...)
		sum = append(sum, i.entry.Digest[:]...)
		entries = append(entries, i.entry)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tree.Read += read
	u.tree.Changed += changed
	for _, name := range added {
		if !isMakefile(name) {
			u.added[name] = true
		}
	}
	if len(entries) > 0 {
		u.tree.files[dir] = entries
		u.digests[dir] = sha256.Sum256(sum)
	}
	return nil
}

// isMakefile reports whether a name is one that no search path leads to.
func isMakefile(name string) bool {
	return name == "Makefile" || strings.HasPrefix(name, "Kbuild") || strings.HasPrefix(name, "Kconfig")
}

// digest reads a file.
func (u *update) digest(i *item) error {
	if i.link != "" {
		i.entry.Digest = sha256.Sum256([]byte(i.link))
		return nil
	}
	return i.entry.Read(u.in(i.path))
}
