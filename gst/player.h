#ifndef EDGE_AGENT_PLAYER_H
#define EDGE_AGENT_PLAYER_H

#include "fates.h"
#include "screen.h"

/* Player is one pipeline that decodes, as built from a plan, and what is counted in it. The
 * counters are written by streaming threads and read by anyone, without a lock: a driver
 * that hangs with one held must not take the supervision with it. */
typedef struct Player Player;

/* player_new takes a reference of the pipeline, whose elements source, decoder
 * and sink it finds by name. Its pictures have the number. An unpaced player gives no frame up for being
 * late. most_errors in a row end it; -1: none do. NULL when an element is missing. */
Player *player_new(GstElement *pipeline, guint32 number, gboolean unpaced, int most_errors);
void player_free(Player *p);

/* player_fates gives what happens to the frames. It lives at least as long as the player. */
Fates *player_fates(Player *p);

/* player_show makes a screen the one that gets the pictures; NULL for none. */
void player_show(Player *p, Screen *s);

enum { PUSH_KEY = 1, PUSH_DISCONT = 2, PUSH_DISPOSABLE = 4, PUSH_STORED = 8 };

/* player_push copies the prefix and the data into a buffer and gives it to the source. pts is the frame's name; its
 * picture is due player_hold later. Returns a GstFlowReturn. */
int player_push(Player *p, const void *prefix, gsize prefix_size, const void *data, gsize size, guint64 pts, int flags);
void player_end_of_stream(Player *p);

/* player_hold says how long after their names pictures are due. */
void player_hold(Player *p, gint64 hold);

/* player_show_from says which pictures are to be seen: those named pts or later. The ones before only have to be decoded. */
void player_show_from(Player *p, guint64 pts);

/* player_depth is how many frames after it, at the most, the decoder has lately needed to deliver a picture. */
guint player_depth(Player *p);

typedef struct {
	guint64 queued, decoded;
	guint64 skipped; /* frames that were not decoded, because the decoder is behind */
	guint64 late;    /* pictures that were not shown, because the decoder is behind */
	gboolean held;   /* a picture waits for room on the screen, and the decoder for it */
} PlayerCounts;

PlayerCounts player_counts(Player *p);

/* player_margin gives how long before their time pictures leave the decoder, nanoseconds: the longest of at least n
 * of them since the last call. FALSE while there are fewer. */
gboolean player_margin(Player *p, guint n, gint64 *margin);

typedef enum { NEWS_NONE, NEWS_ERROR, NEWS_WARNING, NEWS_EOS, NEWS_FIRST_PICTURE, NEWS_LOST, NEWS_WOKEN } NewsKind;

/* News is one message of a pipeline's bus; NEWS_LOST is a frame of which a decoder made no picture. The strings belong to the receiver. */
typedef struct {
	NewsKind kind;
	char *name;     /* of the element */
	char *factory;  /* its type, such as avdec_h264 */
	char *domain, *message, *debug;
	int code;
} News;

/* bus_wait waits for news of a pipeline, at most that long. */
News bus_wait(GstElement *pipeline, guint64 timeout_ns);

/* bus_wake makes a bus_wait return. */
void bus_wake(GstElement *pipeline);
void news_clear(News *n);

/* load_element loads the plugin that an element is in, if there is one. */
void load_element(const char *name);

/* video_elements lists names of the video decoders and sinks that are
 * installed; free it with g_strfreev. */
char **video_elements(void);

/* die_of_faults lets a driver's fault end the process by its signal, which the
 * agent reports. Go's handlers would make it an exit with status 2. */
void die_of_faults(void);

#endif
