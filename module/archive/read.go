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

// Info describes an archive.
type Info struct {
	// Release is the kernel release, as uname -r prints it; empty when the
	// archive has no include/generated/utsrelease.h.
	Release string `json:"release"`
	// SrcArch is the name of the directory below arch/.
	SrcArch string `json:"srcarch"`
	// Bits is the size of the kernel's pointers: 32 or 64.
	Bits int `json:"bits"`
	// Files and Dirs count the entries, including the root directory.
	Files int `json:"files"`
	Dirs  int `json:"dirs"`
	// Links counts the symbolic links. Archives of the kernel's own generator
	// have some.
	Links int `json:"links"`
	// HeaderBytes is the total size of the headers.
	HeaderBytes int64 `json:"header_bytes"`
	// TarBytes is the size of the tar.
	TarBytes int64 `json:"tar_bytes"`
	// ModTime is the latest time stamp of any entry.
	ModTime time.Time `json:"mod_time"`
	// Size and SHA256 (in hex) are those of the archive itself.
	Size        int64       `json:"size"`
	SHA256      string      `json:"sha256"`
	Compression Compression `json:"compression"`
}

// Compression says how an archive is compressed.
type Compression struct {
	// Check is the integrity check: none, crc32, crc64 or sha256.
	Check string `json:"check"`
	// Streams and Blocks count the parts; blocks can be decompressed in
	// parallel.
	Streams int `json:"streams"`
	Blocks  int `json:"blocks"`
	// DictBytes is the size of the largest dictionary: the memory that a reader
	// needs.
	DictBytes int64 `json:"dict_bytes"`
	// LZMA has the coder's parameters, such as "lc=3,lp=0,pb=2".
	LZMA string `json:"lzma,omitempty"`
}

// Limits bounds what reading an archive may cost. A zero field means the value
// in [DefaultLimits].
type Limits struct {
	// ArchiveBytes bounds the archive itself, which is read into memory.
	ArchiveBytes int64
	// TarBytes bounds the tar, and with it the content.
	TarBytes int64
	// DictBytes bounds the memory for decompression.
	DictBytes int64
	// Entries bounds the number of files and directories.
	Entries int
}

// DefaultLimits is many times what any kernel needs.
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

// Entry is a file, directory or symbolic link in an archive.
type Entry struct {
	// Name is its path, without a leading "./"; the root is ".". It passes
	// [fs.ValidPath], so it cannot lead out of the archive.
	Name string
	// Dir is true for directories.
	Dir bool
	// Size is a file's length in bytes.
	Size int64
	// Link is the target of a symbolic link: a file in the same archive, or a
	// link to one. The path is relative to the archive's root, and the target
	// may come before or after the link. Empty for files and directories.
	Link string
}

// Read reads and checks a whole archive, and describes it. Errors wrap
// [ErrFormat] when the archive is damaged or not an archive, and are a
// [*LimitError] when it is too large.
func Read(ctx context.Context, r io.Reader, limits Limits) (Info, error) {
	return Walk(ctx, r, limits, func(Entry, io.Reader) error { return nil })
}

// Walk is like [Read], and calls visit for each entry. visit may leave any part
// of a file's text unread. Entries come in the order of the archive: a directory
// comes before its contents, and nothing comes twice. The archive is known to be
// intact only once Walk has returned without an error.
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
	// The blocks are checked only when the stream is read to its end. The zeros
	// that end a tar must be there, and nothing after them.
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

// tarError wraps an error of the tar reader in [ErrFormat]. The decompressor's
// errors already are, and pass unchanged.
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

// walker checks the entries in turn.
type walker struct {
	info   *Info
	kinds  map[string]bool // true for directories
	links  map[string]string
	sizes  map[string]int64 // of files
	limits Limits
	visit  func(Entry, io.Reader) error

	autoconf, release []byte
}

// headBytes is how much to keep of each header that identifies the kernel.
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
			return badFormat("%s is a link to %q, outside the archive", name, header.Linkname)
		}
		w.info.Links++
		w.links[name] = to
		return w.visit(Entry{Name: name, Link: to}, bytes.NewReader(nil))
	}
	w.info.Files++
	w.sizes[name] = header.Size
	// Sparse files are longer than their data in the tar.
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

// resolve checks that every link ends at a file, and that copies of those files
// stay within the limit.
func (w *walker) resolve() error {
	content := w.info.HeaderBytes
	for name := range w.links {
		to, err := followLink(w.links, name)
		if err != nil {
			return err
		}
		size, ok := w.sizes[to]
		if !ok {
			return badFormat("%s is a link to %s, which is not a header in the archive", name, to)
		}
		if content += size; content > w.limits.TarBytes {
			return &LimitError{What: "bytes of content", Limit: w.limits.TarBytes}
		}
	}
	return nil
}

// followLink follows links from name, and returns the first name that is not a
// link.
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

// identify finds out which kernel the headers are from.
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
