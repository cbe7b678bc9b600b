#include "probe.h"

#include <gst/video/video.h>
#include <string.h>

/* A driver that fails hands out its surfaces in turn, with what was in them before. Few decoders have more than
 * SURFACES of them; the more are remembered, the sooner a short clip that is played in a loop looks like that. */
#define SURFACES 32

/* Pictures in a device's memory are looked at once in SAMPLE_EVERY: the processor reads it slowly, and the display needs no look. */
#define SAMPLE_EVERY (250 * G_TIME_SPAN_MILLISECOND)

/* UNREADABLE pictures in a row are an error. */
#define UNREADABLE 5

struct Pictures {
	GstPad *pad;
	gulong probe;
	gboolean keep;
	gint opaque;
	guint64 recent[SURFACES]; /* checksums */
	guint64 looked, fresh;
	gint64 next;      /* when a picture in a device's memory is looked at again */
	gboolean changed; /* the last one differed */
	guint64 close[SURFACES]; /* checksums of all rows, of pictures that were looked at closely */
	guint64 again, closely; /* pictures that seemed to be there before, and of these those that were looked at closely */
	int unreadable; /* in a row */

	GMutex lock; /* of sums */
	GArray *sums;
};

/* Without checksums one row of this many is looked at. Text that shows the time is higher. What is smaller lies between
 * these rows: of pictures that seem to have been there before, one of CLOSELY is looked at row by row. */
#define ROW_STEP 8
#define CLOSELY 3

static guint64 mix(guint64 h, guint64 word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 32;
}

static guint64 mix_bytes(guint64 h, const guint8 *data, gsize size)
{
	guint64 word;
	for (; size >= sizeof word; data += sizeof word, size -= sizeof word) {
		memcpy(&word, data, sizeof word);
		h = mix(h, word);
	}
	for (; size; data++, size--)
		h = mix(h, *data);
	return h;
}

/* component mixes the samples of Y, U or V, so that a picture has the same checksum
 * whether U and V lie apart or interleaved. Its height is that of a field where each buffer has one. */
static guint64 component(guint64 h, GstVideoFrame *f, int c, int row_step)
{
	int width = GST_VIDEO_FRAME_COMP_WIDTH(f, c), height = GST_VIDEO_FRAME_COMP_HEIGHT(f, c);
	int step = GST_VIDEO_FRAME_COMP_PSTRIDE(f, c), size = (GST_VIDEO_FRAME_COMP_DEPTH(f, c) + 7) / 8;
	const guint8 *row = GST_VIDEO_FRAME_COMP_DATA(f, c);
	gssize stride = (gssize)GST_VIDEO_FRAME_COMP_STRIDE(f, c) * row_step;
	for (int y = 0; y < height; y += row_step, row += stride) {
		if (step == size) {
			h = mix_bytes(h, row, (gsize)width * size);
			continue;
		}
		guint8 packed[512];
		int n = 0;
		for (int x = 0; x < width; x++) {
			if (n + size > (int)sizeof packed) {
				h = mix_bytes(h, packed, n);
				n = 0;
			}
			memcpy(packed + n, row + (gsize)x * step, size);
			n += size;
		}
		h = mix_bytes(h, packed, n);
	}
	return h;
}

static gboolean in_planes(const GstVideoInfo *info)
{
	return GST_VIDEO_FORMAT_INFO_IS_YUV(info->finfo) && !GST_VIDEO_FORMAT_INFO_IS_TILED(info->finfo) &&
		!GST_VIDEO_FORMAT_INFO_IS_COMPLEX(info->finfo);
}

/* in_memory says that looking costs nothing: pictures elsewhere would have to be fetched. */
static gboolean in_memory(GstCaps *caps)
{
	GstCapsFeatures *f = gst_caps_get_features(caps, 0);
	return !f || gst_caps_features_is_equal(f, GST_CAPS_FEATURES_MEMORY_SYSTEM_MEMORY);
}

/* checksum of a picture, never 0; 0 when it cannot be looked at. It is unreadable when it should be in memory and
 * is not. */
static guint64 checksum(Pictures *p, GstBuffer *buffer, int row_step, gboolean *unreadable)
{
	GstPad *pad = p->pad;
	gboolean whole = p->keep;
	GstCaps *caps = gst_pad_get_current_caps(pad);
	GstVideoInfo info;
	GstVideoFrame frame;
	GstMapInfo map;
	guint64 h = 1;
	gboolean known = caps && (whole || in_memory(caps)) && gst_video_info_from_caps(&info, caps) && in_planes(&info);
	gst_clear_caps(&caps);
	if (known && gst_video_frame_map(&frame, &info, buffer, GST_MAP_READ)) {
		int components = whole ? GST_VIDEO_FRAME_N_COMPONENTS(&frame) : 1;
		for (int c = 0; c < components; c++)
			h = component(h, &frame, c, row_step);
		gst_video_frame_unmap(&frame);
	} else if (whole && gst_buffer_map(buffer, &map, GST_MAP_READ)) {
		g_atomic_int_set(&p->opaque, TRUE);
		h = mix_bytes(h, map.data, map.size);
		gst_buffer_unmap(buffer, &map);
	} else {
		*unreadable = known;
		return 0;
	}
	return h ? h : 1;
}

static gboolean seen(const guint64 *recent, guint64 looked, guint64 sum)
{
	for (guint64 i = 0; i < MIN(looked, SURFACES); i++)
		if (recent[i] == sum)
			return TRUE;
	return FALSE;
}

/* changed looks closely at a picture that seems to have been there before, if it is its turn. The first one of all has
 * nothing to be compared with. */
static gboolean changed(Pictures *p, GstBuffer *buffer)
{
	gboolean unreadable = FALSE;
	if (p->again++ % CLOSELY)
		return FALSE;
	guint64 sum = checksum(p, buffer, 1, &unreadable);
	if (!sum)
		return FALSE;
	gboolean news = p->closely > 0 && !seen(p->close, p->closely, sum);
	p->close[p->closely++ % SURFACES] = sum;
	return news;
}

/* give_up says on the bus that pictures cannot be read. */
static void give_up(Pictures *p)
{
	GstElement *element = gst_pad_get_parent_element(p->pad);
	GST_ELEMENT_ERROR(element, RESOURCE, READ, ("The pictures cannot be read."),
		("%d pictures in a row could not be mapped", p->unreadable));
	gst_object_unref(element);
}

/* in_device says that a picture lies in memory that drivers share. The type is asked for by its name, so that the library that has it
 * need not be linked to. */
static gboolean in_device(GstBuffer *buffer)
{
	GstMemory *memory = gst_buffer_n_memory(buffer) > 0 ? gst_buffer_peek_memory(buffer, 0) : NULL;
	GType type = g_type_from_name("GstDmaBufAllocator");
	return memory && type != 0 && g_type_is_a(G_OBJECT_TYPE(memory->allocator), type);
}

/* skips says that a picture is not looked at: it is taken for what the last one was. */
static gboolean skips(Pictures *p, GstBuffer *buffer)
{
	gint64 now = g_get_monotonic_time();
	if (p->keep || !in_device(buffer))
		return FALSE;
	if (now < p->next)
		return TRUE;
	p->next = now + SAMPLE_EVERY;
	return FALSE;
}

static void look(Pictures *p, GstBuffer *buffer)
{
	gboolean unreadable = FALSE;
	if (skips(p, buffer)) {
		if (p->changed)
			__atomic_add_fetch(&p->fresh, 1, __ATOMIC_RELEASE);
		return;
	}
	guint64 sum = checksum(p, buffer, p->keep ? 1 : ROW_STEP, &unreadable);
	p->unreadable = unreadable ? p->unreadable + 1 : 0;
	if (p->unreadable == UNREADABLE)
		give_up(p);
	p->changed = sum == 0 || !seen(p->recent, p->looked, sum) || (!p->keep && changed(p, buffer));
	if (p->changed)
		__atomic_add_fetch(&p->fresh, 1, __ATOMIC_RELEASE);
	p->recent[p->looked++ % SURFACES] = sum;
	if (!p->keep)
		return;
	g_mutex_lock(&p->lock);
	g_array_append_val(p->sums, sum);
	g_mutex_unlock(&p->lock);
}

static GstPadProbeReturn on_picture(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
	look(data, GST_PAD_PROBE_INFO_BUFFER(info));
	return GST_PAD_PROBE_OK;
}

Pictures *pictures_new(GstElement *pipeline, gboolean checksums)
{
	GstElement *element = gst_bin_get_by_name(GST_BIN(pipeline), "download");
	if (!element)
		element = gst_bin_get_by_name(GST_BIN(pipeline), "decoder");
	if (!element)
		return NULL;
	Pictures *p = g_new0(Pictures, 1);
	g_mutex_init(&p->lock);
	p->sums = g_array_new(FALSE, FALSE, sizeof(guint64));
	p->keep = checksums;
	p->pad = gst_element_get_static_pad(element, "src");
	gst_object_unref(element);
	if (!p->pad) {
		pictures_free(p);
		return NULL;
	}
	p->probe = gst_pad_add_probe(p->pad, GST_PAD_PROBE_TYPE_BUFFER, on_picture, p, NULL);
	return p;
}

void pictures_free(Pictures *p)
{
	if (p->probe)
		gst_pad_remove_probe(p->pad, p->probe);
	gst_clear_object(&p->pad);
	g_array_free(p->sums, TRUE);
	g_mutex_clear(&p->lock);
	g_free(p);
}

guint64 pictures_fresh(Pictures *p)
{
	return __atomic_load_n(&p->fresh, __ATOMIC_ACQUIRE);
}

gsize pictures_checksums(Pictures *p, guint64 *sums, gsize n)
{
	g_mutex_lock(&p->lock);
	gsize have = p->sums->len;
	if (MIN(n, have) > 0) /* else there may be no memory on either side */
		memcpy(sums, p->sums->data, MIN(n, have) * sizeof *sums);
	g_mutex_unlock(&p->lock);
	return have;
}

gboolean pictures_opaque(Pictures *p)
{
	return g_atomic_int_get(&p->opaque);
}

char *element_text(const char *factory, const char *property, gboolean opened)
{
	GstElement *element = gst_element_factory_make(factory, NULL);
	GParamSpec *spec;
	char *text = NULL;
	if (!element)
		return NULL;
	gst_object_ref_sink(element);
	spec = g_object_class_find_property(G_OBJECT_GET_CLASS(element), property);
	if (spec && spec->value_type == G_TYPE_STRING && spec->flags & G_PARAM_READABLE) {
		if (opened)
			gst_element_set_state(element, GST_STATE_READY);
		g_object_get(element, property, &text, NULL);
		gst_element_set_state(element, GST_STATE_NULL);
	}
	gst_object_unref(element);
	return text;
}
