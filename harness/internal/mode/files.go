// SPDX-License-Identifier: BSD-3-Clause

package mode

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/kheaders/kheaders/harness/internal/output"
	"github.com/kheaders/kheaders/harness/internal/stage"
	"github.com/kheaders/kheaders/module/source"
)

// writeFiles writes files into a directory.
func writeFiles(dir string, files map[string][]byte) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render returns the module's source around an archive.
func render(archive stage.File, release, srcArch string) (map[string][]byte, error) {
	files, err := source.Render(source.Archive{SHA256: archive.SHA256, Size: archive.Size, Release: release, SrcArch: srcArch})
	if err != nil {
		return nil, fmt.Errorf("rendering the module: %w", err)
	}
	return files, nil
}

// fill writes the module's source and the archive into a directory.
func fill(dir string, files map[string][]byte, archive string) error {
	if err := writeFiles(dir, files); err != nil {
		return err
	}
	return output.Copy(filepath.Join(dir, source.ArchiveName), archive)
}
