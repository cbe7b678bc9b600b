/* A picture: begin names its surface, render brings its buffers, end does the work. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

/* forget drops what is known of a picture. */
static void forget(struct context *x)
{
	for (int i = 0; i < x->described; i++) {
		free(x->slices[i].parameters);
		free(x->slices[i].nal);
	}
	memset(x->slices, 0, x->described * sizeof *x->slices);
	free(x->parameters);
	free(x->scaling);
	free(x->processing);
	x->parameters = x->scaling = NULL;
	x->processing = NULL;
	x->described = x->n = 0;
	x->target = NULL;
}

VAStatus create_context(VADriverContextP c, VAConfigID config, int width, int height, int flags, VASurfaceID *targets,
	int n, VAContextID *id)
{
	VAStatus status;
	struct config *of = object(DRIVER(c), CONFIG, config);
	struct context *x;

	if (strikes(CALL_CONTEXT, &status))
		return status;
	if (!of)
		return VA_STATUS_ERROR_INVALID_CONFIG;
	x = object_new(DRIVER(c), CONTEXT, sizeof *x);
	if (!x)
		return VA_STATUS_ERROR_ALLOCATION_FAILED;
	x->profile = of->profile;
	*id = x->object.id;
	return VA_STATUS_SUCCESS;
}

VAStatus destroy_context(VADriverContextP c, VAContextID id)
{
	struct context *x = object(DRIVER(c), CONTEXT, id);

	if (!x)
		return VA_STATUS_ERROR_INVALID_CONTEXT;
	forget(x);
	decoder_free(x->decoder);
	object_free(DRIVER(c), x);
	return VA_STATUS_SUCCESS;
}

VAStatus begin_picture(VADriverContextP c, VAContextID id, VASurfaceID target)
{
	VAStatus status;
	struct context *x = object(DRIVER(c), CONTEXT, id);
	struct surface *s = object(DRIVER(c), SURFACE, target);

	if (!x || !s)
		return x ? VA_STATUS_ERROR_INVALID_SURFACE : VA_STATUS_ERROR_INVALID_CONTEXT;
	if (x->profile != VAProfileNone && strikes(CALL_BEGIN, &status))
		return status;
	forget(x); /* of a picture that was not ended */
	x->target = s;
	x->target_id = target;
	return VA_STATUS_SUCCESS;
}

static uint8_t *copy(const void *data, size_t size)
{
	uint8_t *p = malloc(size ? size : 1);

	if (p)
		memcpy(p, data, size);
	return p;
}

/* replace puts a copy of a buffer in the place of an older one, if it is as large as the driver reads. */
static VAStatus replace(uint8_t **old, const struct buffer *b, size_t least)
{
	size_t size = (size_t)b->size * b->n;

	if (size < least)
		return VA_STATUS_ERROR_INVALID_BUFFER;
	free(*old);
	*old = copy(b->data, size);
	return *old ? VA_STATUS_SUCCESS : VA_STATUS_ERROR_ALLOCATION_FAILED;
}

/* The sizes of the codecs' parameters. */
struct sizes {
	size_t picture, scaling, slice;
};

static struct sizes sizes(const struct context *x)
{
	if (x->profile == VAProfileHEVCMain)
		return (struct sizes){sizeof(VAPictureParameterBufferHEVC), sizeof(VAIQMatrixBufferHEVC),
			sizeof(VASliceParameterBufferHEVC)};
	return (struct sizes){sizeof(VAPictureParameterBufferH264), sizeof(VAIQMatrixBufferH264),
		sizeof(VASliceParameterBufferH264)};
}

static VAStatus add_slice_parameters(struct context *x, const struct buffer *b)
{
	if (b->size < sizes(x).slice || b->n > (unsigned)(MOST_SLICES - x->described))
		return VA_STATUS_ERROR_INVALID_BUFFER;
	for (unsigned i = 0; i < b->n; i++) {
		uint8_t *parameters = copy(b->data + (size_t)i * b->size, b->size);
		if (!parameters)
			return VA_STATUS_ERROR_ALLOCATION_FAILED;
		x->slices[x->described++].parameters = parameters;
	}
	return VA_STATUS_SUCCESS;
}

/* add_slice_data takes the slices that were described before out of their data. */
static VAStatus add_slice_data(struct context *x, const struct buffer *b)
{
	size_t size = (size_t)b->size * b->n;

	if (x->n == x->described)
		return VA_STATUS_ERROR_INVALID_BUFFER;
	for (; x->n < x->described; x->n++) {
		struct slice *s = &x->slices[x->n];
		const VASliceParameterBufferBase *p = (void *)s->parameters;
		if (p->slice_data_offset > size || p->slice_data_size > size - p->slice_data_offset || p->slice_data_size < 3)
			return VA_STATUS_ERROR_INVALID_BUFFER;
		s->nal = copy(b->data + p->slice_data_offset, p->slice_data_size);
		if (!s->nal)
			return VA_STATUS_ERROR_ALLOCATION_FAILED;
		s->size = p->slice_data_size;
	}
	return VA_STATUS_SUCCESS;
}

static VAStatus render(struct context *x, const struct buffer *b)
{
	switch (b->type) {
	case VAPictureParameterBufferType:
		return replace(&x->parameters, b, sizes(x).picture);
	case VAIQMatrixBufferType:
		return replace(&x->scaling, b, sizes(x).scaling);
	case VASliceParameterBufferType:
		return add_slice_parameters(x, b);
	case VASliceDataBufferType:
		return add_slice_data(x, b);
	case VAProcPipelineParameterBufferType:
		return replace((uint8_t **)&x->processing, b, sizeof *x->processing);
	default: /* nothing else matters for the pixels */
		return VA_STATUS_SUCCESS;
	}
}

VAStatus render_picture(VADriverContextP c, VAContextID id, VABufferID *ids, int n)
{
	VAStatus status = VA_STATUS_SUCCESS;
	struct context *x = object(DRIVER(c), CONTEXT, id);

	if (!x)
		return VA_STATUS_ERROR_INVALID_CONTEXT;
	if (x->profile != VAProfileNone && strikes(CALL_RENDER, &status))
		return status;
	for (int i = 0; i < n && !status; i++) {
		struct buffer *b = object(DRIVER(c), BUFFER, ids[i]);
		status = b ? render(x, b) : VA_STATUS_ERROR_INVALID_BUFFER;
	}
	return status;
}

/* finish decodes or paints the picture. */
static VAStatus finish(struct context *x)
{
	VAStatus status;
	const char *why = NULL;

	if (strikes(CALL_END, &status))
		return status;
	if (pattern_wanted())
		paint(x);
	else if (!x->parameters || x->n == 0 || x->n < x->described)
		why = "parameters or slices are missing";
	else
		why = decode(x);
	x->pictures++;
	if (!why)
		return VA_STATUS_SUCCESS;
	note("picture %u cannot be decoded: %s", x->pictures - 1, why);
	return VA_STATUS_ERROR_DECODING_ERROR;
}

VAStatus end_picture(VADriverContextP c, VAContextID id)
{
	VAStatus status;
	struct context *x = object(DRIVER(c), CONTEXT, id);

	if (!x)
		return VA_STATUS_ERROR_INVALID_CONTEXT;
	if (!x->target)
		return VA_STATUS_ERROR_OPERATION_FAILED;
	x->target = object(DRIVER(c), SURFACE, x->target_id); /* it may have been destroyed */
	if (!x->target)
		return VA_STATUS_ERROR_INVALID_SURFACE;
	status = x->profile == VAProfileNone ? process(c, x) : finish(x);
	forget(x);
	return status;
}
