/* The way in: libva loads the driver, calls this one function, and then those in the table it fills in. */
#include "driver.h"

#include <stdlib.h>

static VAStatus terminate(VADriverContextP c)
{
	struct driver *d = DRIVER(c);

	pthread_mutex_destroy(&d->lock);
	free(d); /* with all objects destroyed, as the client must have done */
	return VA_STATUS_SUCCESS;
}

static VAStatus query_display_attributes(VADriverContextP c, VADisplayAttribute *list, int *n)
{
	*n = 0;
	return VA_STATUS_SUCCESS;
}

static VAStatus query_subpicture_formats(VADriverContextP c, VAImageFormat *list, unsigned *flags, unsigned *n)
{
	*n = 0;
	return VA_STATUS_SUCCESS;
}

/* refuse stands for functions that libva insists on and no client here calls. */
static VAStatus refuse(void)
{
	return VA_STATUS_ERROR_UNIMPLEMENTED;
}

static void fill_in(struct VADriverVTable *v)
{
	v->vaTerminate = terminate;
	v->vaQueryConfigProfiles = query_profiles;
	v->vaQueryConfigEntrypoints = query_entrypoints;
	v->vaGetConfigAttributes = get_attributes;
	v->vaCreateConfig = create_config;
	v->vaDestroyConfig = destroy_config;
	v->vaQueryConfigAttributes = query_config;
	v->vaQuerySurfaceAttributes = query_surface_attributes;
	v->vaCreateSurfaces = create_surfaces;
	v->vaCreateSurfaces2 = create_surfaces2;
	v->vaDestroySurfaces = destroy_surfaces;
	v->vaSyncSurface = sync_surface;
	v->vaQuerySurfaceStatus = query_surface;
	v->vaCreateContext = create_context;
	v->vaDestroyContext = destroy_context;
	v->vaBeginPicture = begin_picture;
	v->vaRenderPicture = render_picture;
	v->vaEndPicture = end_picture;
	v->vaCreateBuffer = create_buffer;
	v->vaBufferSetNumElements = set_elements;
	v->vaMapBuffer = map_buffer;
	v->vaUnmapBuffer = unmap_buffer;
	v->vaDestroyBuffer = destroy_buffer;
	v->vaBufferInfo = query_buffer;
	v->vaQueryImageFormats = query_formats;
	v->vaCreateImage = create_image;
	v->vaDeriveImage = derive_image;
	v->vaDestroyImage = destroy_image;
	v->vaGetImage = get_image;
	v->vaPutImage = put_image;
	v->vaQueryDisplayAttributes = query_display_attributes;
	v->vaQuerySubpictureFormats = query_subpicture_formats;

	v->vaSetImagePalette = (void *)refuse;
	v->vaCreateSubpicture = (void *)refuse;
	v->vaDestroySubpicture = (void *)refuse;
	v->vaSetSubpictureImage = (void *)refuse;
	v->vaSetSubpictureChromakey = (void *)refuse;
	v->vaSetSubpictureGlobalAlpha = (void *)refuse;
	v->vaAssociateSubpicture = (void *)refuse;
	v->vaDeassociateSubpicture = (void *)refuse;
	v->vaGetDisplayAttributes = (void *)refuse;
	v->vaSetDisplayAttributes = (void *)refuse;
	v->vaPutSurface = (void *)refuse;
	v->vaQuerySurfaceError = (void *)refuse;
}

/* libva looks for the function of its own version and then for those of older ones: this one is found by all of 2.x. The
 * table only ever grows at its end. */
__attribute__((visibility("default"))) VAStatus __vaDriverInit_1_0(VADriverContextP c)
{
	VAStatus status;
	struct driver *d;

	if (strikes(CALL_INITIALIZE, &status))
		return status;
	d = calloc(1, sizeof *d);
	if (!d)
		return VA_STATUS_ERROR_ALLOCATION_FAILED;
	pthread_mutex_init(&d->lock, NULL);
	c->pDriverData = d;
	c->version_major = VA_MAJOR_VERSION;
	c->version_minor = VA_MINOR_VERSION;
	c->str_vendor = "virtual VA-API driver, for tests";
	c->max_profiles = MOST_PROFILES;
	c->max_entrypoints = 1;
	c->max_attributes = 16;
	c->max_image_formats = MOST_FORMATS;
	c->max_subpic_formats = 1;
	c->max_display_attributes = 1;
	fill_in(c->vtable);
	c->vtable_vpp->vaQueryVideoProcFilters = query_filters;
	c->vtable_vpp->vaQueryVideoProcFilterCaps = query_filter;
	c->vtable_vpp->vaQueryVideoProcPipelineCaps = query_processing;
	return VA_STATUS_SUCCESS;
}
