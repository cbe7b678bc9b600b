/* VA-API hands a driver the contents of parameter sets and the slices, but a software decoder wants the stream. These
 * rebuild the access unit of a context's picture. They return NULL, or why it cannot be done. */
#ifndef REBUILD_H
#define REBUILD_H

#include "bits.h"
#include "driver.h"

const char *h264_rebuild(const struct context *x, struct stream *out);
const char *h265_rebuild(const struct context *x, struct stream *out);

#endif
