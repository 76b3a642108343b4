// SPDX-License-Identifier: BSD-3-Clause

// Package empty is a guest test binary that declares no test.
package empty
