// SPDX-License-Identifier: BSD-3-Clause

package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hangIn, in the environment, makes this test binary a run that builds an entry
// in the store at that path and never ends.
const hangIn = "CACHE_TEST_HANG_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(hangIn); dir != "" {
		_, err := Store{Dir: dir}.Get(context.Background(), "kind", "key", func(_ context.Context, dir string) ([]string, error) {
			if err := os.WriteFile(filepath.Join(dir, "out"), []byte("half"), 0o644); err != nil {
				return nil, err
			}
			if _, err := os.Stdout.WriteString("building\n"); err != nil {
				return nil, err
			}
			time.Sleep(time.Hour)
			return []string{"out"}, nil
		})
		if err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// writer returns a build function that counts its calls and writes text to two
// files: "out", which is an output, and "beside", which is not.
func writer(text string, calls *atomic.Int32) func(context.Context, string) ([]string, error) {
	return func(_ context.Context, dir string) ([]string, error) {
		calls.Add(1)
		for _, name := range []string{"out", "beside"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				return nil, err
			}
		}
		return []string{"out"}, nil
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func missing(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is there (%v)", path, err)
	}
}

func TestKeyOf(t *testing.T) {
	if KeyOf("ab", "c") == KeyOf("a", "bc") {
		t.Error("where a part ends makes no difference")
	}
	if KeyOf("a") == KeyOf("a", "") {
		t.Error("an empty part makes no difference")
	}
	if a, b := KeyOf("a", "b"), KeyOf("a", "b"); a != b {
		t.Errorf("the same parts give %s and %s", a, b)
	}
}

func TestGet(t *testing.T) {
	store := Store{Dir: filepath.Join(t.TempDir(), "store")}
	var calls atomic.Int32
	for i, wantHit := range []bool{false, true, true} {
		e, err := store.Get(t.Context(), "kind", "key", writer("text", &calls))
		if err != nil {
			t.Fatal(err)
		}
		if e.Hit != wantHit {
			t.Errorf("Get %d: Hit is %v", i, e.Hit)
		}
		if got := content(t, e.Path("out")); got != "text" {
			t.Errorf("Get %d: the output is %q", i, got)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("built %d times", calls.Load())
	}
}

// TestGetDirIsFinal checks that entries are built in their final place, because
// object trees contain their own path.
func TestGetDirIsFinal(t *testing.T) {
	t.Chdir(t.TempDir())
	var seen string
	e, err := Store{Dir: "store"}.Get(t.Context(), "kind", "key", func(_ context.Context, dir string) ([]string, error) {
		seen = dir
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen != e.Dir || !filepath.IsAbs(seen) {
		t.Errorf("built in %q, found in %q", seen, e.Dir)
	}
}

// An entry is the same no matter which links lead to its cache.
func TestGetThroughLinks(t *testing.T) {
	place, linked := t.TempDir(), t.TempDir()
	var calls atomic.Int32
	want, err := Store{Dir: place}.Get(t.Context(), "kind", "key", writer("text", &calls))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(place, "kind"), filepath.Join(linked, "kind")); err != nil {
		t.Fatal(err)
	}
	got, err := Store{Dir: linked}.Get(t.Context(), "kind", "key", writer("text", &calls))
	if err != nil || got.Dir != want.Dir || !got.Hit || calls.Load() != 1 {
		t.Errorf("%+v, %v after %d builds; want %s", got, err, calls.Load(), want.Dir)
	}
}

func TestGetRebuildsDamaged(t *testing.T) {
	damages := map[string]func(dir string) error{
		"changed": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "out"), []byte("TEXT"), 0o644)
		},
		"cut short":   func(dir string) error { return os.Truncate(filepath.Join(dir, "out"), 1) },
		"removed":     func(dir string) error { return os.Remove(filepath.Join(dir, "out")) },
		"no manifest": func(dir string) error { return os.Remove(filepath.Join(dir, "kheaders-cache.json")) },
		"manifest cut": func(dir string) error {
			return os.Truncate(filepath.Join(dir, "kheaders-cache.json"), 5)
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			store := Store{Dir: t.TempDir()}
			var calls atomic.Int32
			e, err := store.Get(t.Context(), "kind", "key", writer("text", &calls))
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(e.Dir); err != nil {
				t.Fatal(err)
			}
			e, err = store.Get(t.Context(), "kind", "key", func(ctx context.Context, dir string) ([]string, error) {
				missing(t, filepath.Join(dir, "beside"))
				return writer("text", &calls)(ctx, dir)
			})
			if err != nil {
				t.Fatal(err)
			}
			if e.Hit || calls.Load() != 2 {
				t.Errorf("Hit is %v after %d builds", e.Hit, calls.Load())
			}
			if got := content(t, e.Path("out")); got != "text" {
				t.Errorf("the output is %q", got)
			}
		})
	}
}

func TestGetFailure(t *testing.T) {
	store := Store{Dir: t.TempDir()}
	boom := errors.New("boom")
	var dir string
	_, err := store.Get(t.Context(), "kind", "key", func(_ context.Context, d string) ([]string, error) {
		dir = d
		return nil, boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("the error is %v", err)
	}
	missing(t, dir)

	_, err = store.Get(t.Context(), "kind", "key", func(context.Context, string) ([]string, error) {
		return []string{"promised"}, nil
	})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error of a missing output is %v", err)
	}
	missing(t, dir)
}

func TestKeep(t *testing.T) {
	store := Store{Dir: t.TempDir()}
	boom := errors.New("boom")
	fail := func(_ context.Context, dir string) ([]string, error) {
		err := Keep(errors.Join(boom, os.WriteFile(filepath.Join(dir, "log"), nil, 0o644)))
		return nil, fmt.Errorf("outer: %w", err)
	}
	kept := filepath.Join(store.Dir, "kind", "key")
	var calls atomic.Int32

	// The next Get of the same entry builds it from scratch.
	if _, err := store.Get(t.Context(), "kind", "key", fail); !errors.Is(err, boom) || err.Error() != "outer: boom" {
		t.Errorf("the error is %v", err)
	}
	content(t, filepath.Join(kept, "log"))
	if e, err := store.Get(t.Context(), "kind", "key", writer("text", &calls)); err != nil || e.Hit {
		t.Errorf("Get after a failure: %+v, %v", e, err)
	}
	missing(t, filepath.Join(kept, "log"))

	// So does the next Get of another entry that has something to build. It
	// leaves finished entries alone.
	if _, err := store.Get(t.Context(), "kind", "other", fail); !errors.Is(err, boom) {
		t.Errorf("the error is %v", err)
	}
	if _, err := store.Get(t.Context(), "kind", "third", writer("text", &calls)); err != nil {
		t.Fatal(err)
	}
	missing(t, filepath.Join(store.Dir, "kind", "other"))
	if e, err := store.Get(t.Context(), "kind", "key", fail); err != nil || !e.Hit {
		t.Errorf("Get of a finished entry: %+v, %v", e, err)
	}
}

func TestGetConcurrent(t *testing.T) {
	var waits atomic.Int32
	store := Store{Dir: t.TempDir(), OnWait: func(string, Key) { waits.Add(1) }}
	var calls atomic.Int32
	const callers = 8
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			e, err := store.Get(t.Context(), "kind", "key", func(ctx context.Context, dir string) ([]string, error) {
				for deadline := time.Now().Add(10 * time.Second); waits.Load() < callers-1; time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						return nil, errors.New("the others do not wait")
					}
				}
				return writer("text", &calls)(ctx, dir)
			})
			if err != nil {
				t.Error(err)
				return
			}
			if got := content(t, e.Path("out")); got != "text" {
				t.Errorf("the output is %q", got)
			}
		})
	}
	wg.Wait()
	if calls.Load() != 1 || waits.Load() != callers-1 {
		t.Errorf("built %d times, waited %d times", calls.Load(), waits.Load())
	}
}

// TestGetLeavesOthersAlone checks that sweeping spares unfinished entries that
// somebody may be working on.
func TestGetLeavesOthersAlone(t *testing.T) {
	store := Store{Dir: t.TempDir()}
	var calls atomic.Int32
	_, err := store.Get(t.Context(), "kind", "outer", func(ctx context.Context, dir string) ([]string, error) {
		names, err := writer("outer", &calls)(ctx, dir)
		if err != nil {
			return nil, err
		}
		if _, err := store.Get(ctx, "kind", "inner", writer("inner", &calls)); err != nil {
			return nil, err
		}
		return names, nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestGetCancelledWhileWaiting(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	store := Store{Dir: t.TempDir(), OnWait: func(string, Key) { cancel(enough) }}
	var calls atomic.Int32
	_, err := store.Get(t.Context(), "kind", "key", func(_ context.Context, dir string) ([]string, error) {
		if _, err := store.Get(ctx, "kind", "key", writer("text", &calls)); !errors.Is(err, enough) {
			t.Errorf("the error is %v", err)
		}
		return writer("text", &calls)(ctx, dir)
	})
	if err != nil || calls.Load() != 1 {
		t.Errorf("%v after %d builds", err, calls.Load())
	}
}

// TestGetAfterKill kills a run in the middle of a build.
func TestGetAfterKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), hangIn+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil || !strings.HasPrefix(string(line[:n]), "building") {
		t.Fatalf("the other run says %q, %v", line[:n], err)
	}

	// While the run lives, nobody takes its work.
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var calls atomic.Int32
	store := Store{Dir: dir}
	if _, err := store.Get(ctx, "kind", "key", writer("whole", &calls)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	if got := content(t, filepath.Join(dir, "kind", "key", "out")); got != "half" {
		t.Errorf("the other run's output is %q", got)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the other run ended well")
	}
	e, err := store.Get(t.Context(), "kind", "key", writer("whole", &calls))
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, e.Path("out")); e.Hit || got != "whole" || calls.Load() != 1 {
		t.Errorf("Hit is %v, the output %q after %d builds", e.Hit, got, calls.Load())
	}
}

func TestGetUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	if _, err := (Store{Dir: file}).Get(t.Context(), "kind", "key", writer("text", &calls)); err == nil || calls.Load() != 0 {
		t.Errorf("%v after %d builds", err, calls.Load())
	}
}

func TestTryLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	lock.Release()
	if lock, err = TryLock(path); err != nil {
		t.Fatalf("locked again: %v", err)
	}
	lock.Release()
	if _, err := TryLock(path + "/x"); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("below a file: %v", err)
	}
}
