#include "player.h"

#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/video/video.h>
#include <signal.h>
#include <string.h>

/* A frame that comes to the decoder, or a picture that leaves it, more than LATE after its time is late. Only pictures
 * that are not are shown one by one. */
#define LATE (100 * GST_MSECOND)

/* A decoder is slow when at least BACKLOG frames wait for it and the next one comes to it less than SPARE before its time,
 * so that its picture would be late. Frames that no other refers to are dropped then, before pictures are late: those that
 * come out late are not all shown, and what it cost to decode the others is lost. */
#define SPARE (50 * GST_MSECOND)
#define BACKLOG 3

/* A decoder that is behind for OVERLOADED does not catch up by itself, as it does after a break. */
#define OVERLOADED (500 * GST_MSECOND)

/* HOPELESS is how late frames may come to the decoder. Beyond it, frames up to a key frame are dropped. */
#define HOPELESS (1 * GST_SECOND)

/* Catching up is not seen if it takes no longer than UNSEEN, unless the screen is blank. Then it is: a picture every
 * STRIDE, as much as is seen as motion and does not keep the decoder from its work. */
#define UNSEEN (100 * GST_MSECOND)
#define STRIDE (40 * GST_MSECOND)

/* RECENT frames at the decoder are remembered: more than it reorders. WINDOW pictures tell how many it needs. */
enum { RECENT = 32, WINDOW = 64 };

struct Player {
	GstElement *pipeline, *source, *decoder, *sink;
	GstPad *fed_pad, *sink_pad;
	gulong fed_probe, decoded_probe, allocation_probe;
	guint32 number;
	gboolean unpaced;
	Fates *fates;

	GMutex lock; /* of screen */
	Screen *screen;

	/* Set with frames. */
	gint64 hold;
	guint64 show_from;
	gboolean stored;
	gint keys; /* key frames that wait in the source */

	/* Of the source's thread. */
	gboolean skipping;
	guint64 behind; /* since when frames come late; 0: they do not */

	/* Of the decoder's thread. */
	gboolean begun;               /* a picture went to the screen */
	guint64 stride;               /* from when on another picture of catching up is shown */
	guint64 put_pts, put_at;      /* of the newest that went to the screen */
	gint64 slip;                  /* by which a recording was held up */
	guint samples, deepest, deep; /* of the depth: in this window, and the greatest in this and the one before */

	gboolean held; /* a picture waits for room on the screen */
	guint64 decoded, skipped, late;
	guint depth;

	GMutex recent_lock;
	guint64 recent[RECENT]; /* names of frames at the decoder */
	guint fed;

	GMutex margin_lock;
	gint64 margin;
	guint margins;
};

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)

static guint64 due_of(Player *p, guint64 pts)
{
	return pts + LOAD(p->hold);
}

/* timed says that a frame is on the time line. The names of those before its anchor only have an order. */
static gboolean timed(guint64 pts)
{
	return pts > LEAD / 2;
}

/* queued is how many frames wait for the decoder. */
static guint64 queued(Player *p)
{
	return gst_app_src_get_current_level_buffers(GST_APP_SRC(p->source));
}

static void note_fed(Player *p, guint64 pts)
{
	g_mutex_lock(&p->recent_lock);
	p->recent[p->fed++ % RECENT] = pts;
	g_mutex_unlock(&p->recent_lock);
}

/* drops says whether the decoder has to do without a frame, because it is behind. Least is lost with frames that no other
 * refers to, then with those before a key frame that waits already; whole groups of pictures are the last resort. */
static gboolean drops(Player *p, guint64 pts, gboolean key, gboolean newer, gboolean disposable)
{
	guint64 now = running_time(), due = due_of(p, pts);
	guint64 late = now > due ? now - due : 0;
	if (late <= LATE)
		p->behind = 0;
	else if (p->behind == 0)
		p->behind = now;
	gboolean overloaded = p->behind != 0 && now - p->behind > OVERLOADED;
	if (key)
		p->skipping = newer && overloaded;
	else if (late > HOPELESS || (newer && overloaded))
		p->skipping = TRUE;
	gboolean slow = now + SPARE > due && queued(p) >= BACKLOG;
	return p->skipping || (disposable && (slow || late > LATE));
}

/* on_fed keeps frames from a decoder that is behind, but for those of recordings. Of those that only have to be decoded it
 * drops the ones that no other refers to: a newer picture follows. */
static GstPadProbeReturn on_fed(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
	Player *p = data;
	GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER(info);
	guint64 pts = GST_BUFFER_PTS(buffer);
	gboolean key = !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
	gboolean disposable = GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DROPPABLE);
	gboolean newer = key ? !g_atomic_int_dec_and_test(&p->keys) : g_atomic_int_get(&p->keys) > 0;

	if (p->unpaced || LOAD(p->stored)) {
		note_fed(p, pts);
		return GST_PAD_PROBE_OK;
	}
	if (pts < LOAD(p->show_from)) {
		if (disposable && queued(p) >= BACKLOG) {
			fates_note(p->fates, pts, FATE_PASSED);
			return GST_PAD_PROBE_DROP;
		}
	} else if (timed(pts) && drops(p, pts, key, newer, disposable)) {
		STORE(p->skipped, LOAD(p->skipped) + 1);
		fates_note(p->fates, pts, FATE_SKIPPED);
		return GST_PAD_PROBE_DROP;
	}
	note_fed(p, pts);
	return GST_PAD_PROBE_OK;
}

/* on_decoded counts at the end of the pipeline: what brings pictures out of a device's memory can swallow them as
 * well as a decoder. */
static GstPadProbeReturn on_decoded(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
	Player *p = data;
	guint64 n = 1;
	if (info->type & GST_PAD_PROBE_TYPE_BUFFER_LIST)
		n = gst_buffer_list_length(GST_PAD_PROBE_INFO_BUFFER_LIST(info));
	STORE(p->decoded, LOAD(p->decoded) + n);
	return GST_PAD_PROBE_OK;
}

/* on_allocation answers for the sink that pictures with padding are welcome; without that
 * decoders copy each one. */
static GstPadProbeReturn on_allocation(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
	GstQuery *query = GST_PAD_PROBE_INFO_QUERY(info);
	if (GST_QUERY_TYPE(query) != GST_QUERY_ALLOCATION)
		return GST_PAD_PROBE_OK;
	gst_query_add_allocation_meta(query, GST_VIDEO_META_API_TYPE, NULL);
	return GST_PAD_PROBE_HANDLED;
}

static void note_margin(Player *p, gint64 margin)
{
	g_mutex_lock(&p->margin_lock);
	p->margin = p->margins++ ? MAX(p->margin, margin) : margin;
	g_mutex_unlock(&p->margin_lock);
}

gboolean player_margin(Player *p, guint n, gint64 *margin)
{
	g_mutex_lock(&p->margin_lock);
	gboolean enough = p->margins >= n;
	if (enough) {
		*margin = p->margin;
		p->margins = 0;
	}
	g_mutex_unlock(&p->margin_lock);
	return enough;
}

/* sample_depth counts the frames at the decoder that are displayed after a picture that has come out. Those that came in
 * a burst say nothing. */
static void sample_depth(Player *p, guint64 pts)
{
	guint after = 0;
	if (queued(p) > 0)
		return;
	g_mutex_lock(&p->recent_lock);
	for (guint i = 0; i < MIN(p->fed, RECENT); i++)
		after += p->recent[i] > pts;
	g_mutex_unlock(&p->recent_lock);
	p->deepest = MAX(p->deepest, after);
	STORE(p->depth, MAX(p->deepest, p->deep));
	if (++p->samples == WINDOW) {
		p->deep = p->deepest;
		p->samples = p->deepest = 0;
	}
}

guint player_depth(Player *p)
{
	return LOAD(p->depth);
}

/* passes says whether a picture that only had to be decoded stays unseen. Of these only the newest matters, one with no frame
 * behind it, unless that takes too long. */
static gboolean passes(Player *p, gboolean blank)
{
	if (queued(p) == 0)
		return FALSE;
	return p->unpaced || (running_time() < p->stride && (p->begun || !blank));
}

/* outrun says that the picture comes faster than it was made after the one before it: the decoder catches up, which is seen
 * as motion without showing each picture. */
static gboolean outrun(Player *p, guint64 pts, guint64 now)
{
	guint64 step = pts > p->put_pts ? pts - p->put_pts : 0;
	return now - p->put_at < MIN(STRIDE, step / 4 * 3);
}

/* when says when a picture is to be shown, FALSE: never, and then what became of it. The first one is shown at once,
 * whatever its time; late ones are as well, if they may be shown. A recording is held up for as long as its pictures are
 * late. */
static gboolean when(Player *p, guint64 pts, gboolean blank, guint64 *due, FateKind *fate)
{
	guint64 now = running_time(), time = due_of(p, pts);
	gboolean old = pts < LOAD(p->show_from), now_due = old || !timed(pts) || !p->begun;
	*fate = FATE_PASSED;
	if (old && passes(p, blank))
		return FALSE;
	if (LOAD(p->stored) && !now_due) {
		time += p->slip;
		if (now > time)
			p->slip += now - time;
	} else if (!now_due && !p->unpaced && now > time + LATE && outrun(p, pts, now)) {
		*fate = FATE_LATE;
		STORE(p->late, LOAD(p->late) + 1);
		return FALSE;
	}
	if (!now_due && queued(p) == 0)
		note_margin(p, (gint64)(time - now));
	p->begun = TRUE;
	p->stride = now + STRIDE;
	p->put_pts = pts;
	p->put_at = now;
	*due = now_due ? now : MAX(time, now);
	return TRUE;
}

/* put brings a picture to a screen. One that comes while there is none is late for it. */
static void put(Player *p, Screen *s, GstSample *sample, guint64 pts)
{
	guint64 due = 0;
	FateKind fate = FATE_LATE;
	if (!when(p, pts, s && screen_blank(s), &due, &fate) || !s) {
		fates_note(p->fates, pts, s ? fate : FATE_LATE);
		return;
	}
	STORE(p->held, TRUE);
	screen_put(s, sample, (Picture){.due = due, .pts = pts, .number = p->number, .keep = LOAD(p->stored), .fates = p->fates});
	STORE(p->held, FALSE);
}

static GstFlowReturn on_picture(GstAppSink *sink, gpointer data)
{
	Player *p = data;
	GstSample *sample = gst_app_sink_pull_sample(sink);
	if (!sample)
		return GST_FLOW_OK;
	GstBuffer *picture = gst_sample_get_buffer(sample);
	guint64 pts = GST_BUFFER_PTS(picture);
	fates_note_made(p->fates, pts, GST_BUFFER_FLAG_IS_SET(picture, GST_VIDEO_BUFFER_FLAG_INTERLACED));
	sample_depth(p, pts);
	g_mutex_lock(&p->lock);
	Screen *s = p->screen ? screen_ref(p->screen) : NULL;
	g_mutex_unlock(&p->lock);
	put(p, s, sample, pts);
	if (s)
		screen_unref(s);
	gst_sample_unref(sample);
	return GST_FLOW_OK;
}

static void set_if_known(GstElement *element, const char *property, int value)
{
	if (g_object_class_find_property(G_OBJECT_GET_CLASS(element), property))
		g_object_set(element, property, value, NULL);
}

Player *player_new(GstElement *pipeline, guint32 number, gboolean unpaced, int most_errors)
{
	Player *p = g_new0(Player, 1);
	g_mutex_init(&p->lock);
	g_mutex_init(&p->margin_lock);
	g_mutex_init(&p->recent_lock);
	p->fates = fates_new();
	p->number = number;
	p->unpaced = unpaced;
	p->stride = running_time() + UNSEEN;
	p->pipeline = gst_object_ref(pipeline);
	p->source = gst_bin_get_by_name(GST_BIN(pipeline), "source");
	p->decoder = gst_bin_get_by_name(GST_BIN(pipeline), "decoder");
	p->sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
	if (p->source && p->decoder && p->sink && GST_IS_APP_SRC(p->source) && GST_IS_APP_SINK(p->sink)) {
		p->fed_pad = gst_element_get_static_pad(p->source, "src");
		p->sink_pad = gst_element_get_static_pad(p->sink, "sink");
	}
	if (!p->sink_pad) {
		player_free(p);
		return NULL;
	}
	set_if_known(p->decoder, "max-errors", most_errors);
	p->fed_probe = gst_pad_add_probe(p->fed_pad, GST_PAD_PROBE_TYPE_BUFFER, on_fed, p, NULL);
	p->decoded_probe = gst_pad_add_probe(p->sink_pad,
		GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST, on_decoded, p, NULL);
	p->allocation_probe = gst_pad_add_probe(p->sink_pad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, on_allocation, p, NULL);
	GstAppSinkCallbacks callbacks = {.new_sample = on_picture};
	gst_app_sink_set_callbacks(GST_APP_SINK(p->sink), &callbacks, p, NULL);
	keep_running_time(pipeline);
	return p;
}

Fates *player_fates(Player *p)
{
	return p->fates;
}

void player_show(Player *p, Screen *s)
{
	g_mutex_lock(&p->lock);
	Screen *before = p->screen;
	p->screen = s ? screen_ref(s) : NULL;
	g_mutex_unlock(&p->lock);
	if (before)
		screen_unref(before);
}

void player_free(Player *p)
{
	if (p->sink_pad) {
		gst_pad_remove_probe(p->fed_pad, p->fed_probe);
		gst_pad_remove_probe(p->sink_pad, p->decoded_probe);
		gst_pad_remove_probe(p->sink_pad, p->allocation_probe);
		gst_app_sink_set_callbacks(GST_APP_SINK(p->sink), &(GstAppSinkCallbacks){0}, NULL, NULL);
	}
	player_show(p, NULL);
	gst_clear_object(&p->fed_pad);
	gst_clear_object(&p->sink_pad);
	gst_clear_object(&p->sink);
	gst_clear_object(&p->decoder);
	gst_clear_object(&p->source);
	gst_clear_object(&p->pipeline);
	g_mutex_clear(&p->lock);
	g_mutex_clear(&p->margin_lock);
	g_mutex_clear(&p->recent_lock);
	fates_unref(p->fates);
	g_free(p);
}

int player_push(Player *p, const void *prefix, gsize prefix_size, const void *data, gsize size, guint64 pts, int flags)
{
	GstBuffer *buffer = gst_buffer_new_allocate(NULL, prefix_size + size, NULL);
	if (!buffer)
		return GST_FLOW_ERROR;
	if (prefix_size)
		gst_buffer_fill(buffer, 0, prefix, prefix_size);
	gst_buffer_fill(buffer, prefix_size, data, size);
	GST_BUFFER_PTS(buffer) = pts;
	GST_BUFFER_DTS(buffer) = GST_CLOCK_TIME_NONE;
	if (flags & PUSH_KEY)
		g_atomic_int_inc(&p->keys);
	else
		GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
	if (flags & PUSH_DISPOSABLE)
		GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DROPPABLE);
	STORE(p->stored, (flags & PUSH_STORED) != 0);
	if (flags & PUSH_DISCONT)
		GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DISCONT);
	return gst_app_src_push_buffer(GST_APP_SRC(p->source), buffer);
}

void player_hold(Player *p, gint64 hold)
{
	STORE(p->hold, hold);
}

void player_show_from(Player *p, guint64 pts)
{
	STORE(p->show_from, pts);
}

void player_end_of_stream(Player *p)
{
	gst_app_src_end_of_stream(GST_APP_SRC(p->source));
}

PlayerCounts player_counts(Player *p)
{
	PlayerCounts c = {.queued = queued(p), .decoded = LOAD(p->decoded), .skipped = LOAD(p->skipped), .late = LOAD(p->late),
		.held = LOAD(p->held)};
	return c;
}

static void name_source(News *n, GstMessage *m)
{
	GstObject *source = GST_MESSAGE_SRC(m);
	if (!source)
		return;
	n->name = gst_object_get_name(source);
	if (GST_IS_ELEMENT(source) && gst_element_get_factory(GST_ELEMENT(source)))
		n->factory = g_strdup(GST_OBJECT_NAME(gst_element_get_factory(GST_ELEMENT(source))));
}

static void parse(News *n, GstMessage *m, void (*read)(GstMessage *, GError **, gchar **))
{
	GError *error = NULL;
	read(m, &error, &n->debug);
	name_source(n, m);
	if (!error)
		return;
	n->domain = g_strdup(g_quark_to_string(error->domain));
	n->code = error->code;
	n->message = g_strdup(error->message);
	g_error_free(error);
}

News bus_wait(GstElement *pipeline, guint64 timeout_ns)
{
	News n = {0};
	GstBus *bus = gst_element_get_bus(pipeline);
	GstMessage *m = gst_bus_timed_pop_filtered(bus, timeout_ns,
		GST_MESSAGE_ERROR | GST_MESSAGE_WARNING | GST_MESSAGE_EOS | GST_MESSAGE_LATENCY | GST_MESSAGE_QOS |
			GST_MESSAGE_APPLICATION);
	gst_object_unref(bus);
	if (!m)
		return n;
	switch (GST_MESSAGE_TYPE(m)) {
	case GST_MESSAGE_ERROR:
		n.kind = NEWS_ERROR;
		parse(&n, m, gst_message_parse_error);
		break;
	case GST_MESSAGE_WARNING:
		n.kind = NEWS_WARNING;
		parse(&n, m, gst_message_parse_warning);
		break;
	case GST_MESSAGE_EOS:
		n.kind = NEWS_EOS;
		break;
	case GST_MESSAGE_QOS:
		n.kind = NEWS_LOST;
		name_source(&n, m);
		break;
	case GST_MESSAGE_LATENCY:
		gst_bin_recalculate_latency(GST_BIN(pipeline));
		break;
	default:
		n.kind = gst_message_has_name(m, "first-picture") ? NEWS_FIRST_PICTURE : NEWS_WOKEN;
	}
	gst_message_unref(m);
	return n;
}

void bus_wake(GstElement *pipeline)
{
	GstBus *bus = gst_element_get_bus(pipeline);
	gst_bus_post(bus, gst_message_new_application(GST_OBJECT(pipeline), gst_structure_new_empty("wake")));
	gst_object_unref(bus);
}

void news_clear(News *n)
{
	g_free(n->name);
	g_free(n->factory);
	g_free(n->domain);
	g_free(n->message);
	g_free(n->debug);
	memset(n, 0, sizeof *n);
}

void load_element(const char *name)
{
	GstElementFactory *known = gst_element_factory_find(name);
	GstPluginFeature *loaded = known ? gst_plugin_feature_load(GST_PLUGIN_FEATURE(known)) : NULL;
	gst_clear_object(&loaded);
	gst_clear_object(&known);
}

char **video_elements(void)
{
	GstElementFactoryListType types = GST_ELEMENT_FACTORY_TYPE_DECODER | GST_ELEMENT_FACTORY_TYPE_SINK |
		GST_ELEMENT_FACTORY_TYPE_MEDIA_VIDEO;
	GList *list = gst_element_factory_list_get_elements(types, GST_RANK_NONE), *l;
	char **names = g_new0(char *, g_list_length(list) + 1);
	int n = 0;
	for (l = list; l; l = l->next)
		names[n++] = g_strdup(GST_OBJECT_NAME(l->data));
	gst_plugin_feature_list_free(list);
	return names;
}

void die_of_faults(void)
{
	int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
	for (gsize i = 0; i < G_N_ELEMENTS(faults); i++)
		signal(faults[i], SIG_DFL);
}
