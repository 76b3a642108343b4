/* SPDX-License-Identifier: GPL-2.0 */
#define CC_SET(c) "\n\t/* output condition code " #c "*/\n"
static const char *a = "/* no comment */", b = '"' /* a comment */, c = '\'';
static const char *d = "\"/* no */\"" /* yes */ "\\" /* yes */ "\\\" /* no */";
static const char *e = "a // b"; // "/* no comment */
// a line /* that is
static int f; /* and one that isn't // */
// continued \
/* still the same line */
/* gone // */ static int g;
static const char *h = "over two \
/* lines */ of text" /* gone */;
static const char *i = R"(raw " /* no comment */ )" /* yes */;
static const char *j = R"x(raw )" /* no 

\
*/ )x" /* yes */ "";
static const char *k = u8R"(/* no */)" LR"(/* no */)" xR"/* no */" /* yes */;
static int l = '/*' /* a multi-character constant */;
#define UNMATCHED " /* no comment
#define LAST 1 /* a comment */
