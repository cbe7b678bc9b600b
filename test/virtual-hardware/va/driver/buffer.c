#include "driver.h"

#include <stdlib.h>
#include <string.h>

VAStatus create_buffer(VADriverContextP c, VAContextID context, VABufferType t, unsigned size, unsigned n, void *data,
	VABufferID *id)
{
	VAStatus status;
	struct buffer *b;

	if (strikes(CALL_BUFFER, &status))
		return status;
	b = object_new(DRIVER(c), BUFFER, sizeof *b);
	if (!b)
		return VA_STATUS_ERROR_ALLOCATION_FAILED;
	b->type = t;
	b->size = size;
	b->n = n;
	b->data = calloc(n, size);
	if (!b->data) {
		object_free(DRIVER(c), b);
		return VA_STATUS_ERROR_ALLOCATION_FAILED;
	}
	if (data)
		memcpy(b->data, data, (size_t)n * size);
	*id = b->object.id;
	return VA_STATUS_SUCCESS;
}

VAStatus set_elements(VADriverContextP c, VABufferID id, unsigned n)
{
	struct buffer *b = object(DRIVER(c), BUFFER, id);

	if (!b)
		return VA_STATUS_ERROR_INVALID_BUFFER;
	if (n > b->n)
		return VA_STATUS_ERROR_INVALID_PARAMETER;
	b->n = n;
	return VA_STATUS_SUCCESS;
}

VAStatus map_buffer(VADriverContextP c, VABufferID id, void **data)
{
	VAStatus status;
	struct buffer *b = object(DRIVER(c), BUFFER, id);

	if (strikes(CALL_MAP, &status))
		return status;
	if (!b)
		return VA_STATUS_ERROR_INVALID_BUFFER;
	*data = b->data;
	return VA_STATUS_SUCCESS;
}

VAStatus unmap_buffer(VADriverContextP c, VABufferID id)
{
	return object(DRIVER(c), BUFFER, id) ? VA_STATUS_SUCCESS : VA_STATUS_ERROR_INVALID_BUFFER;
}

VAStatus destroy_buffer(VADriverContextP c, VABufferID id)
{
	struct buffer *b = object(DRIVER(c), BUFFER, id);

	if (!b)
		return VA_STATUS_ERROR_INVALID_BUFFER;
	if (!b->borrowed)
		free(b->data);
	object_free(DRIVER(c), b);
	return VA_STATUS_SUCCESS;
}

VAStatus query_buffer(VADriverContextP c, VABufferID id, VABufferType *t, unsigned *size, unsigned *n)
{
	struct buffer *b = object(DRIVER(c), BUFFER, id);

	if (!b)
		return VA_STATUS_ERROR_INVALID_BUFFER;
	*t = b->type;
	*size = b->size;
	*n = b->n;
	return VA_STATUS_SUCCESS;
}
