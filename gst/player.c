#include "player.h"

#include <gst/app/gstappsrc.h>
#include <gst/video/video.h>
#include <signal.h>
#include <string.h>

struct Player {
	GstElement *pipeline, *source, *decoder, *sink;
	GstBus *bus;
	GstClock *clock;
	GstClockTime base;
	guint64 lead;

	GstPad *decoded_pad, *shown_pad;
	gulong decoded_probe;
	GstPadChainFunction render; /* the sink's own chain function */

	guint64 decoded, shown, late, shown_pts;
	gint64 shown_wall;
};

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)

static void post(Player *p, const char *name)
{
	GstStructure *s = gst_structure_new_empty(name);
	gst_bus_post(p->bus, gst_message_new_application(GST_OBJECT(p->pipeline), s));
}

static GstPadProbeReturn on_decoded(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
	Player *p = data;
	guint64 n = 1;
	if (info->type & GST_PAD_PROBE_TYPE_BUFFER_LIST)
		n = gst_buffer_list_length(GST_PAD_PROBE_INFO_BUFFER_LIST(info));
	STORE(p->decoded, LOAD(p->decoded) + n);
	return GST_PAD_PROBE_OK;
}

static void read_stats(GstElement *sink, guint64 *rendered, guint64 *dropped)
{
	GstStructure *stats = gst_base_sink_get_stats(GST_BASE_SINK(sink));
	gst_structure_get(stats, "rendered", G_TYPE_UINT64, rendered, "dropped", G_TYPE_UINT64, dropped, NULL);
	gst_structure_free(stats);
}

/* on_render stands in for the sink's chain function, because only its return
 * tells that a picture has waited for its time and is on the screen. */
static GstFlowReturn on_render(GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
	Player *p = pad->chaindata;
	guint64 pts = GST_BUFFER_PTS(buffer);
	guint64 shown = LOAD(p->shown), rendered = shown, dropped = LOAD(p->late);
	GstFlowReturn ret = p->render(pad, parent, buffer);

	read_stats(p->sink, &rendered, &dropped);
	STORE(p->late, dropped);
	if (rendered == shown)
		return ret;
	STORE(p->shown_pts, pts);
	STORE(p->shown_wall, g_get_real_time());
	STORE(p->shown, rendered);
	if (shown == 0)
		post(p, "first-picture");
	return ret;
}

static void set_if_known(GstElement *element, const char *property, int value)
{
	if (g_object_class_find_property(G_OBJECT_GET_CLASS(element), property))
		g_object_set(element, property, value, NULL);
}

Player *player_new(GstElement *pipeline, int fd, guint64 lead_ns)
{
	Player *p = g_new0(Player, 1);
	p->pipeline = gst_object_ref(pipeline);
	p->bus = gst_element_get_bus(pipeline);
	p->lead = lead_ns;
	p->source = gst_bin_get_by_name(GST_BIN(pipeline), "source");
	p->decoder = gst_bin_get_by_name(GST_BIN(pipeline), "decoder");
	p->sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
	if (p->source && p->decoder && p->sink) {
		p->decoded_pad = gst_element_get_static_pad(p->decoder, "src");
		p->shown_pad = gst_element_get_static_pad(p->sink, "sink");
	}
	if (!p->decoded_pad || !p->shown_pad || !GST_IS_BASE_SINK(p->sink) || !GST_IS_APP_SRC(p->source)) {
		player_free(p);
		return NULL;
	}
	set_if_known(p->decoder, "max-errors", 10); /* unlimited by default: it would fail in silence for ever */
	if (fd >= 0)
		set_if_known(p->sink, "fd", fd);

	p->decoded_probe = gst_pad_add_probe(p->decoded_pad,
		GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST, on_decoded, p, NULL);
	p->render = GST_PAD_CHAINFUNC(p->shown_pad);
	gst_pad_set_chain_function_full(p->shown_pad, on_render, p, NULL);
	return p;
}

void player_start(Player *p)
{
	p->clock = gst_system_clock_obtain();
	gst_pipeline_use_clock(GST_PIPELINE(p->pipeline), p->clock);
	/* Running time begins at lead, so that pictures can be older than the pipeline. */
	p->base = gst_clock_get_time(p->clock) - p->lead;
	gst_element_set_start_time(p->pipeline, GST_CLOCK_TIME_NONE);
	gst_element_set_base_time(p->pipeline, p->base);
}

void player_free(Player *p)
{
	if (p->render)
		gst_pad_set_chain_function_full(p->shown_pad, p->render, NULL, NULL);
	if (p->decoded_probe)
		gst_pad_remove_probe(p->decoded_pad, p->decoded_probe);
	gst_clear_object(&p->shown_pad);
	gst_clear_object(&p->decoded_pad);
	gst_clear_object(&p->sink);
	gst_clear_object(&p->decoder);
	gst_clear_object(&p->source);
	gst_clear_object(&p->clock);
	gst_clear_object(&p->bus);
	gst_clear_object(&p->pipeline);
	g_free(p);
}

guint64 player_now(Player *p)
{
	return gst_clock_get_time(p->clock) - p->base;
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
	if (!(flags & PUSH_KEY))
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
	PlayerCounts c = {
		.queued = gst_app_src_get_current_level_buffers(GST_APP_SRC(p->source)),
		.decoded = LOAD(p->decoded),
		.shown = LOAD(p->shown),
		.late = LOAD(p->late),
		.shown_pts = LOAD(p->shown_pts),
		.shown_wall = LOAD(p->shown_wall),
	};
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

News player_wait(Player *p, guint64 timeout_ns)
{
	News n = {0};
	GstMessage *m = gst_bus_timed_pop_filtered(p->bus, timeout_ns,
		GST_MESSAGE_ERROR | GST_MESSAGE_WARNING | GST_MESSAGE_EOS | GST_MESSAGE_LATENCY | GST_MESSAGE_APPLICATION);
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
	case GST_MESSAGE_LATENCY: /* the decoder has learned how far it reorders pictures */
		gst_bin_recalculate_latency(GST_BIN(p->pipeline));
		break;
	default:
		n.kind = gst_message_has_name(m, "first-picture") ? NEWS_FIRST_PICTURE : NEWS_WOKEN;
	}
	gst_message_unref(m);
	return n;
}

void player_wake(Player *p)
{
	post(p, "wake");
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

void *player_snapshot(Player *p, const char *media_type, guint64 timeout_ns, gsize *size, char **error)
{
	GstSample *sample = gst_base_sink_get_last_sample(GST_BASE_SINK(p->sink)), *image = NULL;
	GError *gerror = NULL;
	void *data = NULL;
	if (!sample) {
		*error = g_strdup("there was no picture yet");
		return NULL;
	}
	GstCaps *caps = gst_caps_new_empty_simple(media_type);
	image = gst_video_convert_sample(sample, caps, timeout_ns, &gerror);
	gst_caps_unref(caps);
	gst_sample_unref(sample);
	if (!image) {
		*error = g_strdup(gerror ? gerror->message : "the picture could not be converted");
		g_clear_error(&gerror);
		return NULL;
	}
	gst_buffer_extract_dup(gst_sample_get_buffer(image), 0, -1, &data, size);
	gst_sample_unref(image);
	return data;
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
