// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls the packer's stripper without starting it anew each time. A request on
 * standard input is a 32-bit length in the machine's order, and a header; so is
 * the answer, with the header stripped.
 */
int packer_main(int argc, char **argv);

#define main packer_main
#include "kheaders_pack.c"
#undef main

#include <stdint.h>

int main(void)
{
	char *in, *out;
	uint32_t len;

	while (fread(&len, sizeof(len), 1, stdin)) {
		/* No byte more than there is, for the address sanitizer. */
		in = malloc(len);
		out = malloc(len);
		if (fread(in, 1, len, stdin) != len)
			return 1;
		len = strip(out, in, len);
		fwrite(&len, sizeof(len), 1, stdout);
		fwrite(out, 1, len, stdout);
		fflush(stdout);
		free(in);
		free(out);
	}
	return 0;
}
