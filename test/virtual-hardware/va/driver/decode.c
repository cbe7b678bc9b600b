/* Decoding with libavcodec: each picture's access unit goes in, and the picture is copied into the target
 * when it is decoded, not when its turn to be shown has come, as hardware does it. */
#include "driver.h"
#include "rebuild.h"

#include <stdlib.h>
#include <string.h>

struct decoder {
	AVCodecContext *codec;
	AVPacket *packet;
	AVFrame *picture; /* what is decoded now */
	AVFrame *shown;   /* what comes out in the order of showing: not wanted */
	bool h265, begun; /* begun: the present access unit has a picture */
};

void decoder_free(struct decoder *d)
{
	if (!d)
		return;
	avcodec_free_context(&d->codec);
	av_packet_free(&d->packet);
	av_frame_free(&d->picture);
	av_frame_free(&d->shown);
	free(d);
}

/* MOST_REORDERED is how many pictures libavcodec may hold back: as many as it can, else it warns that it has to hold back more. */
#define MOST_REORDERED 16

/* on_buffer learns where the present picture is decoded to. libavcodec also asks for buffers for references that are
 * missing: with H.264 before that of the picture, with H.265 after it. The second field of an H.264 picture has none: it
 * goes where the first did. */
static int on_buffer(AVCodecContext *codec, AVFrame *frame, int flags)
{
	struct decoder *d = codec->opaque;
	int error = avcodec_default_get_buffer2(codec, frame, flags);

	if (error || (d->h265 && d->begun))
		return error;
	d->begun = true;
	av_frame_unref(d->picture);
	return av_frame_ref(d->picture, frame);
}

static struct decoder *decoder_new(VAProfile p)
{
	struct decoder *d = calloc(1, sizeof *d);
	bool h265 = p == VAProfileHEVCMain;
	const AVCodec *codec = avcodec_find_decoder(h265 ? AV_CODEC_ID_HEVC : AV_CODEC_ID_H264);

	if (!d)
		return NULL;
	d->h265 = h265;
	d->codec = codec ? avcodec_alloc_context3(codec) : NULL;
	d->packet = av_packet_alloc();
	d->picture = av_frame_alloc();
	d->shown = av_frame_alloc();
	if (d->codec && d->packet && d->picture && d->shown) {
		d->codec->thread_count = 1;
		d->codec->thread_type = FF_THREAD_SLICE; /* else libavcodec warns of on_buffer */
		d->codec->has_b_frames = MOST_REORDERED;
		d->codec->opaque = d;
		d->codec->get_buffer2 = on_buffer;
		if (!avcodec_open2(d->codec, codec, NULL))
			return d;
	}
	decoder_free(d);
	return NULL;
}

/* give_out copies the picture into a surface. */
static const char *give_out(const AVFrame *f, struct surface *s, int width, int height)
{
	if (!f->data[0])
		return "libavcodec made no picture";
	if (f->format != AV_PIX_FMT_YUV420P && f->format != AV_PIX_FMT_YUVJ420P)
		return "pictures are not of 8 bits and 4:2:0";
	if (width > s->width)
		width = s->width;
	if (height > s->height)
		height = s->height;
	for (int y = 0; y < height; y++)
		memcpy(surface_y(s, y), f->data[0] + y * f->linesize[0], width);
	for (int y = 0; y < (height + 1) / 2; y++) {
		const uint8_t *u = f->data[1] + y * f->linesize[1], *v = f->data[2] + y * f->linesize[2];
		uint8_t *out = surface_uv(s, y);
		for (int x = 0; x < (width + 1) / 2; x++) {
			*out++ = u[x];
			*out++ = v[x];
		}
	}
	return NULL;
}

/* run has libavcodec decode an access unit. */
static const char *run(struct decoder *d, const struct stream *s)
{
	if (s->full || av_new_packet(d->packet, s->n))
		return "memory ran out";
	memcpy(d->packet->data, s->data, s->n);
	d->begun = false;
	int error = avcodec_send_packet(d->codec, d->packet);
	av_packet_unref(d->packet);
	while (!avcodec_receive_frame(d->codec, d->shown))
		av_frame_unref(d->shown);
	return error ? "libavcodec refuses it" : NULL;
}

const char *decode(struct context *x)
{
	struct stream s = {0};
	const char *why;

	if (!x->decoder)
		x->decoder = decoder_new(x->profile);
	if (!x->decoder)
		return "libavcodec has no such decoder";
	why = x->decoder->h265 ? h265_rebuild(x, &s) : h264_rebuild(x, &s);
	if (!why)
		why = run(x->decoder, &s);
	free(s.data);
	AVCodecContext *codec = x->decoder->codec;
	return why ? why : give_out(x->decoder->picture, x->target, codec->coded_width, codec->coded_height);
}
