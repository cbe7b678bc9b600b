#include <gst/gst.h>
#include <pthread.h>
#include <stdlib.h>

/* GStreamer and the libraries of the software decoders are what takes longest at the start of a process that decodes.
 * Loading them begins before main, on a thread of its own, so that it goes on while Go's runtime and the sandbox start. */

static void *load(void *unused)
{
	(void)unused;
	GstPlugin *plugin = gst_init_check(NULL, NULL, NULL) ? gst_plugin_load_by_name("libav") : NULL;
	gst_clear_object(&plugin);
	return NULL;
}

__attribute__((constructor)) static void preload(void)
{
	pthread_t thread;
	if (getenv("EDGE_AGENT_PRELOAD") && !pthread_create(&thread, NULL, load, NULL)) /* decode.PreloadEnv */
		pthread_detach(thread);
}
