#include "driver.h"

#include <stdlib.h>

/* Rows and pitch are aligned as hardware does it, so that a client that takes the width for the pitch is found out. */
#define ALIGN(x, to) (((x) + (to)-1) / (to) * (to))

uint8_t *surface_y(const struct surface *s, int row)
{
	return s->data + (size_t)row * s->pitch;
}

uint8_t *surface_uv(const struct surface *s, int row)
{
	return surface_y(s, s->rows + row);
}

void lay_out(struct surface *s, int width, int height)
{
	s->width = width;
	s->height = height;
	s->pitch = ALIGN(width, 64);
	s->rows = ALIGN(height, 16);
	s->size = (size_t)s->pitch * s->rows * 3 / 2;
}

VAStatus create_surfaces(VADriverContextP c, int width, int height, int format, int n, VASurfaceID *ids)
{
	return create_surfaces2(c, format, width, height, ids, n, NULL, 0);
}

/* only_known says that the client wants nothing that the driver does not have. */
static VAStatus only_known(const VASurfaceAttrib *wanted, unsigned wants)
{
	for (unsigned i = 0; i < wants; i++) {
		int value = wanted[i].value.value.i;
		if (wanted[i].type == VASurfaceAttribPixelFormat && value != VA_FOURCC_NV12)
			return VA_STATUS_ERROR_UNSUPPORTED_RT_FORMAT;
		if (wanted[i].type == VASurfaceAttribMemoryType && value != VA_SURFACE_ATTRIB_MEM_TYPE_VA)
			return VA_STATUS_ERROR_UNSUPPORTED_MEMORY_TYPE;
	}
	return VA_STATUS_SUCCESS;
}

VAStatus create_surfaces2(VADriverContextP c, unsigned format, unsigned width, unsigned height, VASurfaceID *ids,
	unsigned n, VASurfaceAttrib *wanted, unsigned wants)
{
	VAStatus status;

	if (strikes(CALL_SURFACES, &status))
		return status;
	if ((status = only_known(wanted, wants)))
		return status;
	if (!(format & VA_RT_FORMAT_YUV420))
		return VA_STATUS_ERROR_UNSUPPORTED_RT_FORMAT;
	if (width == 0 || height == 0 || width > LARGEST || height > LARGEST)
		return VA_STATUS_ERROR_RESOLUTION_NOT_SUPPORTED;
	for (unsigned i = 0; i < n; i++) {
		struct surface *s = object_new(DRIVER(c), SURFACE, sizeof *s);
		if (s) {
			lay_out(s, width, height);
			s->data = calloc(1, s->size);
		}
		if (!s || !s->data) {
			if (s)
				object_free(DRIVER(c), s);
			destroy_surfaces(c, ids, i);
			return VA_STATUS_ERROR_ALLOCATION_FAILED;
		}
		ids[i] = s->object.id;
	}
	return VA_STATUS_SUCCESS;
}

VAStatus destroy_surfaces(VADriverContextP c, VASurfaceID *ids, int n)
{
	for (int i = 0; i < n; i++) {
		struct surface *s = object(DRIVER(c), SURFACE, ids[i]);
		if (!s)
			return VA_STATUS_ERROR_INVALID_SURFACE;
		free(s->data);
		object_free(DRIVER(c), s);
	}
	return VA_STATUS_SUCCESS;
}

/* sync_surface has nothing to wait for: end_picture does all the work. */
VAStatus sync_surface(VADriverContextP c, VASurfaceID id)
{
	VAStatus status;

	if (strikes(CALL_SYNC, &status))
		return status;
	return object(DRIVER(c), SURFACE, id) ? VA_STATUS_SUCCESS : VA_STATUS_ERROR_INVALID_SURFACE;
}

VAStatus query_surface(VADriverContextP c, VASurfaceID id, VASurfaceStatus *status)
{
	*status = VASurfaceReady;
	return object(DRIVER(c), SURFACE, id) ? VA_STATUS_SUCCESS : VA_STATUS_ERROR_INVALID_SURFACE;
}
