#define _GNU_SOURCE /* dladdr */
#include <dlfcn.h>
#include <gst/gst.h>
#include <pthread.h>
#include <stdlib.h>

/* Loading the libraries of the software decoders is what takes longest at the start of a process that decodes. It begins
 * before main, on a thread of its own, so that it goes on while Go's runtime starts. It needs no GStreamer that is
 * initialised. */

/* load_libav loads the plugin that lies where this GStreamer's plugins usually are; elsewhere it is found when it is needed. */
static void *load_libav(void *unused)
{
	(void)unused;
	Dl_info core;
	if (!dladdr((void *)gst_init, &core) || !core.dli_fname)
		return NULL;
	char *folder = g_path_get_dirname(core.dli_fname);
	char *plugin = g_build_filename(folder, "gstreamer-1.0", "libgstlibav.so", NULL);
	(void)dlopen(plugin, RTLD_LAZY | RTLD_LOCAL);
	g_free(plugin);
	g_free(folder);
	return NULL;
}

__attribute__((constructor)) static void preload(void)
{
	pthread_t thread;
	if (getenv("EDGE_AGENT_PRELOAD") && !pthread_create(&thread, NULL, load_libav, NULL)) /* decode.PreloadEnv */
		pthread_detach(thread);
}
