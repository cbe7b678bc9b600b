/* Video processing: a region of one surface into a region of another, scaled by taking the nearest pixel. */
#include "driver.h"

#include <string.h>

static VARectangle all_of(const struct surface *s)
{
	return (VARectangle){0, 0, s->width, s->height};
}

static bool inside(const VARectangle *r, const struct surface *s)
{
	return r->x >= 0 && r->y >= 0 && r->width > 0 && r->height > 0 && r->x + r->width <= s->width &&
		r->y + r->height <= s->height;
}

static void scale(const struct surface *from, const VARectangle *f, struct surface *to, const VARectangle *t)
{
	for (int y = 0; y < t->height; y++) {
		const uint8_t *in = surface_y(from, f->y + y * f->height / t->height) + f->x;
		uint8_t *out = surface_y(to, t->y + y) + t->x;
		if (f->width == t->width)
			memcpy(out, in, t->width);
		else
			for (int x = 0; x < t->width; x++)
				out[x] = in[x * f->width / t->width];
	}
	int width = (t->width + 1) / 2, height = (t->height + 1) / 2;
	for (int y = 0; y < height; y++) {
		const uint8_t *in = surface_uv(from, f->y / 2 + y * f->height / t->height) + f->x / 2 * 2;
		uint8_t *out = surface_uv(to, t->y / 2 + y) + t->x / 2 * 2;
		for (int x = 0; x < width; x++)
			memcpy(out + 2 * x, in + x * f->width / t->width * 2, 2);
	}
}

VAStatus process(VADriverContextP c, struct context *x)
{
	VAStatus status;
	VAProcPipelineParameterBuffer *p = x->processing;
	struct surface *from;

	if (strikes(CALL_PROCESS, &status))
		return status;
	if (!p)
		return VA_STATUS_ERROR_INVALID_PARAMETER;
	from = object(DRIVER(c), SURFACE, p->surface);
	if (!from)
		return VA_STATUS_ERROR_INVALID_SURFACE;
	VARectangle f = p->surface_region ? *p->surface_region : all_of(from);
	VARectangle t = p->output_region ? *p->output_region : all_of(x->target);
	if (!inside(&f, from) || !inside(&t, x->target))
		return VA_STATUS_ERROR_INVALID_PARAMETER;
	scale(from, &f, x->target, &t);
	return VA_STATUS_SUCCESS;
}

VAStatus query_filters(VADriverContextP c, VAContextID id, VAProcFilterType *list, unsigned *n)
{
	*n = 0;
	return VA_STATUS_SUCCESS;
}

VAStatus query_filter(VADriverContextP c, VAContextID id, VAProcFilterType t, void *caps, unsigned *n)
{
	*n = 0;
	return VA_STATUS_ERROR_UNSUPPORTED_FILTER;
}

VAStatus query_processing(VADriverContextP c, VAContextID id, VABufferID *filters, unsigned n, VAProcPipelineCaps *caps)
{
	static VAProcColorStandardType standards[] = {VAProcColorStandardBT601, VAProcColorStandardBT709};
	static uint32_t formats[] = {VA_FOURCC_NV12};

	*caps = (VAProcPipelineCaps){
		.input_color_standards = standards, .num_input_color_standards = 2,
		.output_color_standards = standards, .num_output_color_standards = 2,
		.input_pixel_format = formats, .num_input_pixel_formats = 1,
		.output_pixel_format = formats, .num_output_pixel_formats = 1,
		.min_input_width = 1, .max_input_width = LARGEST,
		.min_input_height = 1, .max_input_height = LARGEST,
		.min_output_width = 1, .max_output_width = LARGEST,
		.min_output_height = 1, .max_output_height = LARGEST,
	};
	return VA_STATUS_SUCCESS;
}
