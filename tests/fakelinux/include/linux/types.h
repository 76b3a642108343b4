/* SPDX-License-Identifier: GPL-2.0-only */
/* This comment is not in an archive without comments. */
#ifndef _LINUX_TYPES_H
#define _LINUX_TYPES_H

#define TOY_STRING "/* a string, no comment */" // a line comment
typedef unsigned char u8;
typedef unsigned int/**/u32;

#endif
