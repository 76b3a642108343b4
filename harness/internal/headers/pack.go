// SPDX-License-Identifier: BSD-3-Clause

// Package headers packs the headers of a kernel on disk into an archive file.
package headers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/index"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/module/archive"
)

// Pack writes the headers archive of a kernel. The output appears whole,
// replacing an older one, or not at all. Mistakes in the options are
// [hint.Usage] errors; a missing xz is a [run.NotFoundError].
func Pack(ctx context.Context, opts Options) (_ Result, err error) {
	compressor, err := chooseCompressor(opts.Compressor)
	if err != nil {
		return Result{}, err
	}
	mtime, err := Timestamp(ctx)
	if err != nil {
		return Result{}, err
	}
	trees, err := openTrees(opts.Source, opts.Build, opts.Target)
	if err != nil {
		return Result{}, err
	}
	files, err := trees.Select()
	if err != nil {
		return Result{}, explain(err, opts)
	}
	var known *state
	var now *content
	var packed func(archive.File, []byte)
	if opts.State != "" {
		if known, err = openState(ctx, opts, compressor, mtime); err != nil {
			return Result{}, err
		}
		if now, err = known.look(ctx, files, index.Load(known.index)); err != nil {
			return Result{}, err
		}
		// With nothing to compare them with, the headers are read just
		// once, when they are packed.
		if last, ok := known.last(opts.Output); ok {
			if err := now.readAll(ctx); err != nil {
				return Result{}, err
			}
			if now.id() == last.Content {
				return known.confirm(now, last.Result), nil
			}
		}
		packed = now.packed
	}
	out, err := create(opts.Output)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, ignoreClosed(out.Cleanup())) }()

	digest := sha256.New()
	size := &counter{}
	sum, err := archive.WriteFiles(ctx, io.MultiWriter(out, digest, size), trees.FS, files, archive.Options{
		ModTime:      mtime,
		KeepComments: opts.KeepComments,
		Compress:     compressor.compress,
		Packed:       packed,
	})
	if err != nil {
		return Result{}, explain(err, opts)
	}
	if err := out.CloseAtomicallyReplace(); err != nil {
		return Result{}, fmt.Errorf("writing %s: %w", opts.Output, err)
	}
	result := Result{
		Path:       opts.Output,
		Size:       size.n,
		SHA256:     hex.EncodeToString(digest.Sum(nil)),
		Compressor: compressor.name,
		Summary:    sum,
	}
	if known != nil {
		known.remember(now, result)
	}
	return result, nil
}

// openTrees checks that the directories are what they should be, and opens
// them.
func openTrees(source, build string, t target.Target) (archive.Trees, error) {
	include := filepath.Join("arch", t.SrcArch, "include")
	src, err := locate(source)
	if err != nil {
		return archive.Trees{}, hint.Usage(fmt.Errorf("the source tree: %w", err), "name the directory of a kernel's source")
	}
	for _, name := range []string{filepath.Join("include", "linux", "kconfig.h"), include} {
		if _, err := os.Stat(filepath.Join(source, name)); errors.Is(err, fs.ErrNotExist) {
			advice := "name the directory of a kernel's source"
			if link, err := commonTree(source); err == nil {
				advice = "name " + link + " as the source tree, and this directory as the object tree"
			}
			return archive.Trees{}, hint.Usage(fmt.Errorf("%s is not a kernel tree: it has no %s", source, name), advice)
		} else if err != nil {
			return archive.Trees{}, fmt.Errorf("looking at the source tree: %w", err)
		}
	}
	trees := archive.Trees{FS: rootFS{}, Source: src, SrcArch: t.SrcArch}
	if build == "" {
		return trees, nil
	}
	if trees.Build, err = locate(build); err != nil {
		return archive.Trees{}, hint.Usage(fmt.Errorf("the object tree: %w", err), "name the directory that was given to make as O=")
	}
	return trees, checkArch(build, t)
}

// locate returns a directory's path relative to the root of the file system.
func locate(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("no directory given")
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if abs == "/" {
		return ".", nil
	}
	return strings.TrimPrefix(filepath.ToSlash(abs), "/"), nil
}

// commonTree guesses the source tree that belongs to an object tree: kbuild
// leaves a link to it, and Debian names it in the flavour's Makefile.
func commonTree(build string) (string, error) {
	link := filepath.Join(build, "source")
	if _, err := os.Readlink(link); err == nil {
		return filepath.EvalSymlinks(link)
	}
	text, err := os.ReadFile(filepath.Join(build, "Makefile"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "include ")
		if dir, ok2 := strings.CutSuffix(name, "/Makefile"); ok && ok2 && filepath.IsAbs(dir) {
			return dir, nil
		}
	}
	return "", fs.ErrNotExist
}

// checkArch rejects an object tree that was configured for an architecture
// other than the requested one.
func checkArch(build string, t target.Target) error {
	generated := func(t target.Target) string {
		return filepath.Join(build, "arch", t.SrcArch, "include", "generated")
	}
	if _, err := os.Stat(generated(t)); !errors.Is(err, fs.ErrNotExist) {
		return nil // or else archive.Write says what is wrong
	}
	for _, other := range target.All() {
		if _, err := os.Stat(generated(other)); err == nil && other.SrcArch != t.SrcArch {
			return hint.Usage(fmt.Errorf("%s is an object tree for %s, not %s", build, other.Name, t.Name),
				"ask for "+other.Name+", or name another object tree")
		}
	}
	return nil
}

// create makes the file that will become the output.
func create(output string) (*renameio.PendingFile, error) {
	if output == "" {
		return nil, hint.Usage(errors.New("no output file given"), "name the archive to write")
	}
	if info, err := os.Stat(output); err == nil && !info.Mode().IsRegular() {
		// Renaming would replace a device, or fail on a directory.
		return nil, hint.Usage(fmt.Errorf("the output %s is not a regular file", output), "name a file")
	}
	out, err := renameio.NewPendingFile(output, renameio.WithPermissions(0o644), renameio.WithTempDir(filepath.Dir(output)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, hint.Usage(fmt.Errorf("creating the output: %w", err), "create its directory first")
	case errors.Is(err, fs.ErrPermission):
		return nil, hint.Usage(fmt.Errorf("creating the output: %w", err), "name a directory that you may write to")
	case err != nil:
		return nil, fmt.Errorf("creating the output: %w", err)
	}
	return out, nil
}

// explain adds advice to the errors of package archive.
func explain(err error, opts Options) error {
	if e, ok := errors.AsType[*archive.NotPreparedError](err); ok {
		e.Tree = rootFS{}.path(e.Tree)
		command := "make prepare ARCH=" + opts.Target.MakeArch
		if opts.Build != "" {
			command += " O=" + opts.Build
		}
		return hint.Usage(err, "configure that kernel, and run: "+command)
	}
	if e, ok := errors.AsType[*archive.LinkError](err); ok {
		e.Path = rootFS{}.path(e.Path)
		return hint.Usage(err, "remove the link, or name the tree into which it leads")
	}
	if e, ok := errors.AsType[*archive.ChangedError](err); ok {
		e.Path = rootFS{}.path(e.Path)
		return hint.New(err, "wait for what writes to the tree to end, and run again")
	}
	return err
}

// ignoreClosed drops the error of an output that was already renamed.
func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// counter counts the bytes written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
