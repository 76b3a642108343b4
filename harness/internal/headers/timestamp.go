// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/kheaders/kheaders/harness/internal/hint"
	"github.com/kheaders/kheaders/harness/internal/run"
)

// fixedDate stamps the entries when the environment gives no date. It is not
// the epoch, because some versions of tar call that implausibly old.
var fixedDate = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)

// maxEpoch is the last second that fits a tar header's octal field.
const maxEpoch = 1<<33 - 1

// Timestamp returns the time stamp for an archive's entries: SOURCE_DATE_EPOCH
// (seconds), else KBUILD_BUILD_TIMESTAMP (whatever date -d takes, in UTC unless
// it names a zone), else a fixed date. A value that cannot be read is a usage
// error: guessing would silently give other bytes.
func Timestamp(ctx context.Context) (time.Time, error) {
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		return parseEpoch(epoch, fmt.Errorf("SOURCE_DATE_EPOCH is %q", epoch), "set it to seconds since 1970, or unset it")
	}
	date := os.Getenv("KBUILD_BUILD_TIMESTAMP")
	if date == "" {
		return fixedDate, nil
	}
	wrong := fmt.Errorf("KBUILD_BUILD_TIMESTAMP is %q", date)
	out, err := run.Cmd{Argv: []string{"date", "-u", "-d", date, "+%s"}}.Output(ctx)
	if _, refused := errors.AsType[*run.Error](err); refused {
		// Busybox accepts few formats other than these.
		return time.Time{}, hint.Usage(fmt.Errorf("%w, which date -d cannot read", wrong), "write it as 2006-01-02 15:04:05, in UTC, or set SOURCE_DATE_EPOCH to seconds since 1970")
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading KBUILD_BUILD_TIMESTAMP: %w", err)
	}
	return parseEpoch(strings.TrimSpace(string(out)), wrong, "name a date from 1970 on")
}

// parseEpoch reads seconds since 1970. For anything else it returns wrong.
func parseEpoch(s string, wrong error, advice string) (time.Time, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxEpoch {
		return time.Time{}, hint.Usage(wrong, advice)
	}
	return time.Unix(int64(n), 0).UTC(), nil
}
