#include "player.h"

#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/video/video.h>
#include <signal.h>
#include <string.h>

/* BEHIND is how late a frame may come to the decoder. Beyond it, the sink would drop its picture anyway. */
#define BEHIND (200 * GST_MSECOND)

/* Catching up is not seen if it takes no longer than UNSEEN. Then it is: a picture every STRIDE, as much as
 * is seen as motion and does not keep the decoder from its work. */
#define UNSEEN (100 * GST_MSECOND)
#define STRIDE (40 * GST_MSECOND)

struct Player {
	GstElement *pipeline, *source, *decoder, *sink;
	GstPad *fed_pad, *sink_pad;
	gulong fed_probe, decoded_probe, allocation_probe;
	guint32 number;
	gboolean unpaced;
	Fates *fates;

	GMutex lock; /* of screen */
	Screen *screen;

	gint keys;         /* key frames that wait in the source */
	gboolean skipping; /* of the source's thread */
	gboolean begun;    /* of the decoder's thread: a picture went to the screen */
	gboolean held;     /* a picture waits for room on the screen */
	guint64 stride;    /* of the same: from when on another picture of catching up is shown */
	guint64 decoded, skipped;

	GMutex margin_lock;
	gint64 margin;
	guint margins;
};

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)

/* on_fed gives up frames that would come too late, up to a key frame: after that one unless a newer one waits. */
static GstPadProbeReturn on_fed(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
	Player *p = data;
	GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER(info);
	guint64 pts = GST_BUFFER_PTS(buffer);
	gboolean key = !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
	gboolean newer = key && !g_atomic_int_dec_and_test(&p->keys);

	if (p->unpaced || pts < LEAD)
		return GST_PAD_PROBE_OK;
	gboolean late = running_time() > pts + BEHIND;
	if (key)
		p->skipping = late && newer;
	else if (late)
		p->skipping = TRUE;
	if (p->skipping) {
		STORE(p->skipped, LOAD(p->skipped) + 1);
		fates_note(p->fates, pts, FATE_SKIPPED);
		return GST_PAD_PROBE_DROP;
	}
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

static guint64 queued(Player *p)
{
	return gst_app_src_get_current_level_buffers(GST_APP_SRC(p->source));
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

/* when says when a picture is to be shown, FALSE: never. The first one is shown at once, whatever its time. Of those that
 * are replayed, only the newest matters, one with no frame behind it, unless that takes too long. */
static gboolean when(Player *p, guint64 pts, guint64 *due)
{
	guint64 now = running_time();
	gboolean replayed = pts < LEAD, first = !p->begun;
	if (replayed && queued(p) > 0 && (p->unpaced || now < p->stride))
		return FALSE;
	p->begun = TRUE;
	p->stride = now + STRIDE;
	*due = replayed || first ? now : pts;
	if (!replayed && !first)
		note_margin(p, (gint64)(pts - now));
	return TRUE;
}

/* put brings a picture to the screen. One that comes while there is no screen is late for it. */
static void put(Player *p, GstSample *sample, guint64 pts, guint64 due)
{
	g_mutex_lock(&p->lock);
	Screen *s = p->screen ? screen_ref(p->screen) : NULL;
	g_mutex_unlock(&p->lock);
	if (!s) {
		fates_note(p->fates, pts, FATE_LATE);
		return;
	}
	STORE(p->held, TRUE);
	screen_put(s, sample, (Picture){.due = due, .pts = pts, .number = p->number, .fates = p->fates});
	STORE(p->held, FALSE);
	screen_unref(s);
}

static GstFlowReturn on_picture(GstAppSink *sink, gpointer data)
{
	Player *p = data;
	GstSample *sample = gst_app_sink_pull_sample(sink);
	if (!sample)
		return GST_FLOW_OK;
	GstBuffer *picture = gst_sample_get_buffer(sample);
	guint64 pts = GST_BUFFER_PTS(picture), due = 0;
	fates_note_made(p->fates, pts, GST_BUFFER_FLAG_IS_SET(picture, GST_VIDEO_BUFFER_FLAG_INTERLACED));
	if (when(p, pts, &due))
		put(p, sample, pts, due);
	else
		fates_note(p->fates, pts, FATE_PASSED);
	gst_sample_unref(sample);
	return GST_FLOW_OK;
}

static void set_if_known(GstElement *element, const char *property, int value)
{
	if (g_object_class_find_property(G_OBJECT_GET_CLASS(element), property))
		g_object_set(element, property, value, NULL);
}

Player *player_new(GstElement *pipeline, guint32 number, gboolean unpaced)
{
	Player *p = g_new0(Player, 1);
	g_mutex_init(&p->lock);
	g_mutex_init(&p->margin_lock);
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
	set_if_known(p->decoder, "max-errors", 10); /* unlimited by default: it would fail in silence for ever */
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
	if (flags & PUSH_DISCONT)
		GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DISCONT);
	return gst_app_src_push_buffer(GST_APP_SRC(p->source), buffer);
}

void player_end_of_stream(Player *p)
{
	gst_app_src_end_of_stream(GST_APP_SRC(p->source));
}

PlayerCounts player_counts(Player *p)
{
	PlayerCounts c = {.queued = queued(p), .decoded = LOAD(p->decoded), .skipped = LOAD(p->skipped), .held = LOAD(p->held)};
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
