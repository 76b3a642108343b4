// SPDX-License-Identifier: BSD-3-Clause

package headers

import (
	"fmt"
	"strconv"
	"time"

	"github.com/kheaders/kheaders/harness/internal/hint"
)

// fixedDate stamps the entries when the environment names no date. It is not
// the epoch, of which some versions of tar complain as implausibly old.
var fixedDate = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)

// layouts are the dates that KBUILD_BUILD_TIMESTAMP may hold: what date(1)
// prints by default and with its -u, -R, -I and --rfc-3339 options. Without a
// zone they are in UTC, so that the archive does not depend on the machine's.
var layouts = []string{
	"Mon Jan _2 15:04:05 MST 2006",
	"Mon Jan _2 15:04:05 2006",
	"Mon Jan _2 03:04:05 PM MST 2006",
	"Mon _2 Jan 15:04:05 MST 2006",
	"Mon _2 Jan 2006 15:04:05 MST",
	"Mon Jan _2 15:04:05 -0700 2006",
	"Mon, _2 Jan 2006 15:04:05 -0700",
	"Mon, _2 Jan 2006 15:04:05 MST",
	"Mon, 02 Jan 2006 15:04:05 -0700",
	time.RFC3339,
	"2006-01-02T15:04:05-0700",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05 -0700",
	"2006-01-02 15:04:05 MST",
	"2006-01-02 15:04:05",
	"2006-01-02T15:04:05",
	"2006-01-02 15:04",
	"2006-01-02",
}

// Timestamp returns the time stamp of an archive's entries: SOURCE_DATE_EPOCH
// (seconds), else KBUILD_BUILD_TIMESTAMP (a date, or @ and seconds), else a
// fixed date. A value that it cannot read is a mistake in the input: guessing
// would silently give other bytes.
func Timestamp(getenv func(string) string) (time.Time, error) {
	if epoch := getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		t, ok := parseEpoch(epoch)
		if !ok {
			return time.Time{}, hint.Usage(fmt.Errorf("SOURCE_DATE_EPOCH is %q", epoch), "set it to seconds since 1970, or unset it")
		}
		return t, nil
	}
	date := getenv("KBUILD_BUILD_TIMESTAMP")
	if date == "" {
		return fixedDate, nil
	}
	if date[0] == '@' {
		if t, ok := parseEpoch(date[1:]); ok {
			return t, nil
		}
	}
	for _, layout := range layouts {
		t, err := time.ParseInLocation(layout, date, time.UTC)
		if err != nil {
			continue
		}
		// Go gives zones whose names it does not know the offset zero.
		if name, offset := t.Zone(); offset == 0 && name != "UTC" && name != "GMT" && name != "" {
			break
		}
		return inRange(t, date)
	}
	return time.Time{}, hint.Usage(fmt.Errorf("KBUILD_BUILD_TIMESTAMP is %q, which is no date that is understood", date),
		"write it as 2006-01-02T15:04:05Z, or as `LC_ALL=C date -u` prints it")
}

// maxEpoch is the last second that a tar header holds in its octal field.
const maxEpoch = 1<<33 - 1

func parseEpoch(s string) (time.Time, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > maxEpoch {
		return time.Time{}, false
	}
	return time.Unix(n, 0).UTC(), true
}

func inRange(t time.Time, date string) (time.Time, error) {
	if n := t.Unix(); n < 0 || n > maxEpoch {
		return time.Time{}, hint.Usage(fmt.Errorf("KBUILD_BUILD_TIMESTAMP is %q", date), "name a date from 1970 on")
	}
	return t.UTC(), nil
}
