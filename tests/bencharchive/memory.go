// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// watchMemory returns how many MiB a program and its children use until stop is
// closed. It is the sum of each process's peak, which is at least the peak of the
// sum.
func watchMemory(program string, stop <-chan struct{}) float64 {
	peaks := map[string]int{} // KiB by process
	// Polling takes time from the program; peaks stay visible between ticks.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			sum := 0
			for _, kib := range peaks {
				sum += kib
			}
			return float64(sum) / 1024
		case <-tick.C:
			notePeaks(program, peaks)
		}
	}
}

// notePeaks records the peak of every process of the program, and of their
// children.
func notePeaks(program string, peaks map[string]int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	ours := map[string]bool{}
	for _, dir := range dirs {
		if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil && exe == program {
			ours[filepath.Base(dir)] = true
		}
	}
	for _, dir := range dirs {
		text, _ := os.ReadFile(filepath.Join(dir, "status")) // it may have ended
		pid, kib, counts := filepath.Base(dir), 0, false
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			switch value = strings.TrimSpace(value); name {
			case "PPid":
				counts = ours[pid] || ours[value]
			case "VmHWM":
				kib, _ = strconv.Atoi(strings.TrimSuffix(value, " kB"))
			}
		}
		if counts {
			peaks[pid] = max(peaks[pid], kib)
		}
	}
}
