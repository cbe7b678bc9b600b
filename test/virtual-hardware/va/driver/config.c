/* What the driver can do: decode H.264 and H.265 of 8 bits, and copy pictures. */
#include "driver.h"

#include <string.h>

static const VAProfile profiles[] = {
	VAProfileNone, /* video processing */
	VAProfileH264ConstrainedBaseline,
	VAProfileH264Main,
	VAProfileH264High,
	VAProfileHEVCMain,
};

#define PROFILES (int)(sizeof profiles / sizeof *profiles)

VAStatus query_profiles(VADriverContextP c, VAProfile *list, int *n)
{
	memcpy(list, profiles, sizeof profiles);
	*n = PROFILES;
	return VA_STATUS_SUCCESS;
}

VAStatus query_entrypoints(VADriverContextP c, VAProfile p, VAEntrypoint *list, int *n)
{
	for (int i = 0; i < PROFILES; i++) {
		if (profiles[i] == p) {
			list[0] = p == VAProfileNone ? VAEntrypointVideoProc : VAEntrypointVLD;
			*n = 1;
			return VA_STATUS_SUCCESS;
		}
	}
	return VA_STATUS_ERROR_UNSUPPORTED_PROFILE;
}

VAStatus get_attributes(VADriverContextP c, VAProfile p, VAEntrypoint e, VAConfigAttrib *list, int n)
{
	for (int i = 0; i < n; i++) {
		switch (list[i].type) {
		case VAConfigAttribRTFormat:
			list[i].value = VA_RT_FORMAT_YUV420;
			break;
		case VAConfigAttribMaxPictureWidth:
		case VAConfigAttribMaxPictureHeight:
			list[i].value = LARGEST;
			break;
		case VAConfigAttribDecSliceMode:
			list[i].value = VA_DEC_SLICE_MODE_NORMAL;
			break;
		default:
			list[i].value = VA_ATTRIB_NOT_SUPPORTED;
		}
	}
	return VA_STATUS_SUCCESS;
}

VAStatus create_config(VADriverContextP c, VAProfile p, VAEntrypoint e, VAConfigAttrib *list, int n, VAConfigID *id)
{
	VAStatus status;
	struct config *config;

	if (strikes(CALL_CONFIG, &status))
		return status;
	config = object_new(DRIVER(c), CONFIG, sizeof *config);
	if (!config)
		return VA_STATUS_ERROR_ALLOCATION_FAILED;
	config->profile = p;
	config->entrypoint = e;
	*id = config->object.id;
	return VA_STATUS_SUCCESS;
}

VAStatus destroy_config(VADriverContextP c, VAConfigID id)
{
	struct config *config = object(DRIVER(c), CONFIG, id);

	if (!config)
		return VA_STATUS_ERROR_INVALID_CONFIG;
	object_free(DRIVER(c), config);
	return VA_STATUS_SUCCESS;
}

VAStatus query_config(VADriverContextP c, VAConfigID id, VAProfile *p, VAEntrypoint *e, VAConfigAttrib *list, int *n)
{
	struct config *config = object(DRIVER(c), CONFIG, id);

	if (!config)
		return VA_STATUS_ERROR_INVALID_CONFIG;
	*p = config->profile;
	*e = config->entrypoint;
	list[0] = (VAConfigAttrib){VAConfigAttribRTFormat, VA_RT_FORMAT_YUV420};
	*n = 1;
	return VA_STATUS_SUCCESS;
}

static VASurfaceAttrib attribute(VASurfaceAttribType t, uint32_t flags, int value)
{
	return (VASurfaceAttrib){t, flags, {VAGenericValueTypeInteger, {.i = value}}};
}

VAStatus query_surface_attributes(VADriverContextP c, VAConfigID id, VASurfaceAttrib *list, unsigned *n)
{
	const uint32_t get = VA_SURFACE_ATTRIB_GETTABLE, set = get | VA_SURFACE_ATTRIB_SETTABLE;
	VASurfaceAttrib all[] = {
		attribute(VASurfaceAttribPixelFormat, set, VA_FOURCC_NV12),
		attribute(VASurfaceAttribMinWidth, get, 1),
		attribute(VASurfaceAttribMaxWidth, get, LARGEST),
		attribute(VASurfaceAttribMinHeight, get, 1),
		attribute(VASurfaceAttribMaxHeight, get, LARGEST),
		attribute(VASurfaceAttribMemoryType, set, VA_SURFACE_ATTRIB_MEM_TYPE_VA),
	};
	unsigned room = *n;

	if (!object(DRIVER(c), CONFIG, id))
		return VA_STATUS_ERROR_INVALID_CONFIG;
	*n = sizeof all / sizeof *all;
	if (!list)
		return VA_STATUS_SUCCESS;
	if (room < *n)
		return VA_STATUS_ERROR_MAX_NUM_EXCEEDED;
	memcpy(list, all, sizeof all);
	return VA_STATUS_SUCCESS;
}
