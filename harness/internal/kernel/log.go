// SPDX-License-Identifier: BSD-3-Clause

package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/kheaders/kheaders/harness/internal/hint"
)

// BuildError is a failed make. It wraps the [*run.Error].
type BuildError struct {
	// Cause is the line of the output that says why: the compiler's or
	// linker's first error, else make's. It is empty when there is none.
	Cause string
	// Lines is Cause and what followed, at most ten lines.
	Lines []string
	// Log is the file with the whole output.
	Log string
	// Err is the failure of make.
	Err error
}

// Error gives the cause in one line.
func (e *BuildError) Error() string {
	if e.Cause == "" {
		return e.Err.Error()
	}
	return e.Cause
}

// Unwrap returns the failure of make.
func (e *BuildError) Unwrap() error { return e.Err }

// causes are the lines that explain a failed build, best first.
var causes = []*regexp.Regexp{
	regexp.MustCompile(`No space left on device|Disk quota exceeded`),
	regexp.MustCompile(`: (fatal )?error: |: Error: |undefined reference to|undefined symbol: |^ERROR: modpost: |: multiple definition of|cannot find -l|internal compiler error|: Assembler messages:`),
	regexp.MustCompile(`: (command )?not found$|^\*\*\* |^(error|ERROR)[:*]| Error:|: not found\b|No such file or directory$`),
	regexp.MustCompile(`^make(\[[0-9]+\])?: \*\*\* `),
}

// remedies are what to do when a missing package is the cause.
var remedies = []struct {
	cause  *regexp.Regexp
	advice string
}{
	{regexp.MustCompile(`\b(libelf|gelf)\.h\b|-lelf\b|libelf`), "install libelf's headers (Debian: libelf-dev)"},
	{regexp.MustCompile(`openssl/[a-z]+\.h|-l(ssl|crypto)\b`), "install OpenSSL's headers (Debian: libssl-dev)"},
	{regexp.MustCompile(`\b(gmp|mpc|mpfr|gcc-plugin)\.h\b`), "install the compiler's plugin headers (Debian: gcc-VERSION-plugin-dev)"},
}

const (
	causeLines   = 10
	maxLogLine   = 4 << 10 // how much of a line is examined, in bytes
	causeUnknown = "the log has make's whole output"
)

// buildError explains a failed make from what it wrote to the log, from offset
// on, as people would put it.
func buildError(failure error, log string, offset int64, put func(line string) string) error {
	lines, err := findCause(log, offset)
	if err != nil {
		return errors.Join(failure, fmt.Errorf("reading the build's log: %w", err))
	}
	for i := range lines {
		lines[i] = put(lines[i])
	}
	e := &BuildError{Lines: lines, Log: log, Err: failure}
	advice := causeUnknown
	if len(lines) > 0 {
		e.Cause = lines[0]
		for _, r := range remedies {
			if r.cause.MatchString(e.Cause) {
				advice = r.advice
				break
			}
		}
	}
	return hint.New(e, advice)
}

// ExplainMake explains the failure of another make, that of a module for the
// kernel, from its log: it returns a [*BuildError] with a hint.
func (k Kernel) ExplainMake(failure error, log string) error {
	return buildError(failure, log, 0, naming(k.SourceDir, k.named))
}

// naming returns what replaces the name of our copy by that of the user's tree.
func naming(source, named string) func(line string) string {
	return func(line string) string { return strings.ReplaceAll(line, source, named) }
}

// findCause returns the line of the log that best explains a failure, and the
// lines after it.
func findCause(path string, offset int64) (_ []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	best := len(causes) // rank of the best line so far
	var found []string
	r := bufio.NewReaderSize(f, maxLogLine)
	for {
		text, more, err := r.ReadLine()
		line := strings.TrimSpace(string(text)) // a copy: ReadLine reuses its buffer
		for more && err == nil {
			_, more, err = r.ReadLine()
		}
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(line, "+ ") { // the command line, written by run
			continue
		}
		rank := 0
		for rank < best && !causes[rank].MatchString(line) {
			rank++
		}
		switch {
		case rank < best:
			best, found = rank, []string{line}
		case len(found) > 0 && len(found) < causeLines:
			found = append(found, line)
		}
	}
}
