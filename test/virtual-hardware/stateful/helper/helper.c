/* The helper of the virtual stateful decoder: reads jobs from /dev/virtual-decoder, decodes them with libavcodec and
 * writes what comes of them. It ends with its standard input, so that none is left behind by a test. */
#include "../driver/virtual-decoder.h"

#include <libavcodec/avcodec.h>
#include <libavutil/imgutils.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct session {
	struct session *next;
	unsigned number, width, height; /* the size that was announced */
	AVCodecContext *codec;
};

static struct session *sessions;
static int device;
static unsigned char *memory; /* of the job, and then of the answer */

static void die(const char *what)
{
	fprintf(stderr, "virtual decoder's helper: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* answer writes header and data in one call. */
static void answer(const struct virtual_decoder_answer *a)
{
	memcpy(memory, a, sizeof *a);
	if (write(device, memory, sizeof *a + a->size) < 0)
		die("answer");
}

static void say(const struct virtual_decoder_job *j, unsigned type)
{
	answer(&(struct virtual_decoder_answer){.session = j->session, .generation = j->generation, .type = type});
}

static struct session *session_of(const struct virtual_decoder_job *j)
{
	struct session *s;

	for (s = sessions; s && s->number != j->session; s = s->next)
		;
	if (!s) {
		s = calloc(1, sizeof *s);
		s->number = j->session;
		s->next = sessions;
		sessions = s;
	}
	return s;
}

static void close_session(unsigned number)
{
	for (struct session **at = &sessions; *at; at = &(*at)->next)
		if ((*at)->number == number) {
			struct session *s = *at;
			*at = s->next;
			avcodec_free_context(&s->codec);
			free(s);
			return;
		}
}

static void open_codec(struct session *s, int h265)
{
	enum AVCodecID id = h265 ? AV_CODEC_ID_HEVC : AV_CODEC_ID_H264;

	if (s->codec && s->codec->codec_id == id)
		return;
	avcodec_free_context(&s->codec);
	s->codec = avcodec_alloc_context3(avcodec_find_decoder(id));
	s->codec->thread_count = 1;
	if (avcodec_open2(s->codec, NULL, NULL))
		die("libavcodec");
}

/* announce tells the size of the pictures to come, when it is not known yet. */
static void announce(struct session *s, const struct virtual_decoder_job *j, unsigned width, unsigned height)
{
	if (!width || (width == s->width && height == s->height))
		return;
	s->width = width;
	s->height = height;
	answer(&(struct virtual_decoder_answer){
		.session = j->session, .generation = j->generation, .type = ANSWER_FORMAT,
		.width = width, .height = height, .buffers = s->codec->has_b_frames + 3,
	});
}

static void give_out(struct session *s, const struct virtual_decoder_job *j, const AVFrame *f)
{
	struct virtual_decoder_answer a = {
		.session = j->session, .generation = j->generation, .type = ANSWER_PICTURE, .width = f->width,
		.height = f->height, .timestamp = f->pts, .key = f->key_frame,
		.size = av_image_get_buffer_size(AV_PIX_FMT_YUV420P, f->width, f->height, 1),
	};

	if (f->format != AV_PIX_FMT_YUV420P && f->format != AV_PIX_FMT_YUVJ420P) {
		fprintf(stderr, "virtual decoder's helper: pictures are not of 8 bits and 4:2:0\n");
		return;
	}
	announce(s, j, f->width, f->height);
	av_image_copy_to_buffer(memory + sizeof a, a.size, (const uint8_t *const *)f->data, f->linesize, AV_PIX_FMT_YUV420P,
				f->width, f->height, 1);
	answer(&a);
}

/* decode feeds a packet, none at the end, and gives out the pictures that are ready. */
static int decode(struct session *s, const struct virtual_decoder_job *j, AVPacket *packet)
{
	AVFrame *f = av_frame_alloc();
	int error = avcodec_send_packet(s->codec, packet);

	if (!s->width) /* as hardware does, which knows the size before it has the first picture */
		announce(s, j, s->codec->width, s->codec->height);
	while (avcodec_receive_frame(s->codec, f) >= 0)
		give_out(s, j, f);
	av_frame_free(&f);
	return error;
}

static void decode_job(struct session *s, const struct virtual_decoder_job *j)
{
	AVPacket *packet = av_packet_alloc();
	int error;

	open_codec(s, j->h265);
	if (av_new_packet(packet, j->size))
		die("memory");
	memcpy(packet->data, memory + sizeof *j, j->size);
	packet->pts = j->timestamp;
	error = decode(s, j, packet);
	av_packet_free(&packet);
	say(j, error ? ANSWER_ERROR : ANSWER_DONE);
}

static void work(void)
{
	struct virtual_decoder_job j;
	struct session *s;

	if (read(device, memory, VIRTUAL_DECODER_MOST) < (ssize_t)sizeof j)
		die("job");
	memcpy(&j, memory, sizeof j);
	if (j.type == JOB_CLOSE) {
		close_session(j.session);
		return;
	}
	s = session_of(&j);
	switch (j.type) {
	case JOB_DECODE:
		decode_job(s, &j);
		break;
	case JOB_DRAIN:
		if (s->codec) {
			decode(s, &j, NULL);
			avcodec_flush_buffers(s->codec); /* more may follow */
		}
		say(&j, ANSWER_DRAINED);
		break;
	case JOB_FLUSH:
		s->width = s->height = 0; /* the answer that told it may be lost */
		if (s->codec)
			avcodec_flush_buffers(s->codec);
		break;
	}
}

/* follow ends this process with whoever started it. */
static void *follow(void *unused)
{
	char c;

	while (read(0, &c, 1) > 0)
		;
	_exit(0);
	return unused;
}

int main(void)
{
	pthread_t thread;

	device = open("/dev/virtual-decoder", O_RDWR | O_CLOEXEC);
	if (device < 0)
		die("/dev/virtual-decoder");
	memory = malloc(VIRTUAL_DECODER_MOST);
	if (!memory || pthread_create(&thread, NULL, follow, NULL))
		die("start");
	av_log_set_level(AV_LOG_FATAL);
	if (puts("ready") < 0 || fflush(stdout))
		die("standard output");
	for (;;)
		work();
}
