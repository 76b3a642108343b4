// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packs the headers of a kernel into a tar, and needs nothing but a C compiler.
 * The tar has every *.h below include/ and arch/SRCARCH/include/ in the source
 * tree and the object tree; the object tree wins.
 *
 *	kheaders_pack SRCARCH SOURCE [BUILD] >TAR
 *
 * For a kernel that was built in its source tree, omit BUILD or repeat SOURCE.
 * The same headers always give the same bytes, regardless of their location,
 * owners, modes and times: entries are sorted by name, belong to 0:0, and have
 * a single time stamp, SOURCE_DATE_EPOCH (seconds since 1970) or 1980-01-01.
 * Comments are removed unless they contain "SPDX"; the preprocessor reads the
 * same tokens from the rest. A symbolic link is packed as a copy of its target,
 * which must be inside the trees, or in another kernel tree: a directory with
 * include, arch and a Makefile that sets VERSION and PATCHLEVEL. Names that start
 * with a dot are left out; editors and file managers leave such files.
 *
 * "kheaders archive" writes the same bytes. If this program fails, discard what
 * it wrote.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* die() and text() are macros so that the compiler checks their formats. */
#define die(format, ...) do { \
	fprintf(stderr, "kheaders_pack: " format "\n", ##__VA_ARGS__); \
	exit(1); \
} while (0)

static char *formatted;

#define text(format, ...) \
	(asprintf(&formatted, format, ##__VA_ARGS__) < 0 ? no_memory() : formatted)

static char *no_memory(void)
{
	die("out of memory");
}

static void *resize(void *old, size_t size)
{
	void *new = realloc(old, size ? size : 1);

	return new ? new : no_memory();
}

/*
 * Strip: remove block comments and blank lines from a header. This reads the
 * text as the preprocessor's lexer does. What looks like a comment inside a
 * string, a character constant, a header name or a // comment is not one. An
 * unmatched quote extends to the end of its line. A comment between two tokens
 * becomes a blank.
 */

/* What to look for in a directive: a header name only comes after #include. */
enum expect {
	EXPECT_NOTHING,
	EXPECT_HASH,		/* at the start of a line */
	EXPECT_NAME,		/* after # */
	EXPECT_HEADER,		/* after #include */
};

struct strip {
	const char *src;
	size_t len;
	char *dst;		/* has room for len bytes */
	size_t out;		/* number of bytes in dst */
	size_t from;		/* src[from..pos) still has to be copied */
	size_t pos;
	enum expect expect;
};

/* The bytes that need attention in the main loop. */
static const char special[256] = {
	['\n'] = 1, ['/'] = 1, ['"'] = 1, ['\''] = 1, ['\\'] = 1,
};

static int is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static int is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\f' || c == '\v';
}

static int is_ident(char c)
{
	return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || (unsigned char)c >= 0x80;
}

/*
 * Returns the end of the line break at src[i], or 0 if there is none. The end
 * of the text counts as a line break.
 */
static size_t newline_end(const struct strip *s, size_t i)
{
	if (i == s->len)
		return i;
	if (s->src[i] == '\n')
		return i + 1;
	if (s->src[i] == '\r' && i + 1 < s->len && s->src[i + 1] == '\n')
		return i + 2;
	return 0;
}

/*
 * Returns the end of the line continuation that starts at src[i], or 0 if there
 * is none. Compilers allow blanks between the backslash and the end of the line.
 */
static size_t splice_end(const struct strip *s, size_t i)
{
	if (s->src[i] != '\\')
		return 0;
	for (i++; i < s->len; i++) {
		if (!is_space(s->src[i]))
			return newline_end(s, i);
	}
	return 0;
}

/* Returns the first position from i on that starts no line continuation. */
static size_t skip_splices(const struct strip *s, size_t i)
{
	size_t end;

	while (i < s->len) {
		end = splice_end(s, i);
		if (!end)
			break;
		i = end;
	}
	return i;
}

/* Returns whether a line that ended in a newline continues on the next one. */
static int ends_in_splice(const char *line, size_t len)
{
	if (len && line[len - 1] == '\r')
		len--;
	while (len && is_space(line[len - 1]))
		len--;
	return len && line[len - 1] == '\\';
}

/* Finds the newline that ends the logical line around src[i], or src's end. */
static size_t line_end(const struct strip *s, size_t i)
{
	const char *newline;
	size_t start = i;

	for (;;) {
		newline = memchr(s->src + start, '\n', s->len - start);
		if (!newline)
			return s->len;
		i = newline - s->src;
		if (!ends_in_splice(s->src + start, i - start))
			return i;
		start = i + 1;
	}
}

/* Returns the end of the block comment that has its text at src[i], or 0. */
static size_t comment_end(const struct strip *s, size_t i)
{
	const char *star;
	size_t end;

	for (;;) {
		star = memchr(s->src + i, '*', s->len - i);
		if (!star)
			return 0;
		i = star - s->src + 1;
		end = skip_splices(s, i);
		if (end < s->len && s->src[end] == '/')
			return end + 1;
	}
}

/* Copies everything up to pos that was not copied yet. */
static void flush(struct strip *s)
{
	memcpy(s->dst + s->out, s->src + s->from, s->pos - s->from);
	s->out += s->pos - s->from;
	s->from = s->pos;
}

/*
 * Drops the blank lines that start here. The line before must not continue
 * into them.
 */
static void skip_blank_lines(struct strip *s)
{
	size_t i = s->pos, end;

	do {
		while (i < s->len && is_blank(s->src[i]))
			i++;
		end = newline_end(s, i);
		if (!end)
			return;
		flush(s);
		s->pos = end;
		s->from = end;
		i = end;
	} while (i < s->len);
}

/* Returns whether the line at dst[line] continues the one before it. */
static int continued(const struct strip *s, size_t line)
{
	return line && ends_in_splice(s->dst, line - 1);
}

/* Removes the comment src[start..end), unless it has to stay. */
static void comment(struct strip *s, size_t start, size_t end)
{
	const char *newline;
	size_t line, before;

	if (memmem(s->src + start, end - start, "SPDX", 4)) {
		s->pos = end;
		return;
	}
	s->pos = start;
	flush(s);
	newline = memrchr(s->dst, '\n', s->out);
	line = newline ? newline - s->dst + 1 : 0;
	before = s->out;
	while (before > line && is_blank(s->dst[before - 1]))
		before--;
	s->pos = end;
	/*
	 * Without the comment, this backslash might end the line, and so
	 * continue it.
	 */
	if (before > line && s->dst[before - 1] == '\\')
		return;
	while (s->pos < s->len && is_blank(s->src[s->pos]))
		s->pos++;
	s->from = s->pos;
	end = newline_end(s, s->pos);
	if (!end) {
		if (!s->out || !is_blank(s->dst[s->out - 1]))
			s->dst[s->out++] = ' ';
		return;
	}
	s->out = before;
	if (before == line && !continued(s, line)) {
		s->pos = end;
		s->from = end;
		s->expect = EXPECT_HASH;
		skip_blank_lines(s);
	}
}

/* Handles a comment, or a lone slash. */
static void slash(struct strip *s)
{
	size_t start = s->pos, next = skip_splices(s, start + 1), end;

	if (next == s->len) {
		s->pos = next;
	} else if (s->src[next] == '/') {
		s->pos = line_end(s, next + 1);
		s->expect = EXPECT_NOTHING;
	} else if (s->src[next] == '*') {
		end = comment_end(s, next + 1);
		if (end)
			comment(s, start, end);
		else
			s->pos = s->len; /* left for the compiler to reject */
	} else {
		s->pos = start + 1;
	}
}

/*
 * Returns whether a quote at src[i] opens a raw string, which GNU C takes from
 * C++: R"delimiter(text)delimiter".
 */
static int is_raw(const struct strip *s, size_t i)
{
	static const char * const prefixes[] = { "R", "LR", "uR", "UR", "u8R" };
	size_t n = 0, p;

	while (n < 4 && n < i && is_ident(s->src[i - n - 1]))
		n++;
	for (p = 0; p < ARRAY_SIZE(prefixes); p++) {
		if (strlen(prefixes[p]) == n &&
		    !memcmp(prefixes[p], s->src + i - n, n))
			return 1;
	}
	return 0;
}

/* Returns the end of the raw string that has its delimiter at src[i], or 0. */
static size_t raw_end(const struct strip *s, size_t i)
{
	const char *delimiter = s->src + i, *end;
	char last[18];
	size_t n;

	for (n = 0; ; n++) {
		if (n == 17 || i + n == s->len)
			return 0;
		if (delimiter[n] == '(')
			break;
		if (delimiter[n] && strchr(" )\\\t\v\f\n\r\"", delimiter[n]))
			return 0;
	}
	last[0] = ')';
	memcpy(last + 1, delimiter, n);
	last[n + 1] = '"';
	end = memmem(delimiter + n, s->len - i - n, last, n + 2);
	return end ? (size_t)(end - s->src) + n + 2 : 0;
}

/* Skips a string or a character constant. */
static void quote(struct strip *s, char mark)
{
	size_t i = s->pos + 1, end;

	if (mark == '"' && is_raw(s, s->pos)) {
		end = raw_end(s, i);
		if (end) {
			s->pos = end;
			return;
		}
	}
	while (i < s->len) {
		if (s->src[i] == mark) {
			s->pos = i + 1;
			return;
		}
		if (s->src[i] == '\n') {
			s->pos = i;
			return;
		}
		if (s->src[i] != '\\') {
			i++;
			continue;
		}
		end = splice_end(s, i);
		if (end) {
			i = end;
			continue;
		}
		/* The escaped character, unless the line ends here. */
		i = skip_splices(s, i + 1);
		if (i < s->len && s->src[i] != '\n')
			i++;
	}
	s->pos = s->len;
}

/* Skips the name of a directive, which line continuations may split. */
static void directive_name(struct strip *s)
{
	static const char * const names[] = {
		"include", "include_next", "import", "embed",
	};
	size_t i = s->pos, n = 0;
	char name[16];

	while (i < s->len && is_ident(s->src[i])) {
		if (n < sizeof(name) - 1)
			name[n++] = s->src[i];
		i++;
		s->pos = i;
		i = skip_splices(s, i);
	}
	name[n] = '\0';
	s->expect = EXPECT_NOTHING;
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(name, names[i]))
			s->expect = EXPECT_HEADER;
	}
}

/* Skips a header name, which has no escapes. Returns whether there is one. */
static int header_name(struct strip *s)
{
	char last = s->src[s->pos] == '<' ? '>' : '"';
	size_t i = skip_splices(s, s->pos + 1);

	s->expect = EXPECT_NOTHING;
	while (i < s->len && s->src[i] != '\n') {
		if (s->src[i] == last) {
			s->pos = i + 1;
			return 1;
		}
		i = skip_splices(s, i + 1);
	}
	return 0;
}

/*
 * Consumes the tokens that matter at the start of a line and after #include.
 * Returns whether it consumed anything.
 */
static int directive(struct strip *s)
{
	enum expect before = s->expect;
	char c = s->src[s->pos];
	size_t next;

	if (is_blank(c)) {
		s->pos++;
		return 1;
	}
	if (c == '/' || c == '\\') {
		/*
		 * A comment or a continuation does not change what to expect.
		 * Any other token ends the part that matters here.
		 */
		next = skip_splices(s, s->pos + 1);
		if (c == '/' && next < s->len && s->src[next] == '*') {
			slash(s);
			s->expect = before;
			return 1;
		}
		next = splice_end(s, s->pos);
		if (next) {
			s->pos = next;
			return 1;
		}
	} else if (before == EXPECT_HASH && c == '#') {
		s->expect = EXPECT_NAME;
		s->pos++;
		return 1;
	} else if (before == EXPECT_HASH && c == '%' && s->pos + 1 < s->len &&
		   s->src[s->pos + 1] == ':') {
		s->expect = EXPECT_NAME;
		s->pos += 2;
		return 1;
	} else if (before == EXPECT_NAME && is_ident(c)) {
		directive_name(s);
		return 1;
	} else if (before == EXPECT_HEADER && (c == '<' || c == '"')) {
		return header_name(s);
	}
	s->expect = EXPECT_NOTHING;
	return 0;
}

/* Strips len bytes of src into dst, which has the same size. Returns the length. */
static size_t strip(char *dst, const char *src, size_t len)
{
	struct strip s = {
		.src = src, .len = len, .dst = dst, .expect = EXPECT_HASH,
	};
	size_t end;
	char c;

	skip_blank_lines(&s);
	while (s.pos < len) {
		if (s.expect != EXPECT_NOTHING && directive(&s))
			continue;
		c = src[s.pos];
		switch (c) {
		case '\n':
			s.pos++;
			s.expect = EXPECT_HASH;
			skip_blank_lines(&s);
			break;
		case '/':
			slash(&s);
			break;
		case '"':
		case '\'':
			quote(&s, c);
			break;
		case '\\':
			end = splice_end(&s, s.pos);
			s.pos = end ? end : s.pos + 1;
			break;
		default:
			do
				s.pos++;
			while (s.pos < len &&
			       !special[(unsigned char)src[s.pos]]);
		}
	}
	flush(&s);
	return s.out;
}

/* Select: find the headers, and the files that they come from. */

struct header {
	char *name;		/* in the archive, without the leading ./ */
	char *path;		/* a regular file, reached without links */
	off_t size;
	int tree;		/* 1 for the object tree, which wins */
};

struct selection {
	char *roots[2];
	int nr_roots;
	char *linked;		/* the last other kernel tree that a link led into */
	struct header *headers;
	size_t nr, room;
};

/* The directories above the current one, and that one itself. */
struct above {
	const struct above *up;
	const char *path;
};

/* The same limit as in Linux. */
#define MAX_LINKS 40

/*
 * Follows all links in an absolute path. Returns the path without links, with
 * its status in *st, or NULL with the reason in *why.
 */
static char *resolve(const char *path, struct stat *st, char **why)
{
	char *at = text("/"), *rest = text("%s", path), *part = rest;
	char *next, *slash, link[4096];
	ssize_t n;
	int links = 0, err;

	if (lstat(at, st))
		goto failed;
	while (*part) {
		slash = strchrnul(part, '/');
		n = slash - part;
		if (!n || (n == 1 && part[0] == '.')) {
			part = slash + !!*slash;
			continue;
		}
		if (n == 2 && part[0] == '.' && part[1] == '.') {
			next = strrchr(at, '/');
			next[next == at] = '\0';
			part = slash + !!*slash;
			continue;
		}
		if (!S_ISDIR(st->st_mode)) {
			errno = ENOTDIR;
			goto failed;
		}
		next = text("%s/%.*s", at[1] ? at : "", (int)n, part);
		free(at);
		at = next;
		part = slash + !!*slash;
		if (lstat(at, st))
			goto failed;
		if (!S_ISLNK(st->st_mode))
			continue;
		if (++links > MAX_LINKS) {
			errno = ELOOP;
			goto failed;
		}
		n = readlink(at, link, sizeof(link));
		if (n < 0 || n == sizeof(link)) {
			errno = n < 0 ? errno : ENAMETOOLONG;
			goto failed;
		}
		next = text("%.*s/%s", (int)n, link, part);
		free(rest);
		rest = next;
		part = rest;
		/* *st is the link's; get that of the directory to go on from. */
		next = link[0] == '/' ? at : strrchr(at, '/');
		next[next == at] = '\0';
		if (lstat(at, st))
			goto failed;
	}
	if (lstat(at, st))
		goto failed;
	free(rest);
	return at;

failed:
	err = errno;
	*why = err == ELOOP ? text("leads back to itself") :
			      text("%s: %s", at, strerror(err));
	free(at);
	free(rest);
	errno = err;
	return NULL;
}

static int holds(const char *root, const char *path)
{
	size_t n = strlen(root);

	return n == 1 || (!strncmp(path, root, n) && (!path[n] || path[n] == '/'));
}

/* Returns whether a line of a Makefile, which ends in a zero, sets the variable. */
static int sets(const char *line, const char *end, const char *variable)
{
	size_t n = strlen(variable);

	while (line) {
		if (!strncmp(line, variable, n) &&
		    line[n + strspn(line + n, " \t")] == '=')
			return 1;
		line = memchr(line, '\n', end - line);
		if (line)
			line++;
	}
	return 0;
}

/* Returns whether a Makefile sets a kernel's version, in its first 64 KiB. */
static int sets_version(const char *path)
{
	static char bytes[(64 << 10) + 1];
	struct stat st;
	size_t len;
	FILE *file;
	int failed;

	if (stat(path, &st) || !S_ISREG(st.st_mode))
		return 0;
	file = fopen(path, "re");
	if (!file)
		return 0;
	len = fread(bytes, 1, sizeof(bytes) - 1, file);
	failed = ferror(file);
	fclose(file);
	bytes[len] = '\0';
	return !failed && sets(bytes, bytes + len, "VERSION") &&
	       sets(bytes, bytes + len, "PATCHLEVEL");
}

static int is_kernel_tree(const char *tree)
{
	static const char * const dirs[] = { "include", "arch" };
	char *path;
	struct stat st;
	size_t i;
	int ok = 1;

	for (i = 0; ok && i < ARRAY_SIZE(dirs); i++) {
		path = text("%s/%s", tree, dirs[i]);
		ok = !stat(path, &st) && S_ISDIR(st.st_mode);
		free(path);
	}
	if (!ok)
		return 0;
	path = text("%s/Makefile", tree);
	ok = sets_version(path);
	free(path);
	return ok;
}

/*
 * Returns whether a link may lead to path: into the trees, or into another
 * kernel tree. Ubuntu's headers for a flavour are mostly links into a tree
 * beside it, which the kernel's build is not told about.
 */
static int inside(struct selection *s, const char *path)
{
	char *tree, *slash;
	int i;

	for (i = 0; i < s->nr_roots; i++) {
		if (holds(s->roots[i], path))
			return 1;
	}
	if (s->linked && holds(s->linked, path))
		return 1;
	tree = text("%s", path);
	while ((slash = strrchr(tree, '/')) != tree) {
		*slash = '\0';
		if (is_kernel_tree(tree)) {
			free(s->linked);
			s->linked = tree;
			return 1;
		}
	}
	free(tree);
	return 0;
}

static void add_header(struct selection *s, char *name, char *path, off_t size,
		       int tree)
{
	if (s->nr == s->room) {
		s->room = s->room ? 2 * s->room : 4096;
		s->headers = resize(s->headers, s->room * sizeof(*s->headers));
	}
	s->headers[s->nr].name = name;
	s->headers[s->nr].path = path;
	s->headers[s->nr].size = size;
	s->headers[s->nr].tree = tree;
	s->nr++;
}

static void die_of_link(const char *link, const char *why)
{
	char target[4096];
	ssize_t n = readlink(link, target, sizeof(target));

	die("symbolic link %s -> %.*s: %s", link, n < 0 ? 0 : (int)n, target, why);
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(*(char * const *)a, *(char * const *)b);
}

/*
 * Lists a directory, sorted, so that the first error is always the same one.
 * A name that starts with a dot is none of the kernel's, which has git ignore
 * them. It may be an editor's lock, a link to nowhere named .#sched.h, or a
 * file manager's ._sched.h.
 */
static char **list(const char *path, size_t *nr)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char **names = NULL;
	size_t room = 0;

	if (!dir)
		die("listing %s: %s", path, strerror(errno));
	*nr = 0;
	for (;;) {
		errno = 0;
		entry = readdir(dir);
		if (!entry)
			break;
		if (entry->d_name[0] == '.')
			continue;
		if (*nr == room) {
			room = room ? 2 * room : 64;
			names = resize(names, room * sizeof(*names));
		}
		names[(*nr)++] = text("%s", entry->d_name);
	}
	if (errno)
		die("listing %s: %s", path, strerror(errno));
	closedir(dir);
	if (*nr)
		qsort(names, *nr, sizeof(*names), compare_entries);
	return names;
}

/*
 * Selects the headers below the directory at, which is called name in the
 * archive. up lists its parent directories, innermost first.
 */
static void walk(struct selection *s, int tree, const char *at,
		 const char *name, const struct above *up)
{
	struct above here = { .up = up, .path = at };
	const struct above *above;
	struct stat st;
	size_t nr, i, len;
	char **names = list(at, &nr), *path, *file, *to, *why;
	int header;

	for (i = 0; i < nr; i++) {
		path = text("%s/%s", at[1] ? at : "", names[i]);
		file = text("%s/%s", name, names[i]);
		len = strlen(names[i]);
		header = len >= 2 && !strcmp(names[i] + len - 2, ".h");
		free(names[i]);
		if (lstat(path, &st))
			die("%s: %s", path, strerror(errno));
		if (S_ISLNK(st.st_mode)) {
			to = resolve(path, &st, &why);
			if (!to)
				die_of_link(path, why);
			if ((header || S_ISDIR(st.st_mode)) && !inside(s, to))
				die_of_link(path, "leads outside the kernel trees");
			if (S_ISDIR(st.st_mode)) {
				for (above = &here; above; above = above->up) {
					if (!strcmp(above->path, to))
						die_of_link(path, "leads back to itself");
				}
			}
			free(path);
			path = to;
		}
		if (S_ISDIR(st.st_mode)) {
			walk(s, tree, path, file, &here);
		} else if (header) {
			if (!S_ISREG(st.st_mode))
				die("%s is neither a file nor a directory", path);
			add_header(s, file, path, st.st_size, tree);
			continue;
		}
		free(file);
		free(path);
	}
	free(names);
}

/* Walks one of the top directories of headers, which may itself be a link. */
static void top(struct selection *s, int tree, const char *sub)
{
	char *path = text("%s/%s", s->roots[tree], sub), *at, *why;
	struct stat st;

	at = resolve(path, &st, &why);
	if (!at) {
		/* An object tree need not have both directories. */
		if (tree && errno == ENOENT && stat(path, &st) && errno == ENOENT) {
			free(why);
			free(path);
			return;
		}
		die("finding %s: %s", path, why);
	}
	if (!S_ISDIR(st.st_mode))
		die("%s is not a directory", path);
	if (!inside(s, at))
		die("symbolic link %s -> %s: leads outside the kernel trees", path, at);
	walk(s, tree, at, sub, NULL);
	free(at);
	free(path);
}

/* Orders paths directory by directory: a slash sorts before any other byte. */
static int rank(unsigned char c)
{
	return c == '/' ? 1 : c ? c + 1 : 0;
}

static int compare_headers(const void *a, const void *b)
{
	const struct header *x = a, *y = b;
	const char *p = x->name, *q = y->name;

	while (*p && *p == *q) {
		p++;
		q++;
	}
	return *p == *q ? y->tree - x->tree : rank(*p) - rank(*q);
}

static void add_tree(struct selection *s, const char *path)
{
	char *absolute, *cwd, *root, *why;
	struct stat st;

	if (path[0] == '/') {
		absolute = text("%s", path);
	} else {
		cwd = getcwd(NULL, 0);
		if (!cwd)
			die("finding the current directory: %s", strerror(errno));
		absolute = text("%s/%s", cwd, path);
		free(cwd);
	}
	root = resolve(absolute, &st, &why);
	if (!root)
		die("finding the tree %s: %s", path, why);
	if (!S_ISDIR(st.st_mode))
		die("the tree %s is not a directory", path);
	free(absolute);
	if (s->nr_roots && !strcmp(s->roots[0], root)) {
		free(root);
		return;
	}
	s->roots[s->nr_roots++] = root;
}

static void select_headers(struct selection *s, const char *srcarch)
{
	char *arch = text("arch/%s/include", srcarch), *path;
	struct stat st;
	size_t i, nr;
	int tree;

	/*
	 * Only the object tree's counts, if there is an object tree: a stale
	 * file in the source tree must not hide that the object tree has none.
	 */
	path = text("%s/include/generated/autoconf.h", s->roots[s->nr_roots - 1]);
	if (stat(path, &st))
		die("%s: %s: is the kernel configured, and \"make prepare\" done?",
		    path, strerror(errno));
	free(path);
	for (tree = 0; tree < s->nr_roots; tree++) {
		top(s, tree, "include");
		top(s, tree, arch);
	}
	free(arch);
	qsort(s->headers, s->nr, sizeof(*s->headers), compare_headers);
	for (i = 0, nr = 0; i < s->nr; i++) {
		if ((!nr || strcmp(s->headers[nr - 1].name, s->headers[i].name)) &&
		    /* Whether it exists by now depends on the build's order. */
		    strcmp(s->headers[i].name, "include/generated/utsversion.h")) {
			s->headers[nr++] = s->headers[i];
			continue;
		}
		free(s->headers[i].name);
		free(s->headers[i].path);
	}
	s->nr = nr;
}

/* Tar: POSIX.1-1988, or POSIX.1-2001 for names that do not fit. */

#define BLOCK 512

struct block {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type;
	char link[100];
	char magic[8];
	char user[32];
	char group[32];
	char major[8];
	char minor[8];
	char prefix[155];
	char unused[12];
};

static struct {
	char bytes[1 << 20];
	size_t used;
} output;

static void write_output(void)
{
	size_t done = 0;
	ssize_t n;

	while (done < output.used) {
		n = write(STDOUT_FILENO, output.bytes + done, output.used - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die("writing the tar: %s", strerror(errno));
		done += n;
	}
	output.used = 0;
}

static void put(const char *bytes, size_t len)
{
	size_t n;

	while (len) {
		n = sizeof(output.bytes) - output.used;
		if (n > len)
			n = len;
		memcpy(output.bytes + output.used, bytes, n);
		output.used += n;
		bytes += n;
		len -= n;
		if (output.used == sizeof(output.bytes))
			write_output();
	}
}

/* Fills up the last block. */
static void pad(unsigned long long size)
{
	static const char zero[BLOCK];

	if (size % BLOCK)
		put(zero, BLOCK - size % BLOCK);
}

static void set_octal(char *field, size_t len, unsigned long long value)
{
	size_t i = len - 1;

	field[i] = '\0';
	while (i) {
		field[--i] = '0' + (value & 7);
		value >>= 3;
	}
	if (value)
		die("a number does not fit into the tar");
}

#define SET_OCTAL(field, value) set_octal(field, sizeof(field), value)

static void set_name(char *field, size_t len, const char *name)
{
	size_t n = strlen(name);

	memcpy(field, name, n < len ? n : len);
	if (n <= len || field[len - 1] != '/')
		return;
	/* A file with a truncated name must not look like a directory. */
	for (n = len - 1; n && name[n - 1] == '/'; n--)
		;
	field[n] = '\0';
}

#define SET_NAME(field, name) set_name(field, sizeof(field), name)

static void put_block(struct block *block)
{
	const unsigned char *bytes = (const unsigned char *)block;
	unsigned int sum = 0;
	size_t i;

	memcpy(block->magic, "ustar\00000", sizeof(block->magic));
	memset(block->checksum, ' ', sizeof(block->checksum));
	for (i = 0; i < sizeof(*block); i++)
		sum += bytes[i];
	/* The last byte of this field remains a blank. */
	set_octal(block->checksum, sizeof(block->checksum) - 1, sum);
	put((const char *)block, sizeof(*block));
}

/* Returns a copy of name, without the bytes that are not ASCII. */
static char *ascii(const char *name)
{
	char *copy = text("%s", name), *to = copy;

	for (; *name; name++) {
		if ((unsigned char)*name < 0x80)
			*to++ = *name;
	}
	*to = '\0';
	return copy;
}

/*
 * Returns the slash that splits a name into a prefix and a rest that fit into
 * their fields, "" if the name fits as a whole, or NULL if nothing helps.
 */
static const char *split(const char *name)
{
	const size_t most = sizeof(((struct block *)0)->name);
	const size_t most_before = sizeof(((struct block *)0)->prefix);
	size_t len = strlen(name), i;
	const char *c;

	for (c = name; *c; c++) {
		if ((unsigned char)*c >= 0x80)
			return NULL;
	}
	if (len <= most)
		return "";
	i = len > most_before + 1 ? most_before + 1 : len - (name[len - 1] == '/');
	c = memrchr(name, '/', i);
	if (!c || c == name || !c[1] || strlen(c + 1) > most)
		return NULL;
	return c;
}

/* Writes an extended header with the name of the next entry. */
static void put_extended(const char *name)
{
	struct block block = { .type = 'x' };
	char digits[24];
	size_t len = strlen(name), size, i;
	const char *base;
	char *record, *plain;

	/* The length of a record counts its own digits. */
	size = len + strlen(" path=\n");
	for (i = 1; ; i++) {
		sprintf(digits, "%zu", size + i);
		if (strlen(digits) == i)
			break;
	}
	record = text("%s path=%s\n", digits, name);
	size = strlen(record);

	/* The extended header of ./a/b is a/PaxHeaders.0/b, that of ./a/ is in a/. */
	base = strrchr(name, '/') + 1;
	plain = text("%.*sPaxHeaders.0/%s", (int)(base - name) - 2, name + 2, base);
	base = plain;
	plain = ascii(base);
	free((char *)base);
	len = strlen(plain);
	if (len > sizeof(block.name))
		len = sizeof(block.name);
	while (len && plain[len - 1] == '/')
		len--;
	memcpy(block.name, plain, len);
	SET_OCTAL(block.mode, 0);
	SET_OCTAL(block.uid, 0);
	SET_OCTAL(block.gid, 0);
	SET_OCTAL(block.size, size);
	SET_OCTAL(block.mtime, 0);
	put_block(&block);
	put(record, size);
	pad(size);
	free(plain);
	free(record);
}

/* Writes the header of an entry. */
static void put_entry(char type, const char *name, unsigned int mode,
		      unsigned long long size, unsigned long long mtime)
{
	struct block block = { .type = type };
	const char *at = split(name);
	char *plain;

	if (!at) {
		put_extended(name);
		plain = ascii(name);
		SET_NAME(block.name, plain);
		free(plain);
	} else if (*at) {
		plain = text("%.*s", (int)(at - name), name);
		SET_NAME(block.prefix, plain);
		SET_NAME(block.name, at + 1);
		free(plain);
	} else {
		SET_NAME(block.name, name);
	}
	SET_OCTAL(block.mode, mode);
	SET_OCTAL(block.uid, 0);
	SET_OCTAL(block.gid, 0);
	SET_OCTAL(block.size, size);
	SET_OCTAL(block.mtime, mtime);
	SET_OCTAL(block.major, 0);
	SET_OCTAL(block.minor, 0);
	put_block(&block);
}

/* Reads a whole header, and fails if it changes meanwhile. */
static size_t read_header(const struct header *header, char **bytes, size_t *room)
{
	int fd = open(header->path, O_RDONLY | O_CLOEXEC);
	struct stat before, after;
	size_t len = 0;
	ssize_t n;

	if (fd < 0 || fstat(fd, &before))
		die("reading %s: %s", header->path, strerror(errno));
	/* One byte of extra room, so that the same read sees the end of the file. */
	if (*room < (size_t)before.st_size + 1) {
		*room = before.st_size + 1;
		*bytes = resize(*bytes, *room);
	}
	while (len < *room) {
		n = read(fd, *bytes + len, *room - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die("reading %s: %s", header->path, strerror(errno));
		if (!n)
			break;
		len += n;
	}
	if (fstat(fd, &after))
		die("reading %s: %s", header->path, strerror(errno));
	if (!S_ISREG(before.st_mode) || (off_t)len != before.st_size ||
	    after.st_size != before.st_size ||
	    after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
	    after.st_mtim.tv_nsec != before.st_mtim.tv_nsec)
		die("%s changed while it was read", header->path);
	close(fd);
	return len;
}

/* Writes the parent directories of name, from the one at name[same] on. */
static void put_directories(const char *name, size_t same, unsigned long long mtime)
{
	const char *slash;
	char *entry;

	for (slash = name + same; (slash = strchr(slash, '/')); slash++) {
		entry = text("./%.*s/", (int)(slash - name), name);
		put_entry('5', entry, 0755, 0, mtime);
		free(entry);
	}
}

static void write_tar(const struct selection *s, unsigned long long mtime)
{
	static const char end[2 * BLOCK];
	size_t raw_room = 0, stripped_room = 0, len, i, j, same;
	char *raw = NULL, *stripped = NULL, *entry;
	const char *name, *last = "";

	put_entry('5', "./", 0755, 0, mtime);
	for (i = 0; i < s->nr; i++) {
		name = s->headers[i].name;
		/* Skip the directories that the last header had too. */
		for (j = 0, same = 0; last[j] && last[j] == name[j]; j++) {
			if (last[j] == '/')
				same = j + 1;
		}
		put_directories(name, same, mtime);
		last = name;

		len = read_header(&s->headers[i], &raw, &raw_room);
		if (stripped_room < len) {
			stripped_room = len;
			stripped = resize(stripped, stripped_room);
		}
		len = strip(stripped, raw, len);
		entry = text("./%s", name);
		put_entry('0', entry, 0644, len, mtime);
		free(entry);
		put(stripped, len);
		pad(len);
	}
	put(end, sizeof(end));
	write_output();
	if (close(STDOUT_FILENO))
		die("writing the tar: %s", strerror(errno));
	free(raw);
	free(stripped);
}

/* 1980-01-01: some versions of tar complain about the epoch itself. */
#define FIXED_DATE 315532800

/* The last second that fits into the octal field of a tar header. */
#define MAX_EPOCH ((1ULL << 33) - 1)

static unsigned long long timestamp(void)
{
	const char *value = getenv("SOURCE_DATE_EPOCH"), *digit = value;
	unsigned long long n = 0;

	if (!value || !*value)
		return FIXED_DATE;
	for (; *digit >= '0' && *digit <= '9' && n <= MAX_EPOCH; digit++)
		n = 10 * n + *digit - '0';
	if (*digit || n > MAX_EPOCH)
		die("SOURCE_DATE_EPOCH is \"%s\", and not seconds since 1970", value);
	return n;
}

int main(int argc, char **argv)
{
	struct selection s = { .nr_roots = 0 };
	unsigned long long mtime;
	size_t i;

	if (argc < 3 || argc > 4 || !argv[1][0] || strchr(argv[1], '/') ||
	    argv[1][0] == '.') {
		fputs("usage: kheaders_pack SRCARCH SOURCE [BUILD] >TAR\n", stderr);
		return 2;
	}
	mtime = timestamp();
	add_tree(&s, argv[2]);
	if (argc == 4)
		add_tree(&s, argv[3]);
	select_headers(&s, argv[1]);
	write_tar(&s, mtime);
	for (i = 0; i < s.nr; i++) {
		free(s.headers[i].name);
		free(s.headers[i].path);
	}
	free(s.headers);
	free(s.roots[0]);
	free(s.roots[1]);
	free(s.linked);
	return 0;
}
