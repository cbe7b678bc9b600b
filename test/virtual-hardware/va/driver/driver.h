/*
 * A VA-API driver without a GPU, for tests; see README.md.
 *
 * A picture's way through the driver, and the file for each step:
 *
 *   config.c    what the driver can do; the client asks and chooses
 *   surface.c   memory for pictures
 *   buffer.c    what the client hands in: parameters and slices
 *   picture.c   begin, render, end: collects the buffers of a picture
 *   decode.c    decodes it with libavcodec, from what h264.c or h265.c rebuild of the stream
 *   pattern.c   or paints one that says which it is
 *   process.c   or, for video processing, copies and scales one surface into another
 *   image.c     gives the client the pixels
 *
 * Every call first asks faults.c whether it is to fail. objects.c keeps what clients know by a number.
 */
#ifndef DRIVER_H
#define DRIVER_H

#include <libavcodec/avcodec.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <va/va.h>
#include <va/va_backend.h>
#include <va/va_backend_vpp.h>

/* faults.c: calls that can be made to fail. The names are those of rules. */
enum call {
	CALL_INITIALIZE,
	CALL_CONFIG,
	CALL_CONTEXT,
	CALL_SURFACES,
	CALL_BUFFER,
	CALL_BEGIN,
	CALL_RENDER,
	CALL_END,
	CALL_PROCESS,
	CALL_SYNC,
	CALL_DERIVE,
	CALL_IMAGE,
	CALL_MAP,
	CALLS,
};

/* strikes says that a call is to return *status and do nothing. It does not return at all when the call is to
 * hang or to crash. */
bool strikes(enum call c, VAStatus *status);

/* note writes a line into the log, if one is wanted. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* objects.c: configs, contexts, surfaces, buffers and images by the number that the client knows them by. */
enum kind { CONFIG = 1, CONTEXT, SURFACE, BUFFER, IMAGE };

struct object {
	enum kind kind;
	VAGenericID id;
};

#define MOST_OBJECTS 4096

struct driver {
	pthread_mutex_t lock; /* of objects */
	struct object *objects[MOST_OBJECTS];
	VAGenericID last; /* number that was given */
};

#define DRIVER(context) ((struct driver *)(context)->pDriverData)

/* object_new makes an object of a size, which begins with a struct object; NULL when there is no room. A number is
 * not soon given again, so that a client that uses a destroyed object is found out. */
void *object_new(struct driver *d, enum kind k, size_t size);
/* object finds one; NULL when there is none of the kind with this number. The client must not destroy it meanwhile. */
void *object(struct driver *d, enum kind k, VAGenericID id);
/* object_free frees an object, not what it holds. */
void object_free(struct driver *d, void *o);

/* config.c */
struct config {
	struct object object;
	VAProfile profile;
	VAEntrypoint entrypoint;
};

#define MOST_PROFILES 8
#define LARGEST 4096 /* width and height of a picture */

VAStatus query_profiles(VADriverContextP c, VAProfile *list, int *n);
VAStatus query_entrypoints(VADriverContextP c, VAProfile p, VAEntrypoint *list, int *n);
VAStatus get_attributes(VADriverContextP c, VAProfile p, VAEntrypoint e, VAConfigAttrib *list, int n);
VAStatus create_config(VADriverContextP c, VAProfile p, VAEntrypoint e, VAConfigAttrib *list, int n, VAConfigID *id);
VAStatus destroy_config(VADriverContextP c, VAConfigID id);
VAStatus query_config(VADriverContextP c, VAConfigID id, VAProfile *p, VAEntrypoint *e, VAConfigAttrib *list, int *n);
VAStatus query_surface_attributes(VADriverContextP c, VAConfigID id, VASurfaceAttrib *list, unsigned *n);

/* surface.c: NV12, a plane of Y and one of U and V in turn. */
struct surface {
	struct object object;
	int width, height;
	int pitch; /* bytes in a row, of both planes */
	int rows;  /* of Y; U and V have half of them */
	size_t size;
	uint8_t *data;
};

/* surface_y and surface_uv give the beginning of a row. */
uint8_t *surface_y(const struct surface *s, int row);
uint8_t *surface_uv(const struct surface *s, int row);

/* lay_out fills in pitch, rows and size for a width and height. */
void lay_out(struct surface *s, int width, int height);

VAStatus create_surfaces(VADriverContextP c, int width, int height, int format, int n, VASurfaceID *ids);
VAStatus create_surfaces2(VADriverContextP c, unsigned format, unsigned width, unsigned height, VASurfaceID *ids,
	unsigned n, VASurfaceAttrib *wanted, unsigned wants);
VAStatus destroy_surfaces(VADriverContextP c, VASurfaceID *ids, int n);
VAStatus sync_surface(VADriverContextP c, VASurfaceID id);
VAStatus query_surface(VADriverContextP c, VASurfaceID id, VASurfaceStatus *status);

/* buffer.c */
struct buffer {
	struct object object;
	VABufferType type;
	size_t size; /* of one element */
	unsigned n;  /* elements */
	uint8_t *data;
	bool borrowed; /* data belongs to a surface */
};

VAStatus create_buffer(VADriverContextP c, VAContextID context, VABufferType t, unsigned size, unsigned n, void *data,
	VABufferID *id);
VAStatus set_elements(VADriverContextP c, VABufferID id, unsigned n);
VAStatus map_buffer(VADriverContextP c, VABufferID id, void **data);
VAStatus unmap_buffer(VADriverContextP c, VABufferID id);
VAStatus destroy_buffer(VADriverContextP c, VABufferID id);
VAStatus query_buffer(VADriverContextP c, VABufferID id, VABufferType *t, unsigned *size, unsigned *n);

/* picture.c: a context decodes or processes one picture at a time. */
#define MOST_SLICES 600 /* H.265 allows as many in a picture */

/* A slice is one NAL unit without its start code. What the client says of it is in the parameters, of the
 * codec's own type. */
struct slice {
	uint8_t *parameters, *nal;
	size_t size;
};

struct context {
	struct object object;
	VAProfile profile;
	struct surface *target;
	VASurfaceID target_id;

	/* Of the present picture, copies of what the client handed in; NULL when it did not. */
	uint8_t *parameters, *scaling;
	struct slice slices[MOST_SLICES];
	int described, n; /* slices with parameters, and with data as well */
	VAProcPipelineParameterBuffer *processing;

	unsigned pictures;
	struct decoder *decoder; /* NULL before the first picture */
};

VAStatus create_context(VADriverContextP c, VAConfigID config, int width, int height, int flags, VASurfaceID *targets,
	int n, VAContextID *id);
VAStatus destroy_context(VADriverContextP c, VAContextID id);
VAStatus begin_picture(VADriverContextP c, VAContextID id, VASurfaceID target);
VAStatus render_picture(VADriverContextP c, VAContextID id, VABufferID *ids, int n);
VAStatus end_picture(VADriverContextP c, VAContextID id);

/* decode.c */
/* decode decodes the context's picture into its target. It returns NULL, or why it could not. */
const char *decode(struct context *x);
void decoder_free(struct decoder *d);

/* pattern.c */
/* pattern_wanted says that pictures are to be painted, not decoded. */
bool pattern_wanted(void);
/* paint paints a picture that says which one it is: its number, and a checksum of its slices. */
void paint(struct context *x);

/* process.c */
/* process copies and scales the surface that the client named into the target. */
VAStatus process(VADriverContextP c, struct context *x);
VAStatus query_filters(VADriverContextP c, VAContextID id, VAProcFilterType *list, unsigned *n);
VAStatus query_filter(VADriverContextP c, VAContextID id, VAProcFilterType t, void *caps, unsigned *n);
VAStatus query_processing(VADriverContextP c, VAContextID id, VABufferID *filters, unsigned n, VAProcPipelineCaps *caps);

/* image.c */
#define MOST_FORMATS 1

VAStatus query_formats(VADriverContextP c, VAImageFormat *list, int *n);
VAStatus create_image(VADriverContextP c, VAImageFormat *format, int width, int height, VAImage *image);
VAStatus derive_image(VADriverContextP c, VASurfaceID id, VAImage *image);
VAStatus destroy_image(VADriverContextP c, VAImageID id);
VAStatus get_image(VADriverContextP c, VASurfaceID surface, int x, int y, unsigned width, unsigned height, VAImageID id);
VAStatus put_image(VADriverContextP c, VASurfaceID surface, VAImageID id, int from_x, int from_y, unsigned from_width,
	unsigned from_height, int to_x, int to_y, unsigned to_width, unsigned to_height);

#endif
