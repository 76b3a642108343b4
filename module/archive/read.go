// SPDX-License-Identifier: BSD-3-Clause

package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"time"
)

// Info tells what an archive is.
type Info struct {
	// Release is the kernel's release, as uname -r prints it; empty when
	// the archive has no include/generated/utsrelease.h.
	Release string `json:"release"`
	// SrcArch is the name of the directory below arch/.
	SrcArch string `json:"srcarch"`
	// Bits is the size of the kernel's pointers: 32 or 64.
	Bits int `json:"bits"`
	// Files and Dirs count the entries, the root directory among them.
	Files int `json:"files"`
	Dirs  int `json:"dirs"`
	// Links counts the symbolic links, which the kernel's own generator
	// leaves in its archives.
	Links int `json:"links"`
	// HeaderBytes is the size of all headers.
	HeaderBytes int64 `json:"header_bytes"`
	// TarBytes is the size of the tar.
	TarBytes int64 `json:"tar_bytes"`
	// ModTime is the latest time stamp of the entries.
	ModTime time.Time `json:"mod_time"`
	// Size and SHA256 (in hex) are those of the archive itself.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Compression says how it is compressed.
	Compression Compression `json:"compression"`
}

// Compression says how an archive is compressed.
type Compression struct {
	// Check is the integrity check: none, crc32, crc64, sha256.
	Check string `json:"check"`
	// Streams and Blocks count the parts; blocks can be decompressed in
	// parallel.
	Streams int `json:"streams"`
	Blocks  int `json:"blocks"`
	// DictBytes is the largest dictionary, the memory that a reader needs.
	DictBytes int64 `json:"dict_bytes"`
	// LZMA holds the parameters of the coder, such as "lc=3,lp=0,pb=2".
	LZMA string `json:"lzma,omitempty"`
}

// Limits bound what reading an archive may cost. Zero values stand for those
// of [DefaultLimits].
type Limits struct {
	// ArchiveBytes bounds the archive itself, which is held in memory.
	ArchiveBytes int64
	// TarBytes bounds the tar, and with it the content.
	TarBytes int64
	// DictBytes bounds the memory for decompression.
	DictBytes int64
	// Entries bounds the number of files and directories.
	Entries int
}

// DefaultLimits are many times what a kernel has.
var DefaultLimits = Limits{
	ArchiveBytes: 64 << 20,
	TarBytes:     1 << 30,
	DictBytes:    128 << 20,
	Entries:      200_000,
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits
	if l.ArchiveBytes > 0 {
		d.ArchiveBytes = l.ArchiveBytes
	}
	if l.TarBytes > 0 {
		d.TarBytes = l.TarBytes
	}
	if l.DictBytes > 0 {
		d.DictBytes = l.DictBytes
	}
	if l.Entries > 0 {
		d.Entries = l.Entries
	}
	return d
}

// LimitError says that an archive is larger than the reader allows.
type LimitError struct {
	// What is being counted.
	What string
	// Limit is the most that is allowed.
	Limit int64
}

// Error names the limit.
func (e *LimitError) Error() string {
	return fmt.Sprintf("the archive has more than %d %s", e.Limit, e.What)
}

// Entry is a file, a directory or a symbolic link of an archive.
type Entry struct {
	// Name is its path, without a leading "./"; the root is ".". It is
	// valid in the sense of [fs.ValidPath]: it leads nowhere else.
	Name string
	// Dir tells a directory from a file.
	Dir bool
	// Size is that of a file, in bytes.
	Size int64
	// Link is where a symbolic link leads: to a file of the same archive, or
	// to a link to one. It is named as from the archive's root, and comes
	// before or after the link. Empty for files and directories.
	Link string
}

// Read reads a whole archive, checks it, and tells what it is. Errors wrap
// [ErrFormat] when the archive is damaged or none, and are a [*LimitError]
// when it is too large.
func Read(ctx context.Context, r io.Reader, limits Limits) (Info, error) {
	return Walk(ctx, r, limits, func(Entry, io.Reader) error { return nil })
}

// Walk is [Read] with a look at each entry. visit gets the text of files, of
// which it may leave as much unread as it likes. Entries come in the order of
// the archive, a directory before what is in it and none twice. Until Walk
// has returned without an error, nothing is known to be intact.
func Walk(ctx context.Context, r io.Reader, limits Limits, visit func(e Entry, text io.Reader) error) (Info, error) {
	limits = limits.orDefault()
	data, err := io.ReadAll(io.LimitReader(r, limits.ArchiveBytes+1))
	if err != nil {
		return Info{}, fmt.Errorf("reading the archive: %w", err)
	}
	if int64(len(data)) > limits.ArchiveBytes {
		return Info{}, &LimitError{What: "bytes", Limit: limits.ArchiveBytes}
	}
	c, err := parseContainer(data, limits.TarBytes, limits.DictBytes)
	if err != nil {
		return Info{}, err
	}
	digest := sha256.Sum256(data)
	info := Info{
		Size:   int64(len(data)),
		SHA256: hex.EncodeToString(digest[:]),
		Compression: Compression{
			Check:   c.checkName,
			Streams: c.streams,
			Blocks:  len(c.blocks),
		},
	}
	for _, b := range c.blocks {
		info.TarBytes += b.size
		info.Compression.DictBytes = max(info.Compression.DictBytes, b.dict)
		if info.Compression.LZMA == "" {
			info.Compression.LZMA = b.params
		}
	}
	w := walker{info: &info, kinds: map[string]bool{".": true}, links: map[string]string{}, sizes: map[string]int64{}, limits: limits, visit: visit}
	in := &tailReader{r: c.reader()}
	t := tar.NewReader(in)
	for {
		if ctx.Err() != nil {
			return Info{}, context.Cause(ctx)
		}
		header, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Info{}, tarError(err)
		}
		if err := w.entry(header, t); err != nil {
			return Info{}, err
		}
	}
	// Only the rest of the stream shows that the blocks are intact. It must
	// be empty, and the mark of the tar's end be there.
	if n, err := io.Copy(io.Discard, in); err != nil {
		return Info{}, tarError(err)
	} else if n > in.zeros {
		return Info{}, badFormat("something follows the end of the tar")
	}
	if in.zeros < tarEndBytes {
		return Info{}, badFormat("the end of the tar is missing")
	}
	if err := w.resolve(); err != nil {
		return Info{}, err
	}
	if err := w.identify(); err != nil {
		return Info{}, err
	}
	return info, nil
}

// tarError gives errors of the tar reader our class, and leaves those of the
// decompressor as they are.
func tarError(err error) error {
	if errors.Is(err, ErrFormat) {
		return err
	}
	return badFormat("the tar: %v", err)
}

// tarEndBytes is how many zeros end a tar.
const tarEndBytes = 1024

// tailReader counts the zeros at the end of what it has read.
type tailReader struct {
	r     io.Reader
	zeros int64
}

func (t *tailReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	text := bytes.TrimRight(p[:n], "\x00")
	if len(text) > 0 {
		t.zeros = 0
	}
	t.zeros += int64(n - len(text))
	return n, err
}

// walker checks one entry after the other.
type walker struct {
	info   *Info
	kinds  map[string]bool // true for directories
	links  map[string]string
	sizes  map[string]int64 // of files
	limits Limits
	visit  func(Entry, io.Reader) error

	autoconf, release []byte
}

// headBytes is how much of the headers that identify the kernel is kept.
const headBytes = 4 << 20

func (w *walker) entry(header *tar.Header, text io.Reader) error {
	name := strings.TrimPrefix(header.Name, "./")
	dir := header.Typeflag == tar.TypeDir
	if dir {
		name = strings.TrimSuffix(name, "/")
	}
	if name == "" {
		name = "."
	}
	switch {
	case !fs.ValidPath(name) || strings.ContainsAny(name, "\x00\\"):
		return badFormat("it has an entry named %q", header.Name)
	case !dir && header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeSymlink:
		return badFormat("%s is neither a file nor a directory", name)
	case !dir && name == ".":
		return badFormat("its root is a file")
	}
	if w.info.Files+w.info.Dirs+w.info.Links >= w.limits.Entries {
		return &LimitError{What: "entries", Limit: int64(w.limits.Entries)}
	}
	if _, ok := w.kinds[name]; ok && name != "." {
		return badFormat("it has %s twice", name)
	}
	if name != "." {
		if parent, ok := w.kinds[path.Dir(name)]; !ok || !parent {
			return badFormat("%s comes before its directory", name)
		}
		w.kinds[name] = dir
	}
	if header.ModTime.After(w.info.ModTime) {
		w.info.ModTime = header.ModTime.UTC()
	}
	if dir {
		w.info.Dirs++
		return w.visit(Entry{Name: name, Dir: true}, bytes.NewReader(nil))
	}
	if header.Typeflag == tar.TypeSymlink {
		to := path.Join(path.Dir(name), header.Linkname)
		if path.IsAbs(header.Linkname) || !fs.ValidPath(to) || strings.ContainsAny(to, "\x00\\") {
			return badFormat("%s is a link to %q, outside", name, header.Linkname)
		}
		w.info.Links++
		w.links[name] = to
		return w.visit(Entry{Name: name, Link: to}, bytes.NewReader(nil))
	}
	w.info.Files++
	w.sizes[name] = header.Size
	// Sparse files are longer than what stands in the tar.
	if w.info.HeaderBytes += header.Size; header.Size > w.limits.TarBytes || w.info.HeaderBytes > w.limits.TarBytes {
		return &LimitError{What: "bytes of content", Limit: w.limits.TarBytes}
	}
	switch name {
	case autoconf, utsrelease:
		head, err := io.ReadAll(io.LimitReader(text, headBytes))
		if err != nil {
			return tarError(err)
		}
		if name == autoconf {
			w.autoconf = head
		} else {
			w.release = head
		}
		text = io.MultiReader(bytes.NewReader(head), text)
	}
	return w.visit(Entry{Name: name, Size: header.Size}, text)
}

var (
	releaseLine = regexp.MustCompile(`(?m)^#define UTS_RELEASE "([^"\n]{1,64})"`)
	bitsLine    = regexp.MustCompile(`(?m)^#define CONFIG_64BIT 1$`)
)

// resolve checks that every link leads to a file in the end, and that copies of
// those would not be too much.
func (w *walker) resolve() error {
	content := w.info.HeaderBytes
	for name := range w.links {
		to, err := followLink(w.links, name)
		if err != nil {
			return err
		}
		size, ok := w.sizes[to]
		if !ok {
			return badFormat("%s is a link to %s, which is no header in it", name, to)
		}
		if content += size; content > w.limits.TarBytes {
			return &LimitError{What: "bytes of content", Limit: w.limits.TarBytes}
		}
	}
	return nil
}

// followLink returns the first name after the link that is none itself.
func followLink(links map[string]string, name string) (string, error) {
	at := name
	for range maxLinks {
		to, ok := links[at]
		if !ok {
			return at, nil
		}
		at = to
	}
	return "", badFormat("%s is a link that leads back to itself", name)
}

// identify tells which kernel the headers are from.
func (w *walker) identify() error {
	if w.autoconf == nil {
		return badFormat("it has no %s", autoconf)
	}
	w.info.Bits = 32
	if bitsLine.Match(w.autoconf) {
		w.info.Bits = 64
	}
	if m := releaseLine.FindSubmatch(w.release); m != nil {
		w.info.Release = string(m[1])
	}
	for name := range w.kinds {
		arch, ok := strings.CutSuffix(name, "/include")
		if arch, ok2 := strings.CutPrefix(arch, "arch/"); ok && ok2 && !strings.Contains(arch, "/") {
			if w.info.SrcArch != "" {
				return badFormat("it has headers of two architectures")
			}
			w.info.SrcArch = arch
		}
	}
	if w.info.SrcArch == "" {
		return badFormat("it has no arch/*/include")
	}
	return nil
}
