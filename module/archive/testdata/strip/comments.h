/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A heading that goes, with the blank line after it.
 */

#ifndef COMMENTS_H
#define COMMENTS_H

/* before a declaration */
struct pair {
	int a;	/* at the end of a line */
	int b;		/* with blanks behind it */  	
	/* alone */ int c;
	int/**/d;	/* two */ /* of them */
	int e /* inside */ ;
};

int f(int a /* one */, int b /* two
	and more of it */, int c);	/* end **/ /***/ /**/ /*/ odd */

int minus = 1 -/**/-1, plus = 2 +/* */+ 3, quotient = 4 //**/ 2
	;
/**//**/int g;/**/
#endif /* COMMENTS_H */

/* the end */
