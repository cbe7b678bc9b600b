#ifndef EDGE_AGENT_SCREEN_H
#define EDGE_AGENT_SCREEN_H

#include <gst/gst.h>

#include "fates.h"

/* All pipelines of the process run on one time line: the system clock, from LEAD at the
 * process's first look at it, so that a picture can be older than the process. */
#define LEAD (3600 * GST_SECOND)

/* running_time is where that line is now, in nanoseconds. */
guint64 running_time(void);

/* keep_running_time puts a pipeline on it; to be called before PLAYING. */
void keep_running_time(GstElement *pipeline);

/* Screen is the pipeline at whose end the pictures are seen. It outlives those that decode, so
 * that a picture stays until there is another one. A picture has the number of the
 * pipeline that it is from; the slate has number 0.
 *
 * Waiting pictures are few: whoever brings more waits, and so decodes no faster than is shown. */
typedef struct Screen Screen;

/* screen_new takes a reference of the pipeline, whose elements source and sink it
 * finds by name. fd is an open DRM device for the sink, or -1. NULL when an element is missing. */
Screen *screen_new(GstElement *pipeline, int fd);
Screen *screen_ref(Screen *s);
void screen_unref(Screen *s);

/* screen_close makes everyone who waits give up. The pipeline is not touched. */
void screen_close(Screen *s);

/* screen_turn makes the screen take pictures of a number: those of others that still
 * wait are passed over. */
void screen_turn(Screen *s, guint32 number);

/* Picture is a picture on its way to the screen. */
typedef struct {
	guint64 due;    /* running time */
	guint64 pts;    /* its name in the counts and fates */
	guint32 number; /* of its pipeline */
	gboolean keep;  /* it is shown, however late it is */
	Fates *fates;   /* are told whether it was shown; NULL for the slate */
} Picture;

/* screen_put brings a picture and waits for room. FALSE when it was given up: the screen is closed, is for another
 * number now, or took nothing for too long. */
gboolean screen_put(Screen *s, GstSample *sample, Picture picture);

/* screen_slate shows pixels of four bytes (red, green, blue, none) now, unless a picture waits or came to the screen since
 * whoever decided on the slate looked: pictures is what ScreenCounts had then. */
gboolean screen_slate(Screen *s, const void *pixels, int width, int height, guint64 pictures);

/* screen_begin_slate is screen_slate for a slate that does not come through the pipeline: when TRUE, no picture comes to the screen until
 * screen_end_slate, before which it is to be painted. */
gboolean screen_begin_slate(Screen *s, guint64 pictures);
void screen_end_slate(Screen *s);

/* PlaneColours are the properties of a display plane that say how YUV pictures become RGB. An id of 0: it has none. */
typedef struct {
	guint32 plane, encoding, range; /* ids */
	guint64 bt601, bt709, bt2020, limited, full;
} PlaneColours;

/* screen_use_plane tells that pictures go to a plane of the open card that fd is. To be called before the pipeline runs. */
void screen_use_plane(Screen *s, int fd, PlaneColours colours);

/* screen_blank says that no picture is on the screen: nothing at all, or the slate. */
gboolean screen_blank(Screen *s);

/* screen_forget gives up the pictures that wait, when the pipeline does not run any more. */
void screen_forget(Screen *s);

/* screen_drain waits until no picture waits, at most that long. */
void screen_drain(Screen *s, guint64 timeout_ns);

typedef struct {
	guint64 shown, late; /* of the present number */
	guint64 shown_pts;   /* of the newest of these on the screen */
	gint64 shown_wall;   /* when it was there, microseconds since 1970; 0 before the first */
	guint64 pictures;    /* that have been on the screen, of all numbers */
} ScreenCounts;

ScreenCounts screen_counts(Screen *s);

/* screen_pixels gives what is on the screen as red, green, blue and one byte more each, at least scaled
 * down to fit into most_width. Free it with g_free. On failure NULL, and *error is a text to g_free. */
void *screen_pixels(Screen *s, int most_width, guint64 timeout_ns, int *width, int *height, char **error);

/* x_screen_size asks the X server at DISPLAY for the size of its screen. FALSE when there is none, or no libX11. */
gboolean x_screen_size(int *width, int *height);

#endif
