// SPDX-License-Identifier: BSD-3-Clause

package archive

import (
	"context"
	"io"
)

// XZBlocks is [NewXZWriter] with blocks of another size.
func XZBlocks(ctx context.Context, w io.Writer, blockBytes int) io.WriteCloser {
	return newXZWriter(ctx, w, blockBytes)
}
