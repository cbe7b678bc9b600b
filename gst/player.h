#ifndef EDGE_AGENT_PLAYER_H
#define EDGE_AGENT_PLAYER_H

#include <gst/gst.h>

/* Player is one pipeline as built from a plan, and what is counted in it. The
 * counters are written by streaming threads and read by anyone, without a lock: a driver
 * that hangs with one held must not take the supervision with it. */
typedef struct Player Player;

/* player_new takes a reference of the pipeline, whose elements source, decoder
 * and sink it finds by name. fd is an open DRM device for the sink, or -1. NULL
 * when an element is missing. */
Player *player_new(GstElement *pipeline, int fd, guint64 lead_ns);

/* player_start sets the time line up; to be called before PLAYING. */
void player_start(Player *p);
void player_free(Player *p);

/* player_now is the running time in nanoseconds. */
guint64 player_now(Player *p);

enum { PUSH_KEY = 1, PUSH_DISCONT = 2 };

/* player_push copies the prefix and the data into a buffer and gives it to the source.
 * Returns a GstFlowReturn. */
int player_push(Player *p, const void *prefix, gsize prefix_size, const void *data, gsize size, guint64 pts, int flags);
void player_end_of_stream(Player *p);

typedef struct {
	guint64 queued, decoded, shown, late;
	guint64 shown_pts;  /* of the newest picture on the screen */
	gint64 shown_wall;  /* when it was there, microseconds since 1970; 0 before the first */
} PlayerCounts;

PlayerCounts player_counts(Player *p);

typedef enum { NEWS_NONE, NEWS_ERROR, NEWS_WARNING, NEWS_EOS, NEWS_FIRST_PICTURE, NEWS_WOKEN } NewsKind;

/* News is one message of the bus. The strings belong to the receiver. */
typedef struct {
	NewsKind kind;
	char *name;     /* of the element */
	char *factory;  /* its type, such as avdec_h264 */
	char *domain, *message, *debug;
	int code;
} News;

/* player_wait waits for news, at most that long. */
News player_wait(Player *p, guint64 timeout_ns);
void player_wake(Player *p);
void news_clear(News *n);

/* player_snapshot makes an image of the newest picture in the sink. Free the
 * data with g_free. On failure NULL, and *error is a text to g_free. */
void *player_snapshot(Player *p, const char *media_type, guint64 timeout_ns, gsize *size, char **error);

/* video_elements lists names of the video decoders and sinks that are
 * installed; free it with g_strfreev. */
char **video_elements(void);

/* die_of_faults lets a driver's fault end the process by its signal, which the
 * agent reports. Go's handlers would make it an exit with status 2. */
void die_of_faults(void);

#endif
