#ifndef EDGE_AGENT_PROBE_H
#define EDGE_AGENT_PROBE_H

#include <gst/gst.h>

/* Pictures looks at the pictures as they come from the decoder: whether they
 * differ, and in trials what is in them. A driver that fails may deliver the same
 * surfaces again and again without a word, or surfaces that nobody can read: of these, a few in a row become an
 * error on the bus. */
typedef struct Pictures Pictures;

/* pictures_new begins to look, before the pipeline starts. With checksums one of every whole picture is
 * kept; without, rows here and there are enough to tell one picture from another. NULL when the
 * pipeline lacks a decoder. */
Pictures *pictures_new(GstElement *pipeline, gboolean checksums);
void pictures_free(Pictures *p);

/* pictures_fresh is how many pictures differ from the last few dozen before them; those in memory that cannot be
 * looked at count. */
guint64 pictures_fresh(Pictures *p);

/* pictures_checksums copies the checksums from the first on, at most n of them, and
 * returns how many there are. 0 stands for a picture that cannot be looked at. */
gsize pictures_checksums(Pictures *p, guint64 *sums, gsize n);

/* pictures_opaque says that there were pictures in tiles or the like, whose checksums only tell them apart: the
 * same picture from another decoder has another. */
gboolean pictures_opaque(Pictures *p);

/* element_text is a property of a new element as text, to g_free; NULL when it has none. Some elements know their device
 * only when they have it open. */
char *element_text(const char *factory, const char *property, gboolean opened);

#endif
