// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls parts of the packer without starting it anew each time. A request on
 * standard input is a letter, a 32-bit length in the machine's order, and a
 * text; so is the answer, but for the letter. S strips a header; D reads a
 * date and answers with seconds in decimal, or -1.
 */
int packer_main(int argc, char **argv);

#define main packer_main
#include "kheaders_pack.c"
#undef main

#include <stdint.h>

int main(void)
{
	char *in, *out, letter;
	uint32_t len;

	while (fread(&letter, 1, 1, stdin) && fread(&len, sizeof(len), 1, stdin)) {
		/* No byte more than there is, for the address sanitizer. */
		in = malloc(len + (letter == 'D'));
		out = malloc(letter == 'D' ? 32 : len);
		if (fread(in, 1, len, stdin) != len)
			return 1;
		if (letter == 'D') {
			in[len] = '\0';
			len = sprintf(out, "%lld", parse_date(in));
		} else {
			len = strip(out, in, len);
		}
		fwrite(&len, sizeof(len), 1, stdout);
		fwrite(out, 1, len, stdout);
		fflush(stdout);
		free(in);
		free(out);
	}
	return 0;
}
