// SPDX-License-Identifier: BSD-3-Clause

package archive

import (
	"context"
	"io"
)

// GoBlocks is [Go] with blocks of another size.
func GoBlocks(ctx context.Context, w io.Writer, blockBytes int) io.WriteCloser {
	return newGoWriter(ctx, w, blockBytes)
}
