// SPDX-License-Identifier: BSD-3-Clause

package archive_test

import (
	"errors"
	"io"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/kheaders/kheaders/module/archive"
)

// changingFS is a kernel with a header that changes between two calls of Stat.
type changingFS struct {
	fstest.MapFS
	before, after fstest.MapFile
}

type changingFile struct {
	fs.File
	infos []fs.FileInfo
}

func (c changingFS) Open(name string) (fs.File, error) {
	f, err := c.MapFS.Open(name)
	if name != "src/include/linux/types.h" || err != nil {
		return f, err
	}
	var infos []fs.FileInfo
	for _, m := range []fstest.MapFile{c.before, c.after} {
		info, err := fs.Stat(fstest.MapFS{"types.h": &m}, "types.h")
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return &changingFile{f, infos}, nil
}

func (c *changingFile) Stat() (fs.FileInfo, error) {
	info := c.infos[0]
	c.infos = append(c.infos[1:], info)
	return info, nil
}

func TestWriteSeesChanges(t *testing.T) {
	text := kernel()["src/include/linux/types.h"].Data
	for name, fsys := range map[string]changingFS{
		"same size, written to": {before: fstest.MapFile{Data: text}, after: fstest.MapFile{Data: text, ModTime: stamp}},
		"grown meanwhile":       {before: fstest.MapFile{Data: text}, after: fstest.MapFile{Data: append(text, 'x')}},
		"grown when read":       {before: fstest.MapFile{Data: text[1:]}, after: fstest.MapFile{Data: text[1:]}},
		"cut":                   {before: fstest.MapFile{Data: append(text, 'x')}, after: fstest.MapFile{Data: append(text, 'x')}},
		"no file any more":      {before: fstest.MapFile{Data: text, Mode: fs.ModeNamedPipe}, after: fstest.MapFile{Data: text}},
	} {
		fsys.MapFS = kernel()
		_, err := archive.Write(t.Context(), io.Discard, toyTrees(fsys), archive.Options{})
		changed, ok := errors.AsType[*archive.ChangedError](err)
		if !ok || changed.Path != "src/include/linux/types.h" {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	same := changingFS{kernel(), fstest.MapFile{Data: text}, fstest.MapFile{Data: text}}
	if _, err := archive.Write(t.Context(), io.Discard, toyTrees(same), archive.Options{}); err != nil {
		t.Errorf("nothing changed: %v", err)
	}
}
