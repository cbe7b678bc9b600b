#ifndef EDGE_AGENT_FATES_H
#define EDGE_AGENT_FATES_H

#include <glib.h>

/* Fates is the queue of what happened to the frames of one pipeline, from the streaming threads, which must not enter
 * Go, to the Go side, which takes it at each status. A frame is named by its presentation time, which is unique. */
typedef struct Fates Fates;

typedef enum {
	FATE_MADE,    /* its picture left the decoder */
	FATE_SHOWN,   /* its picture was on the screen */
	FATE_LATE,    /* its picture was dropped: its time was over */
	FATE_SKIPPED, /* it was dropped before the decoder, which is overloaded */
	FATE_PASSED,  /* it was only decoded, because a newer frame waited */
} FateKind;

typedef struct {
	guint64 pts;
	FateKind kind;
	gboolean interlaced; /* of FATE_MADE: the picture may be two frames, one field each */
} Fate;

Fates *fates_new(void);
Fates *fates_ref(Fates *f);
void fates_unref(Fates *f);

void fates_note(Fates *f, guint64 pts, FateKind kind);
void fates_note_made(Fates *f, guint64 pts, gboolean interlaced);

/* fates_take moves the oldest fates, at most n, into list and returns how many. */
gsize fates_take(Fates *f, Fate *list, gsize n);

#endif
