/* SPDX-License-Identifier: GPL-2.0 */
/* goes */

int a; /* goes */
#define M(x) \
	/* goes */ \
	x
int b;

