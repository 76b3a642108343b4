// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"flag"
	"regexp"
	"slices"
	"strings"
	"time"
)

// This file does what people meant when it is clear, and guesses it for a hint
// when it is not.

// jobsOption is how make takes a number of jobs.
var jobsOption = regexp.MustCompile(`^-j(\d*)$`)

// familiar rewrites what people know from other programs into options of ours.
func familiar(argv []string, flags *flag.FlagSet) []string {
	if flags.Lookup("jobs") == nil {
		return argv
	}
	argv = slices.Clone(argv)
	for i, arg := range argv {
		if m := jobsOption.FindStringSubmatch(arg); m != nil {
			argv[i] = strings.TrimSuffix("--jobs="+m[1], "=")
		}
	}
	return argv
}

// duration is a flag that takes a time: 20s, 1m30s, or 20, which is in seconds.
type duration time.Duration

func (d *duration) String() string { return time.Duration(*d).String() }

func (d *duration) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil {
		if s, serr := time.ParseDuration(text + "s"); serr == nil {
			v, err = s, nil
		}
	}
	*d = duration(v)
	return err
}

// didYouMean returns the start of a hint with the name that a word may have been
// meant for, or nothing.
func didYouMean(prefix, word string, names []string) string {
	best, fewest := "", len(word)/4+2
	for _, name := range names {
		if n := mistakes(word, name); n < fewest {
			best, fewest = name, n
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + prefix + best + "? "
}

// mistakes counts the letters that are missing, additional, wrong, or exchanged
// with the next between two words.
func mistakes(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			if i == 0 || j == 0 {
				rows[i][j] = i + j
				continue
			}
			wrong := 1
			if a[i-1] == b[j-1] {
				wrong = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+wrong)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
