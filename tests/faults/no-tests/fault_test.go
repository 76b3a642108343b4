// SPDX-License-Identifier: BSD-3-Clause

// Package notests is a guest test binary that declares no test.
package notests
