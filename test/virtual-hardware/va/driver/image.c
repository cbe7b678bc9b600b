/* Pixels for the client: an image is a surface's memory itself (derive), or a copy of it (create, get, put). */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

static const VAImageFormat nv12 = {.fourcc = VA_FOURCC_NV12, .byte_order = VA_LSB_FIRST, .bits_per_pixel = 12};

struct image {
	struct object object;
	struct surface layout; /* with the image's memory */
	VABufferID buffer;
};

VAStatus query_formats(VADriverContextP c, VAImageFormat *list, int *n)
{
	list[0] = nv12;
	*n = MOST_FORMATS;
	return VA_STATUS_SUCCESS;
}

/* describe makes the image of a memory and tells the client of it. */
static VAStatus describe(VADriverContextP c, const struct surface *s, bool borrowed, VAImage *out)
{
	struct image *image = object_new(DRIVER(c), IMAGE, sizeof *image);
	struct buffer *b = object_new(DRIVER(c), BUFFER, sizeof *b);

	if (!image || !b) {
		if (image)
			object_free(DRIVER(c), image);
		if (b)
			object_free(DRIVER(c), b);
		return VA_STATUS_ERROR_ALLOCATION_FAILED;
	}
	b->type = VAImageBufferType;
	b->size = s->size;
	b->n = 1;
	b->data = s->data;
	b->borrowed = borrowed;
	image->layout = *s;
	image->buffer = b->object.id;
	*out = (VAImage){
		.image_id = image->object.id,
		.format = nv12,
		.buf = b->object.id,
		.width = s->width,
		.height = s->height,
		.data_size = s->size,
		.num_planes = 2,
		.pitches = {s->pitch, s->pitch},
		.offsets = {0, surface_uv(s, 0) - s->data},
	};
	return VA_STATUS_SUCCESS;
}

VAStatus create_image(VADriverContextP c, VAImageFormat *format, int width, int height, VAImage *image)
{
	VAStatus status;
	struct surface s = {0};

	if (strikes(CALL_IMAGE, &status))
		return status;
	if (format->fourcc != VA_FOURCC_NV12)
		return VA_STATUS_ERROR_INVALID_IMAGE_FORMAT;
	if (width <= 0 || height <= 0 || width > LARGEST || height > LARGEST)
		return VA_STATUS_ERROR_RESOLUTION_NOT_SUPPORTED;
	lay_out(&s, width, height);
	s.data = calloc(1, s.size);
	if (!s.data)
		return VA_STATUS_ERROR_ALLOCATION_FAILED;
	status = describe(c, &s, false, image);
	if (status)
		free(s.data);
	return status;
}

VAStatus derive_image(VADriverContextP c, VASurfaceID id, VAImage *image)
{
	VAStatus status;
	struct surface *s = object(DRIVER(c), SURFACE, id);

	if (strikes(CALL_DERIVE, &status))
		return status;
	return s ? describe(c, s, true, image) : VA_STATUS_ERROR_INVALID_SURFACE;
}

VAStatus destroy_image(VADriverContextP c, VAImageID id)
{
	struct image *image = object(DRIVER(c), IMAGE, id);

	if (!image)
		return VA_STATUS_ERROR_INVALID_IMAGE;
	destroy_buffer(c, image->buffer);
	object_free(DRIVER(c), image);
	return VA_STATUS_SUCCESS;
}

/* copy copies what both have. */
static void copy(const struct surface *from, struct surface *to)
{
	int width = from->width < to->width ? from->width : to->width;
	int height = from->height < to->height ? from->height : to->height;

	for (int y = 0; y < height; y++)
		memcpy(surface_y(to, y), surface_y(from, y), width);
	for (int y = 0; y < (height + 1) / 2; y++)
		memcpy(surface_uv(to, y), surface_uv(from, y), (width + 1) / 2 * 2);
}

/* get_image copies whole pictures only, as put_image does; no client here wants a part. */
VAStatus get_image(VADriverContextP c, VASurfaceID surface, int x, int y, unsigned width, unsigned height, VAImageID id)
{
	struct surface *s = object(DRIVER(c), SURFACE, surface);
	struct image *image = object(DRIVER(c), IMAGE, id);

	if (!s || !image)
		return s ? VA_STATUS_ERROR_INVALID_IMAGE : VA_STATUS_ERROR_INVALID_SURFACE;
	if (x || y || (int)width != s->width || (int)height != s->height)
		return VA_STATUS_ERROR_INVALID_PARAMETER;
	copy(s, &image->layout);
	return VA_STATUS_SUCCESS;
}

VAStatus put_image(VADriverContextP c, VASurfaceID surface, VAImageID id, int from_x, int from_y, unsigned from_width,
	unsigned from_height, int to_x, int to_y, unsigned to_width, unsigned to_height)
{
	struct surface *s = object(DRIVER(c), SURFACE, surface);
	struct image *image = object(DRIVER(c), IMAGE, id);

	if (!s || !image)
		return s ? VA_STATUS_ERROR_INVALID_IMAGE : VA_STATUS_ERROR_INVALID_SURFACE;
	if (from_x || from_y || to_x || to_y || from_width != to_width || from_height != to_height)
		return VA_STATUS_ERROR_INVALID_PARAMETER;
	copy(&image->layout, s);
	return VA_STATUS_SUCCESS;
}
