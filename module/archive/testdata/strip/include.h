/* SPDX-License-Identifier: GPL-2.0 */
#include <linux//types.h>	/* a comment */
#include <odd/*.h> /* a comment */
#include "odd\" /* a comment */
# /* c */ include /* d */ <odd/*.h> /* e */
#include_next <a/*b> /* c */
#import <a/*b> /* c */
#inc\
lude <a/*\
b> /* c */
#define include <a/* a comment */>
#include MACRO < /* a comment > */ 1
include <a/* a comment */>
#include <unmatched /* a comment */
#if 1 < 2 /* a comment > */
#endif
