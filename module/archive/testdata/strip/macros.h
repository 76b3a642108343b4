/* SPDX-License-Identifier: GPL-2.0 */
#define ONE 1 /* a comment */
#define TWO /* a comment
	over two lines */ 2
#define OBJECT/**/(x) object
#define FUNCTION(x)/**/function(x)
#define LONG(a, b)	\
	do {		\
		/* what it does */	\
		f(a);	/* f */		\
/* at the edge */\
		g(b);			\
		/* the last line */	\
	} while (0)
#define ENDS_IN_COMMENT 1 \
	/* nothing but this */
#define JOINS(a) a\
/**/\
b
#define EMPTY \

#define SPLIT_COMMENT 1 /\
* hidden *\
/ 2
#define STRAY \ /* a backslash that must not become a continuation */
int after;
#define TWICE \ /* kept */ /* gone */
int last;
/* c */ #define INDENTED 1
/* c */#define MARGIN 1
	/* c */	#	/* d */	define	/* e */	DIRECTIVE	/* f */
# /* null directive */
%: /**/ define DIGRAPH /**/ 1
#if 0 /* don't */
it isn't /* a comment */
#endif
#error it isn't /* either */
int end;
