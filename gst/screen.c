#include "screen.h"

#include <dlfcn.h>
#include <gst/app/gstappsrc.h>
#include <gst/video/video.h>
#include <string.h>
#include <sys/ioctl.h>

enum { MOST_WAITING = 3, RING = 16 };

/* PATIENCE is how long after its time a picture is still waited with. */
#define PATIENCE (1 * G_USEC_PER_SEC)

/* KEEP_PATIENCE is the same for pictures that must not be lost. */
#define KEEP_PATIENCE (30 * G_USEC_PER_SEC)

/* TOO_LATE is how late a picture may be when its turn comes and still be shown. Those that are later are left out before they
 * are converted: what that costs is lacking for the next one. On a box on which every picture takes longer than that, those
 * that come when nothing waits are shown. The sink itself drops none: it would not tell which. */
#define TOO_LATE (100 * GST_MSECOND)

/* PIXELS_LONGEST is the longest side of a picture that is converted for screen_pixels, as videoscale has it; PIXELS_MOST is
 * how many pixels become of it at the most, whatever a stream says of their shape. */
#define PIXELS_LONGEST 32767
#define PIXELS_MOST (1 << 26)

struct Screen {
	gint refs;
	GstElement *pipeline, *source, *sink;
	GstBus *bus;
	GstPad *pad;
	GstPadChainFunction render; /* the sink's own chain function */
	gboolean paced;             /* pictures wait for their time */
	GstPad *source_pad;
	gulong turn_probe;
	int card; /* of the plane that shows pictures; -1: there is none */
	PlaneColours colours;
	GstCaps *coloured; /* that the plane was told of */
	gboolean scaled;   /* that the plane scales was looked at */

	/* The lock is never held while anything of GStreamer runs. */
	GMutex lock;
	GCond moved;
	Picture ring[RING]; /* on their way from the source to the sink; they hold a reference of their fates */
	guint first, count;
	gboolean rendering;
	gboolean painting; /* a slate that does not come through the pipeline */
	gboolean pushing; /* what was noted last is on its way to the source: it is not to be overtaken */
	gboolean picture; /* is on the screen */
	guint64 pictures; /* that have been there */
	gboolean closed;
	guint32 number;
	ScreenCounts counts;
};

static GstClock *the_clock;
static GstClockTime the_base;

static void find_time(void)
{
	static gsize once;
	if (!g_once_init_enter(&once))
		return;
	the_clock = gst_system_clock_obtain();
	the_base = gst_clock_get_time(the_clock) - LEAD;
	g_once_init_leave(&once, 1);
}

guint64 running_time(void)
{
	find_time();
	return gst_clock_get_time(the_clock) - the_base;
}

void keep_running_time(GstElement *pipeline)
{
	find_time();
	gst_pipeline_use_clock(GST_PIPELINE(pipeline), the_clock);
	gst_element_set_start_time(pipeline, GST_CLOCK_TIME_NONE);
	gst_element_set_base_time(pipeline, the_base);
}

/* settle says what became of a picture and lets go of it. What a pipeline that is being replaced has left is settled
 * with the rest of it. */
static void settle(Screen *s, Picture *e, FateKind fate)
{
	if (!e->fates)
		return;
	if (fate == FATE_SHOWN || e->number == s->number)
		fates_note(e->fates, e->pts, fate);
	fates_unref(e->fates);
	e->fates = NULL;
}

/* lose drops the oldest picture of the ring. */
static void lose(Screen *s)
{
	Picture *e = &s->ring[s->first];
	if (e->number != 0 && e->number == s->number)
		s->counts.late++;
	settle(s, e, FATE_LATE);
	s->first = (s->first + 1) % RING;
	s->count--;
}

/* find gives the picture of a time that is on its way; NULL: there is none. */
static Picture *find(Screen *s, guint64 due)
{
	for (guint i = 0; i < s->count; i++) {
		Picture *e = &s->ring[(s->first + i) % RING];
		if (e->due == due)
			return e;
	}
	return NULL;
}

/* stale says that a picture is of a pipeline that is replaced. */
static gboolean stale(Screen *s, const Picture *e)
{
	return e->number != 0 && e->number != s->number;
}

/* take removes a picture that has come to the sink from the ring, and those before it, which some
 * element has dropped. */
static gboolean take(Screen *s, guint64 due, Picture *e)
{
	const Picture *found = find(s, due);
	if (!found)
		return FALSE;
	while (&s->ring[s->first] != found)
		lose(s);
	*e = s->ring[s->first];
	s->first = (s->first + 1) % RING;
	s->count--;
	g_cond_broadcast(&s->moved);
	return TRUE;
}

/* count_render counts a picture that came to the sink. TRUE when it is the first one of its pipeline. */
static gboolean count_render(Screen *s, Picture *e, gboolean shown)
{
	gboolean first = FALSE;
	if (e->number == 0)
		return FALSE;
	if (e->number == s->number && shown) {
		first = s->counts.shown++ == 0;
		s->counts.shown_pts = e->pts;
		s->counts.shown_wall = g_get_real_time();
	} else if (e->number == s->number) {
		s->counts.late++;
	}
	settle(s, e, shown ? FATE_SHOWN : FATE_LATE);
	return first;
}

/* newest says that no picture came after one that is on its way. */
static gboolean newest(Screen *s, const Picture *e)
{
	return e == &s->ring[(s->first + s->count - 1) % RING];
}

/* too_late says that a picture is to be left out. While there is none on the screen the newest is shown, however late it is: a
 * slate may have been in its way, and the next picture may be far off. */
static gboolean too_late(Screen *s, const Picture *e)
{
	if (!s->paced || e->number == 0 || e->keep || (!s->picture && newest(s, e)))
		return FALSE;
	return running_time() > e->due + TOO_LATE;
}

/* on_turn leaves out pictures that are too late, or of a pipeline that is replaced, when it is their turn. */
static GstPadProbeReturn on_turn(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
	Screen *s = data;
	GstPadProbeReturn ret = GST_PAD_PROBE_OK;
	g_mutex_lock(&s->lock);
	Picture *e = find(s, GST_BUFFER_PTS(GST_PAD_PROBE_INFO_BUFFER(info)));
	if (e && (stale(s, e) || too_late(s, e))) {
		Picture left;
		take(s, e->due, &left);
		count_render(s, &left, FALSE);
		ret = GST_PAD_PROBE_DROP;
	}
	g_mutex_unlock(&s->lock);
	return ret;
}

/* As in the kernel's drm_mode.h, which is not everywhere. */
struct plane_property {
	guint64 value;
	guint32 property, object, type, padding;
};
#define SET_PROPERTY _IOWR('d', 0xba, struct plane_property)
#define OBJECT_PLANE 0xeeeeeeee

static void set_property(Screen *s, guint32 property, guint64 value)
{
	struct plane_property p = {.value = value, .property = property, .object = s->colours.plane, .type = OBJECT_PLANE};
	if (property != 0)
		(void)ioctl(s->card, SET_PROPERTY, &p); /* where a driver refuses, its default stays */
}

/* colour tells the plane how the pictures' YUV becomes RGB, when that changes. The sink does not. */
static void colour(Screen *s, GstPad *pad)
{
	GstCaps *caps = gst_pad_get_current_caps(pad);
	GstVideoInfo info;
	gboolean known = caps && caps != s->coloured && gst_video_info_from_caps(&info, caps);
	if (known && GST_VIDEO_INFO_IS_YUV(&info)) {
		const PlaneColours *c = &s->colours;
		GstVideoColorMatrix m = info.colorimetry.matrix;
		set_property(s, c->encoding, m == GST_VIDEO_COLOR_MATRIX_BT601 ? c->bt601 : m == GST_VIDEO_COLOR_MATRIX_BT2020 ? c->bt2020 : c->bt709);
		set_property(s, c->range, info.colorimetry.range == GST_VIDEO_COLOR_RANGE_0_255 ? c->full : c->limited);
	}
	if (known) {
		gst_caps_replace(&s->coloured, caps);
		s->scaled = FALSE;
	}
	gst_clear_caps(&caps);
}

/* check_scaling looks whether the plane took the first picture as it was to be. If it did not, the sink has shown the picture in its own
 * size, and remembers that. */
static void check_scaling(Screen *s)
{
	gboolean can = TRUE;
	if (s->scaled)
		return;
	s->scaled = TRUE;
	g_object_get(s->sink, "can-scale", &can, NULL);
	if (!can)
		GST_ELEMENT_ERROR(s->sink, RESOURCE, SETTINGS, ("The plane does not scale pictures."), ("the driver refused the size"));
}

/* on_render stands in for the sink's chain function, because only its return
 * tells that a picture has waited for its time and is on the screen. */
static GstFlowReturn on_render(GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
	Screen *s = pad->chaindata;
	Picture e = {0};

	g_mutex_lock(&s->lock);
	gboolean known = take(s, GST_BUFFER_PTS(buffer), &e);
	gboolean left = known && stale(s, &e); /* since its turn */
	if (left)
		settle(s, &e, FATE_LATE);
	s->rendering = !left;
	g_mutex_unlock(&s->lock);
	if (left) {
		gst_buffer_unref(buffer);
		return GST_FLOW_OK;
	}
	if (s->card >= 0)
		colour(s, pad);
	GstFlowReturn ret = s->render(pad, parent, buffer);
	if (s->card >= 0 && ret == GST_FLOW_OK)
		check_scaling(s);

	g_mutex_lock(&s->lock);
	gboolean first = known && count_render(s, &e, ret == GST_FLOW_OK);
	s->rendering = FALSE;
	if (known && ret == GST_FLOW_OK) {
		s->picture = e.number != 0;
		s->pictures += s->picture;
	}
	g_cond_broadcast(&s->moved);
	g_mutex_unlock(&s->lock);
	if (first)
		gst_bus_post(s->bus, gst_message_new_application(GST_OBJECT(s->pipeline), gst_structure_new_empty("first-picture")));
	return ret;
}

Screen *screen_new(GstElement *pipeline, int fd)
{
	Screen *s = g_new0(Screen, 1);
	s->refs = 1;
	s->card = -1;
	g_mutex_init(&s->lock);
	g_cond_init(&s->moved);
	s->pipeline = gst_object_ref(pipeline);
	s->bus = gst_element_get_bus(pipeline);
	s->source = gst_bin_get_by_name(GST_BIN(pipeline), "source");
	s->sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
	if (!s->source || !s->sink || !GST_IS_APP_SRC(s->source) || !GST_IS_BASE_SINK(s->sink)) {
		screen_unref(s);
		return NULL;
	}
	if (fd >= 0 && g_object_class_find_property(G_OBJECT_GET_CLASS(s->sink), "fd"))
		g_object_set(s->sink, "fd", fd, NULL);
	g_object_get(s->sink, "sync", &s->paced, NULL);
	s->source_pad = gst_element_get_static_pad(s->source, "src");
	s->turn_probe = gst_pad_add_probe(s->source_pad, GST_PAD_PROBE_TYPE_BUFFER, on_turn, s, NULL);
	s->pad = gst_element_get_static_pad(s->sink, "sink");
	s->render = GST_PAD_CHAINFUNC(s->pad);
	gst_pad_set_chain_function_full(s->pad, on_render, s, NULL);
	keep_running_time(pipeline);
	return s;
}

void screen_use_plane(Screen *s, int fd, PlaneColours colours)
{
	s->card = fd;
	s->colours = colours;
}

Screen *screen_ref(Screen *s)
{
	g_atomic_int_inc(&s->refs);
	return s;
}

void screen_unref(Screen *s)
{
	if (!g_atomic_int_dec_and_test(&s->refs))
		return;
	screen_forget(s);
	if (s->render)
		gst_pad_set_chain_function_full(s->pad, s->render, NULL, NULL);
	if (s->source_pad)
		gst_pad_remove_probe(s->source_pad, s->turn_probe);
	gst_clear_caps(&s->coloured);
	gst_clear_object(&s->source_pad);
	gst_clear_object(&s->pad);
	gst_clear_object(&s->sink);
	gst_clear_object(&s->source);
	gst_clear_object(&s->bus);
	gst_clear_object(&s->pipeline);
	g_mutex_clear(&s->lock);
	g_cond_clear(&s->moved);
	g_free(s);
}

void screen_close(Screen *s)
{
	g_mutex_lock(&s->lock);
	s->closed = TRUE;
	g_cond_broadcast(&s->moved);
	g_mutex_unlock(&s->lock);
}

gboolean screen_blank(Screen *s)
{
	g_mutex_lock(&s->lock);
	gboolean blank = !s->picture;
	g_mutex_unlock(&s->lock);
	return blank;
}

void screen_forget(Screen *s)
{
	g_mutex_lock(&s->lock);
	while (s->count > 0)
		lose(s);
	g_mutex_unlock(&s->lock);
}

void screen_turn(Screen *s, guint32 number)
{
	g_mutex_lock(&s->lock);
	if (s->number != number)
		memset(&s->counts, 0, sizeof s->counts);
	s->number = number;
	g_cond_broadcast(&s->moved);
	g_mutex_unlock(&s->lock);
}

/* same_rate leaves out what says nothing about a picture. kmssink sets the mode anew with all that changes in its caps, and
 * the screen is black meanwhile: so those of the slate and of pictures are to end up the same. */
static GstCaps *same_rate(GstCaps *caps)
{
	caps = gst_caps_copy(caps);
	gst_caps_set_simple(caps, "framerate", GST_TYPE_FRACTION, 0, 1, NULL);
	return caps;
}

/* push gives the picture that was noted last to the source under another time. The buffer may be in use elsewhere, so what is
 * pushed is another one with the same memory. */
static gboolean push(Screen *s, GstSample *sample, guint64 due)
{
	GstBuffer *original = gst_sample_get_buffer(sample);
	GstBuffer *buffer = original;
	if (GST_BUFFER_PTS(original) == due) {
		gst_buffer_ref(buffer);
	} else {
		buffer = gst_buffer_copy(original);
		gst_buffer_add_parent_buffer_meta(buffer, original); /* it goes back to its pool after this one */
		GST_BUFFER_PTS(buffer) = due;
	}
	GstCaps *caps = same_rate(gst_sample_get_caps(sample));
	GstSample *moved = gst_sample_new(buffer, caps, NULL, NULL);
	gst_caps_unref(caps);
	GstFlowReturn ret = gst_app_src_push_sample(GST_APP_SRC(s->source), moved);
	gst_sample_unref(moved);
	gst_buffer_unref(buffer);
	g_mutex_lock(&s->lock);
	s->pushing = FALSE;
	g_cond_broadcast(&s->moved);
	g_mutex_unlock(&s->lock);
	return ret == GST_FLOW_OK;
}

static gboolean refused(Screen *s, guint32 number)
{
	return s->closed || (number != 0 && number != s->number);
}

/* full says that nothing can be noted now. */
static gboolean full(Screen *s)
{
	return s->count >= MOST_WAITING || s->pushing || s->painting;
}

/* note adds what is pushed next. Until push has come back nothing else is noted, so that all comes to the source in the order in
 * which it was noted. */
static void note(Screen *s, Picture e)
{
	if (e.fates)
		fates_ref(e.fates);
	s->ring[(s->first + s->count) % RING] = e;
	s->count++;
	s->pushing = TRUE;
}

gboolean screen_put(Screen *s, GstSample *sample, Picture e)
{
	guint64 now = running_time();
	gint64 until = g_get_monotonic_time() + (e.keep ? KEEP_PATIENCE : PATIENCE) + (e.due > now ? (gint64)(e.due - now) / 1000 : 0);
	gboolean room = TRUE;

	g_mutex_lock(&s->lock);
	while (room && !refused(s, e.number) && full(s))
		room = g_cond_wait_until(&s->moved, &s->lock, until);
	gboolean taken = !refused(s, e.number) && !full(s);
	if (taken) {
		note(s, e);
	} else if (e.number == s->number) {
		s->counts.late++;
		fates_note(e.fates, e.pts, FATE_LATE);
	}
	g_mutex_unlock(&s->lock);
	return taken && push(s, sample, e.due);
}

/* slate_sample is a copy of a slate's pixels. */
static GstSample *slate_sample(const void *pixels, int width, int height)
{
	GstBuffer *buffer = gst_buffer_new_memdup(pixels, (gsize)width * height * 4);
	GstCaps *caps = gst_caps_new_simple("video/x-raw", "format", G_TYPE_STRING, "RGBx", "width", G_TYPE_INT, width,
		"height", G_TYPE_INT, height, "interlace-mode", G_TYPE_STRING, "progressive", "pixel-aspect-ratio", GST_TYPE_FRACTION, 1, 1, NULL);
	GstSample *sample = gst_sample_new(buffer, caps, NULL, NULL);
	gst_caps_unref(caps);
	gst_buffer_unref(buffer);
	return sample;
}

/* takes_slate says that no picture is on its way, nor has come since whoever decided on the slate looked. */
static gboolean takes_slate(Screen *s, guint64 pictures)
{
	return !s->closed && s->count == 0 && !s->pushing && !s->painting && !s->rendering && s->pictures == pictures;
}

gboolean screen_begin_slate(Screen *s, guint64 pictures)
{
	g_mutex_lock(&s->lock);
	gboolean taken = takes_slate(s, pictures);
	if (taken)
		s->painting = TRUE;
	g_mutex_unlock(&s->lock);
	return taken;
}

void screen_end_slate(Screen *s)
{
	g_mutex_lock(&s->lock);
	s->painting = FALSE;
	s->picture = FALSE;
	g_cond_broadcast(&s->moved);
	g_mutex_unlock(&s->lock);
}

gboolean screen_slate(Screen *s, const void *pixels, int width, int height, guint64 pictures)
{
	if (width <= 0 || height <= 0)
		return FALSE;
	GstSample *sample = slate_sample(pixels, width, height);
	g_mutex_lock(&s->lock);
	/* A slow box takes a while to scale it; without this, it would be late on arrival. */
	guint64 due = running_time() + 50 * GST_MSECOND;
	gboolean taken = takes_slate(s, pictures);
	if (taken)
		note(s, (Picture){.due = due});
	g_mutex_unlock(&s->lock);
	gboolean pushed = taken && push(s, sample, due);
	gst_sample_unref(sample);
	return pushed;
}

void screen_drain(Screen *s, guint64 timeout_ns)
{
	gint64 until = g_get_monotonic_time() + timeout_ns / 1000;
	g_mutex_lock(&s->lock);
	while (!s->closed && (s->count > 0 || s->rendering) && g_cond_wait_until(&s->moved, &s->lock, until))
		;
	g_mutex_unlock(&s->lock);
}

ScreenCounts screen_counts(Screen *s)
{
	g_mutex_lock(&s->lock);
	ScreenCounts c = s->counts;
	c.pictures = s->pictures;
	g_mutex_unlock(&s->lock);
	return c;
}

/* pixels_size is how large pictures are that screen_pixels gives: those of a size whose pixels have an aspect ratio. FALSE when
 * there is no such size. */
static gboolean pixels_size(guint64 width, guint64 height, guint64 par_n, guint64 par_d, guint64 most_width, int *w, int *h)
{
	if (width == 0 || height == 0 || most_width == 0 || MAX(width, height) > PIXELS_LONGEST || MAX(par_n, par_d) > G_MAXINT)
		return FALSE;
	if (par_n != 0 && par_d != 0) /* else nothing is said of it */
		width = MAX(1, width * par_n / par_d);
	most_width = MIN(most_width, PIXELS_LONGEST);
	if (width > most_width) {
		height = MAX(1, height * most_width / width);
		width = most_width;
	}
	for (; width * height > PIXELS_MOST; width /= 2, height /= 2)
		;
	*w = (int)width;
	*h = (int)height;
	return TRUE;
}

/* pixels_caps asks for a size that keeps the picture's aspect. */
static GstCaps *pixels_caps(GstCaps *of, int most_width, int *width, int *height)
{
	GstVideoInfo info;
	if (!of || !gst_video_info_from_caps(&info, of))
		return NULL;
	if (!pixels_size(GST_VIDEO_INFO_WIDTH(&info), GST_VIDEO_INFO_HEIGHT(&info), GST_VIDEO_INFO_PAR_N(&info), GST_VIDEO_INFO_PAR_D(&info),
			most_width, width, height))
		return NULL;
	return gst_caps_new_simple("video/x-raw", "format", G_TYPE_STRING, "RGBx", "width", G_TYPE_INT, *width,
		"height", G_TYPE_INT, *height, "pixel-aspect-ratio", GST_TYPE_FRACTION, 1, 1, NULL);
}

void *screen_pixels(Screen *s, int most_width, guint64 timeout_ns, int *width, int *height, char **error)
{
	GstSample *sample = gst_base_sink_get_last_sample(GST_BASE_SINK(s->sink)), *image = NULL;
	GError *gerror = NULL;
	void *data = NULL;
	gsize size = 0;

	GstCaps *caps = sample ? pixels_caps(gst_sample_get_caps(sample), most_width, width, height) : NULL;
	if (!caps) {
		*error = g_strdup(sample ? "the picture has no valid size" : "there was no picture yet");
		g_clear_pointer(&sample, gst_sample_unref);
		return NULL;
	}
	image = gst_video_convert_sample(sample, caps, timeout_ns, &gerror);
	gst_caps_unref(caps);
	gst_sample_unref(sample);
	if (image) {
		gst_buffer_extract_dup(gst_sample_get_buffer(image), 0, -1, &data, &size);
		gst_sample_unref(image);
	}
	if (size < (gsize)*width * *height * 4) {
		*error = g_strdup(gerror ? gerror->message : "the picture could not be converted");
		g_clear_error(&gerror);
		g_free(data);
		return NULL;
	}
	return data;
}

gboolean x_screen_size(int *width, int *height)
{
	/* The sink has loaded the library already; linked to, it would be needed where there is no X. */
	void *x11 = dlopen("libX11.so.6", RTLD_NOW | RTLD_LOCAL);
	if (!x11)
		return FALSE;
	void *(*open)(const char *) = dlsym(x11, "XOpenDisplay");
	int (*close)(void *) = dlsym(x11, "XCloseDisplay");
	int (*screen)(void *) = dlsym(x11, "XDefaultScreen");
	int (*get_width)(void *, int) = dlsym(x11, "XDisplayWidth");
	int (*get_height)(void *, int) = dlsym(x11, "XDisplayHeight");
	void *display = open && close && screen && get_width && get_height ? open(NULL) : NULL;
	if (!display)
		return FALSE;
	*width = get_width(display, screen(display));
	*height = get_height(display, screen(display));
	close(display);
	return TRUE;
}

