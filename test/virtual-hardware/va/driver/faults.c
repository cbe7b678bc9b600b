/* Faults on demand, and a log of what happened.
 *
 * LIBVA_VIRTUAL_FAULTS names a file with one rule on each line:
 *
 *   CALL FIRST COUNT ACTION      end 30 1 error
 *                                sync 1 forever hang
 *
 * Calls are counted from the moment at which this process sees the file, or sees it changed: so a test decides when a
 * fault begins, and when it is over. LIBVA_VIRTUAL_LOG names a file that gets a line for each fault.
 */
#include "driver.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const names[CALLS] = {
	[CALL_INITIALIZE] = "initialize",
	[CALL_CONFIG] = "config",
	[CALL_CONTEXT] = "context",
	[CALL_SURFACES] = "surfaces",
	[CALL_BUFFER] = "buffer",
	[CALL_BEGIN] = "begin",
	[CALL_RENDER] = "render",
	[CALL_END] = "end",
	[CALL_PROCESS] = "process",
	[CALL_SYNC] = "sync",
	[CALL_DERIVE] = "derive",
	[CALL_IMAGE] = "image",
	[CALL_MAP] = "map",
};

enum action { ERROR, SKIP, HANG, CRASH, ABORT, SLEEP };

static const char *const actions[] = {
	[ERROR] = "error", [SKIP] = "skip", [HANG] = "hang", [CRASH] = "crash", [ABORT] = "abort", [SLEEP] = "sleep",
};

struct rule {
	enum call call;
	unsigned first, count;
	enum action action;
	unsigned milliseconds; /* of SLEEP */
};

#define MOST_RULES 16

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static struct rule rules[MOST_RULES];
static int n_rules;
static unsigned calls[CALLS];       /* since the rules are known */
static struct timespec changed;     /* the file that the rules are of; zero: none */
static ino_t inode;

void note(const char *format, ...)
{
	const char *name = getenv("LIBVA_VIRTUAL_LOG");
	FILE *f = name ? fopen(name, "a") : NULL;
	struct timespec now;
	va_list arguments;

	if (!f)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	fprintf(f, "%lld.%09ld %d ", (long long)now.tv_sec, now.tv_nsec, getpid());
	va_start(arguments, format);
	vfprintf(f, format, arguments);
	va_end(arguments);
	fputc('\n', f);
	fclose(f);
}

/* refuse ends the process: a test with a rule that means nothing must not pass. */
static void refuse(const char *line)
{
	fprintf(stderr, "LIBVA_VIRTUAL_FAULTS: not a rule: %s\n", line);
	abort();
}

static int index_of(const char *word, const char *const *list, int n)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(word, list[i]))
			return i;
	return -1;
}

/* parse reads a rule. Only calls that make nothing can be skipped: the others have to return what they made. */
static bool parse(const char *line, struct rule *r)
{
	char call[16], count[16], action[16];
	int fields = sscanf(line, "%15s %u %15s %15s %u", call, &r->first, count, action, &r->milliseconds);
	int c, a;

	if (fields < 4)
		return false;
	c = index_of(call, names, CALLS);
	a = index_of(action, actions, sizeof actions / sizeof *actions);
	r->count = strcmp(count, "forever") ? strtoul(count, NULL, 10) : UINT_MAX;
	if (c < 0 || a < 0 || r->first == 0 || r->count == 0 || (a == SLEEP) != (fields == 5))
		return false;
	if (a == SKIP && c != CALL_RENDER && c != CALL_END && c != CALL_PROCESS && c != CALL_SYNC)
		return false;
	r->call = c;
	r->action = a;
	return true;
}

/* refresh reads the rules when the file has changed; without a file there are none. */
static void refresh(void)
{
	const char *name = getenv("LIBVA_VIRTUAL_FAULTS");
	struct stat st = {0};
	char line[128];
	FILE *f;

	if (!name || stat(name, &st) < 0) {
		n_rules = 0;
		inode = 0;
		return;
	}
	if (st.st_ino == inode && st.st_mtim.tv_sec == changed.tv_sec && st.st_mtim.tv_nsec == changed.tv_nsec)
		return;
	f = fopen(name, "r");
	if (!f)
		return;
	n_rules = 0;
	inode = st.st_ino;
	changed = st.st_mtim;
	memset(calls, 0, sizeof calls);
	while (fgets(line, sizeof line, f))
		if (n_rules == MOST_RULES || !parse(line, &rules[n_rules++]))
			refuse(line);
	fclose(f);
}

/* find gives the rule for a call, which it counts; false when there is none. */
static bool find(enum call c, struct rule *r)
{
	bool found = false;

	pthread_mutex_lock(&lock);
	refresh();
	calls[c]++;
	for (int i = 0; i < n_rules && !found; i++) {
		*r = rules[i];
		found = r->call == c && calls[c] >= r->first && calls[c] - r->first < r->count;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

bool strikes(enum call c, VAStatus *status)
{
	struct rule r;

	if (!find(c, &r))
		return false;
	note("fault %s %s", names[c], actions[r.action]);
	switch (r.action) {
	case ERROR:
		*status = c == CALL_RENDER || c == CALL_END || c == CALL_SYNC ? VA_STATUS_ERROR_DECODING_ERROR
									       : VA_STATUS_ERROR_OPERATION_FAILED;
		return true;
	case SKIP:
		*status = VA_STATUS_SUCCESS;
		return true;
	case HANG:
		for (;;)
			pause();
	case CRASH:
		raise(SIGSEGV);
		break;
	case ABORT:
		abort();
	case SLEEP:
		nanosleep(&(struct timespec){r.milliseconds / 1000, r.milliseconds % 1000 * 1000000l}, NULL);
		break;
	}
	return false;
}
