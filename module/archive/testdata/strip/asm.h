/* SPDX-License-Identifier: GPL-2.0 */
/* Text for the assembler. */
#ifdef __ASSEMBLY__

	.macro	entry name	/* comment */

	mov	\name\()_x, #1		// it's a comment
	ldr	x0, =\name	/* \name */
	# don't touch /* this */ line
	# nor "this /* one
	.ascii	"/* text */"	/* comment */
	b	1f ; /* one */ nop ; /* two */
'	/* unmatched
1:	/* label */	ret

	.endm	/* entry
*/
#endif	/* __ASSEMBLY__ */
