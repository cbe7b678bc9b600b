#include "fates.h"

#include <string.h>

/* MOST bounds the queue. A frame has two fates at the most and Go takes them while it feeds frames, so only a decoder
 * that makes many pictures of one frame gets there. What does not fit is settled with the rest of the pipeline. */
#define MOST 8192

struct Fates {
	gint refs;
	GMutex lock;
	GArray *queue;
};

Fates *fates_new(void)
{
	Fates *f = g_new0(Fates, 1);
	f->refs = 1;
	g_mutex_init(&f->lock);
	f->queue = g_array_new(FALSE, FALSE, sizeof(Fate));
	return f;
}

Fates *fates_ref(Fates *f)
{
	g_atomic_int_inc(&f->refs);
	return f;
}

void fates_unref(Fates *f)
{
	if (!g_atomic_int_dec_and_test(&f->refs))
		return;
	g_array_free(f->queue, TRUE);
	g_mutex_clear(&f->lock);
	g_free(f);
}

static void add(Fates *f, Fate fate)
{
	g_mutex_lock(&f->lock);
	if (f->queue->len < MOST)
		g_array_append_val(f->queue, fate);
	g_mutex_unlock(&f->lock);
}

void fates_note(Fates *f, guint64 pts, FateKind kind)
{
	add(f, (Fate){.pts = pts, .kind = kind});
}

void fates_note_made(Fates *f, guint64 pts, gboolean interlaced)
{
	add(f, (Fate){.pts = pts, .kind = FATE_MADE, .interlaced = interlaced});
}

gsize fates_take(Fates *f, Fate *list, gsize n)
{
	g_mutex_lock(&f->lock);
	n = MIN(n, f->queue->len);
	if (n > 0) {
		memcpy(list, f->queue->data, n * sizeof *list);
		g_array_remove_range(f->queue, 0, n);
	}
	g_mutex_unlock(&f->lock);
	return n;
}
