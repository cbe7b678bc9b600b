// SPDX-License-Identifier: GPL-2.0
/*
 * A virtual stateful decoder of H.264 and H.265, for tests. It follows the kernel's "Memory-to-Memory Stateful Video
 * Decoder Interface"; what it does not do itself is decoding: a helper in user space does, see virtual-decoder.h.
 *
 * The way of a frame:
 *
 *	OUTPUT queue -> send() -> jobs -> helper -> answers of the session -> take() -> CAPTURE queue
 *
 * send() and take() are steps of device_run(), of which v4l2-mem2mem runs one at a time. Answers are taken in the order
 * in which they came, so an OUTPUT buffer is given back when its pictures have been.
 *
 * Faults are rules in debugfs, virtual-decoder/faults; see README.md.
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <media/v4l2-ctrls.h>
#include <media/v4l2-device.h>
#include <media/v4l2-event.h>
#include <media/v4l2-ioctl.h>
#include <media/v4l2-mem2mem.h>
#include <media/videobuf2-vmalloc.h>

#include "virtual-decoder.h"

#define NAME "virtual-decoder"
#define MIN_SIZE 16
#define MAX_SIZE 4096
#define BLOCK 16 /* sizes of pictures in memory are multiples of it */

/* ---- faults: the rules, and a log of what they did ---- */

enum call { CALL_OPEN, CALL_STREAMON, CALL_STREAMOFF, CALL_FORMAT, CALL_QBUF, CALL_DQBUF,
	    CALL_DECODE, CALL_SOURCE, CALL_PICTURE, CALL_LAST, CALLS };
static const char *const call_names[CALLS] = { "open", "streamon", "streamoff", "format", "qbuf", "dqbuf",
					       "decode", "source", "picture", "last" };

enum action { NOTHING, ERROR, SKIP, HANG, SLEEP, SIZE, ACTIONS };
static const char *const action_names[ACTIONS] = { "", "error", "skip", "hang", "sleep", "size" };

struct rule {
	enum call call;
	unsigned int first, count;
	enum action action;
	unsigned int milliseconds; /* of SLEEP */
};

#define MOST_RULES 16
#define MOST_PROCESSES 64

static struct {
	struct mutex lock; /* of writers */
	spinlock_t spin;   /* of all below */
	struct rule rules[MOST_RULES];
	unsigned int n, calls[CALLS];
	struct { pid_t process; unsigned int opens; } processes[MOST_PROCESSES]; /* open is counted for each */
	char log[PAGE_SIZE];
	size_t logged;
	unsigned int change; /* counts how often the rules were changed */
} faults = { .lock = __MUTEX_INITIALIZER(faults.lock), .spin = __SPIN_LOCK_UNLOCKED(faults.spin) };

static DECLARE_WAIT_QUEUE_HEAD(faults_changed);

/* count counts a call. open is counted for each process by itself, as there are drivers that wear out so. */
static unsigned int count(enum call c)
{
	int i;

	if (c != CALL_OPEN)
		return ++faults.calls[c];
	for (i = 0; i < MOST_PROCESSES; i++) {
		if (!faults.processes[i].process)
			faults.processes[i].process = current->tgid;
		if (faults.processes[i].process == current->tgid)
			return ++faults.processes[i].opens;
	}
	return 0;
}

/* strikes counts a call and says what is to happen to it. */
static struct rule strikes(enum call c)
{
	struct rule none = { .action = NOTHING }, *r;
	unsigned long flags;
	unsigned int i, n;

	spin_lock_irqsave(&faults.spin, flags);
	n = count(c);
	for (i = 0; i < faults.n && none.action == NOTHING; i++) {
		r = &faults.rules[i];
		if (r->call != c || n < r->first || n - r->first >= r->count)
			continue;
		none = *r;
		if (faults.logged < sizeof(faults.log) - 80)
			faults.logged += scnprintf(faults.log + faults.logged, 80, "%lld %d fault %s %s\n", ktime_get_real_ns(),
						   current->tgid, call_names[c], action_names[r->action]);
	}
	spin_unlock_irqrestore(&faults.spin, flags);
	return none;
}

/* hangs waits until the rules change, or the process is killed: a test has to be able to end. */
static int hangs(void)
{
	unsigned int change = READ_ONCE(faults.change);

	return wait_event_killable(faults_changed, READ_ONCE(faults.change) != change) ? -EINTR : 0;
}

/* suffer is what an ioctl begins with; an error is its result. */
static int suffer(enum call c)
{
	struct rule r = strikes(c);

	switch (r.action) {
	case ERROR:
		return -EIO;
	case HANG:
		return hangs();
	case SLEEP:
		schedule_timeout_killable(msecs_to_jiffies(r.milliseconds));
		return 0;
	default:
		return 0;
	}
}

/* fits says whether an action has a meaning for a call. */
static bool fits(enum call c, enum action a)
{
	switch (a) {
	case ERROR:
		return c != CALL_SOURCE && c != CALL_LAST;
	case SKIP:
		return c == CALL_OPEN || c == CALL_DECODE || c == CALL_SOURCE || c == CALL_PICTURE || c == CALL_LAST;
	case HANG:
		return c == CALL_STREAMON || c == CALL_STREAMOFF || c == CALL_FORMAT || c == CALL_QBUF || c == CALL_DQBUF ||
		       c == CALL_DECODE;
	case SLEEP:
		return c != CALL_OPEN && c != CALL_SOURCE;
	case SIZE:
		return c == CALL_SOURCE;
	default:
		return false;
	}
}

static bool parse(const char *line, struct rule *r)
{
	char call[16], many[16], action[16];
	int fields = sscanf(line, "%15s %u %15s %15s %u", call, &r->first, many, action, &r->milliseconds);
	int c, a;

	if (fields < 4)
		return false;
	c = match_string(call_names, CALLS, call);
	a = match_string(action_names, ACTIONS, action);
	if (!strcmp(many, "forever"))
		r->count = UINT_MAX;
	else if (kstrtouint(many, 10, &r->count))
		return false;
	if (c < 0 || a <= 0 || !r->first || !r->count || (a == SLEEP) != (fields == 5) || !fits(c, a))
		return false;
	r->call = c;
	r->action = a;
	return true;
}

/* faults_write replaces all rules and begins to count anew. One that means nothing is refused, and nothing changes. */
static ssize_t faults_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	struct rule rules[MOST_RULES];
	char *text, *rest, *line;
	unsigned int n = 0;

	text = memdup_user_nul(from, min_t(size_t, size, PAGE_SIZE));
	if (IS_ERR(text))
		return PTR_ERR(text);
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		if (n == MOST_RULES || !parse(line, &rules[n++])) {
			pr_err(NAME ": not a rule: %s\n", line);
			kfree(text);
			return -EINVAL;
		}
	}
	kfree(text);
	mutex_lock(&faults.lock);
	spin_lock_irq(&faults.spin);
	memcpy(faults.rules, rules, n * sizeof(*rules));
	faults.n = n;
	memset(faults.calls, 0, sizeof(faults.calls));
	memset(faults.processes, 0, sizeof(faults.processes));
	faults.logged = 0;
	faults.change++;
	spin_unlock_irq(&faults.spin);
	mutex_unlock(&faults.lock);
	wake_up_all(&faults_changed);
	return size;
}

/* faults_read gives the log: time in nanoseconds, process, "fault", call and action. */
static ssize_t faults_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	return simple_read_from_buffer(to, size, at, faults.log, READ_ONCE(faults.logged));
}

static const struct file_operations faults_fops = {
	.owner = THIS_MODULE,
	.write = faults_write,
	.read = faults_read,
};

/* ---- what there is ---- */

struct decoder {
	struct v4l2_device v4l2;
	struct video_device video;
	struct v4l2_m2m_dev *m2m;
	struct mutex lock;
};

struct queue_format {
	u32 fourcc;
	unsigned int width, height; /* in memory */
	unsigned int size;
	unsigned int sequence;
};

struct answer {
	struct list_head list;
	struct virtual_decoder_answer head;
	u8 data[];
};

struct job {
	struct list_head list;
	struct virtual_decoder_job head;
	u8 data[];
};

/* session is one open file. */
struct session {
	struct v4l2_fh fh;
	struct decoder *decoder;
	struct list_head list; /* in sessions */
	struct mutex queue_lock; /* of both queues, and their ioctls: what hangs one session does not hang another */
	struct v4l2_ctrl_handler controls;
	struct v4l2_ctrl *min_buffers;
	u32 number;
	bool worn; /* open was skipped: takes everything and gives nothing */

	struct queue_format output, capture;
	unsigned int width, height; /* visible */
	u32 colorspace, transfer, encoding, quantization;

	spinlock_t lock; /* of all below */
	struct list_head answers;
	wait_queue_head_t known_changed;
	struct delayed_work later;
	unsigned long not_before; /* in jiffies, for the first of the answers; 0: it was not looked at */
	struct rule fault;        /* of the first of the answers */
	u32 generation;
	unsigned int queued, sent; /* OUTPUT buffers, since the last seek */
	unsigned int stop;         /* so many are sent before the drain */
	bool known;    /* the first format has come */
	bool changing; /* after a change of size, until CAPTURE is started again */
	bool busy;     /* the helper has an OUTPUT buffer, or is draining */
	bool stuck;    /* by a fault: nothing is sent any more */
	bool draining, drain_sent, stopped;
};

static struct {
	struct mutex lock; /* of sessions */
	struct list_head sessions;
	u32 numbers;
	spinlock_t spin; /* of jobs and attached */
	struct list_head jobs;
	bool attached; /* there is a helper */
	wait_queue_head_t wait;
} helper = {
	.lock = __MUTEX_INITIALIZER(helper.lock),
	.sessions = LIST_HEAD_INIT(helper.sessions),
	.spin = __SPIN_LOCK_UNLOCKED(helper.spin),
	.jobs = LIST_HEAD_INIT(helper.jobs),
	.wait = __WAIT_QUEUE_HEAD_INITIALIZER(helper.wait),
};

static struct session *session_of(struct file *file)
{
	return container_of(file->private_data, struct session, fh);
}

static struct queue_format *format_of(struct session *s, u32 type)
{
	return V4L2_TYPE_IS_OUTPUT(type) ? &s->output : &s->capture;
}

static void try_again(struct session *s)
{
	v4l2_m2m_try_schedule(s->fh.m2m_ctx);
}

static void later(struct work_struct *work)
{
	try_again(container_of(to_delayed_work(work), struct session, later));
}

/* ---- jobs for the helper ---- */

/* give_job hands a job over; without a helper it is lost and false is returned. */
static bool give_job(struct session *s, u32 type, const void *data, u32 size, u64 timestamp)
{
	struct job *j = kvmalloc(struct_size(j, data, size), GFP_KERNEL);
	bool attached;

	if (!j)
		return false;
	j->head = (struct virtual_decoder_job){
		.session = s->number, .generation = s->generation, .type = type,
		.h265 = s->output.fourcc == V4L2_PIX_FMT_HEVC, .timestamp = timestamp, .size = size,
	};
	if (size)
		memcpy(j->data, data, size);
	spin_lock(&helper.spin);
	attached = helper.attached;
	if (attached)
		list_add_tail(&j->list, &helper.jobs);
	spin_unlock(&helper.spin);
	if (attached)
		wake_up(&helper.wait);
	else
		kvfree(j);
	return attached;
}

/* may_send says whether the helper can get the next OUTPUT buffer, or the order to drain. s->lock is held. */
static bool may_send(struct session *s)
{
	if (s->busy || s->stuck || s->stopped)
		return false;
	if (s->draining && s->sent == s->stop)
		return !s->drain_sent;
	return v4l2_m2m_next_src_buf(s->fh.m2m_ctx) != NULL;
}

/* give_back ends the OUTPUT buffer that was sent. */
static void give_back(struct session *s, enum vb2_buffer_state state)
{
	struct vb2_v4l2_buffer *src = v4l2_m2m_src_buf_remove(s->fh.m2m_ctx);

	if (src) {
		src->sequence = s->output.sequence++;
		v4l2_m2m_buf_done(src, state);
	}
}

static void send(struct session *s)
{
	struct vb2_v4l2_buffer *src;
	struct rule r = { .action = NOTHING };
	bool drain, given;

	spin_lock(&s->lock);
	drain = s->draining && s->sent == s->stop;
	if (drain)
		s->drain_sent = true;
	else
		s->sent++;
	s->busy = true;
	spin_unlock(&s->lock);

	if (drain) {
		given = give_job(s, JOB_DRAIN, NULL, 0, 0);
	} else {
		src = v4l2_m2m_next_src_buf(s->fh.m2m_ctx);
		r = strikes(CALL_DECODE);
		if (r.action == HANG) {
			s->stuck = true;
			return;
		}
		if (r.action == SLEEP)
			msleep(r.milliseconds);
		given = r.action != ERROR && r.action != SKIP && !s->worn &&
			give_job(s, JOB_DECODE, vb2_plane_vaddr(&src->vb2_buf, 0), vb2_get_plane_payload(&src->vb2_buf, 0),
				 src->vb2_buf.timestamp);
		if (!given)
			give_back(s, r.action == SKIP || s->worn ? VB2_BUF_STATE_DONE : VB2_BUF_STATE_ERROR);
	}
	if (!given) {
		spin_lock(&s->lock);
		s->busy = false;
		spin_unlock(&s->lock);
	}
}

/* ---- answers of the helper ---- */

static bool same_size(struct session *s, const struct virtual_decoder_answer *a)
{
	return s->width == a->width && s->height == a->height;
}

static struct answer *first_answer(struct session *s)
{
	return list_first_entry_or_null(&s->answers, struct answer, list);
}

static enum call call_of(struct session *s, const struct answer *a)
{
	switch (a->head.type) {
	case ANSWER_FORMAT:
		return !s->known || !same_size(s, &a->head) ? CALL_SOURCE : CALLS;
	case ANSWER_PICTURE:
		return CALL_PICTURE;
	case ANSWER_DRAINED:
		return CALL_LAST;
	default:
		return CALLS;
	}
}

/* needs_buffer says that an answer ends in a CAPTURE buffer. */
static bool needs_buffer(struct session *s, const struct answer *a)
{
	struct vb2_queue *q = v4l2_m2m_get_dst_vq(s->fh.m2m_ctx);

	if (s->fault.action == SKIP)
		return false;
	switch (a->head.type) {
	case ANSWER_FORMAT: /* the change of a size that is in use has a last buffer before it */
		return s->known && !same_size(s, &a->head) && vb2_is_streaming(q);
	case ANSWER_PICTURE:
	case ANSWER_DRAINED:
		return true;
	default:
		return false;
	}
}

/* may_take says whether the first of the answers can be dealt with now. s->lock is held. */
static bool may_take(struct session *s)
{
	struct answer *a = first_answer(s);

	if (!a || s->changing)
		return false;
	if (!s->not_before) {
		enum call c = call_of(s, a);

		s->fault = c < CALLS ? strikes(c) : (struct rule){ .action = NOTHING };
		s->not_before = jiffies ?: 1;
		if (s->fault.action == SLEEP) {
			s->not_before += msecs_to_jiffies(s->fault.milliseconds);
			schedule_delayed_work(&s->later, msecs_to_jiffies(s->fault.milliseconds) + 1);
		}
	}
	if (time_before(jiffies, s->not_before))
		return false;
	if (!needs_buffer(s, a))
		return true;
	return vb2_is_streaming(v4l2_m2m_get_dst_vq(s->fh.m2m_ctx)) && v4l2_m2m_next_dst_buf(s->fh.m2m_ctx);
}

/* layout sets how pictures of the visible size lie in memory. */
static void layout(struct queue_format *f, unsigned int width, unsigned int height)
{
	f->width = round_up(clamp_t(unsigned int, width, MIN_SIZE, MAX_SIZE), BLOCK);
	f->height = round_up(clamp_t(unsigned int, height, MIN_SIZE, MAX_SIZE), BLOCK);
	f->size = f->width * f->height * 3 / 2;
}

static const struct v4l2_event source_change = {
	.type = V4L2_EVENT_SOURCE_CHANGE,
	.u.src_change.changes = V4L2_EVENT_SRC_CH_RESOLUTION,
};
static const struct v4l2_event end_of_stream = { .type = V4L2_EVENT_EOS };

/* last gives out an empty CAPTURE buffer, the last before a change or the end. */
static void last(struct session *s)
{
	struct vb2_v4l2_buffer *dst = v4l2_m2m_dst_buf_remove(s->fh.m2m_ctx);

	vb2_set_plane_payload(&dst->vb2_buf, 0, 0);
	dst->sequence = s->capture.sequence++;
	dst->field = V4L2_FIELD_NONE;
	dst->flags |= V4L2_BUF_FLAG_LAST;
	v4l2_m2m_buf_done(dst, VB2_BUF_STATE_DONE);
}

/* take_format has the client learn of a size. One that has set up its buffers for it already is not disturbed. */
static void take_format(struct session *s, const struct virtual_decoder_answer *a)
{
	bool streaming = vb2_is_streaming(v4l2_m2m_get_dst_vq(s->fh.m2m_ctx));
	bool differs = !same_size(s, a);
	struct queue_format was = s->capture;
	enum action fault = s->fault.action;

	if (s->known && !differs)
		return;
	if (fault == SKIP) {
		/* As if nothing had changed: pictures are cut to what the client knows. */
		s->known = true;
		wake_up_all(&s->known_changed);
		return;
	}
	if (streaming && differs && s->known)
		last(s);
	s->width = fault == SIZE ? a->width / 2 : a->width;
	s->height = fault == SIZE ? a->height / 2 : a->height;
	layout(&s->capture, s->width, s->height);
	s->known = true;
	wake_up_all(&s->known_changed);
	if (streaming && was.width == s->capture.width && was.height == s->capture.height && !differs)
		return;
	s->changing = streaming;
	v4l2_event_queue_fh(&s->fh, &source_change);
}

/* place copies a picture to where the format wants it. What does not fit is cut off. */
static void place(const struct queue_format *f, u8 *to, const struct virtual_decoder_answer *a, const u8 *from)
{
	unsigned int w = min(a->width, f->width), h = min(a->height, f->height);
	unsigned int half = (a->width + 1) / 2, y, x;
	const u8 *u = from + a->width * a->height, *v = u + half * ((a->height + 1) / 2);
	u8 *chroma = to + f->width * f->height;

	for (y = 0; y < h; y++)
		memcpy(to + y * f->width, from + y * a->width, w);
	w = (w + 1) / 2;
	h = (h + 1) / 2;
	for (y = 0; y < h; y++, u += half, v += half) {
		if (f->fourcc == V4L2_PIX_FMT_YUV420) {
			memcpy(chroma + y * (f->width / 2), u, w);
			memcpy(chroma + f->width * f->height / 4 + y * (f->width / 2), v, w);
			continue;
		}
		for (x = 0; x < w; x++) {
			chroma[y * f->width + 2 * x] = u[x];
			chroma[y * f->width + 2 * x + 1] = v[x];
		}
	}
}

static void take_picture(struct session *s, const struct answer *a)
{
	struct vb2_v4l2_buffer *dst;

	if (s->fault.action == SKIP)
		return;
	dst = v4l2_m2m_dst_buf_remove(s->fh.m2m_ctx);
	place(&s->capture, vb2_plane_vaddr(&dst->vb2_buf, 0), &a->head, a->data);
	vb2_set_plane_payload(&dst->vb2_buf, 0, s->capture.size);
	dst->vb2_buf.timestamp = a->head.timestamp;
	dst->sequence = s->capture.sequence++;
	dst->field = V4L2_FIELD_NONE;
	dst->flags &= ~(V4L2_BUF_FLAG_LAST | V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_PFRAME);
	dst->flags |= a->head.key ? V4L2_BUF_FLAG_KEYFRAME : V4L2_BUF_FLAG_PFRAME;
	v4l2_m2m_buf_done(dst, s->fault.action == ERROR ? VB2_BUF_STATE_ERROR : VB2_BUF_STATE_DONE);
}

/* take deals with the first of the answers. */
static void take(struct session *s)
{
	struct answer *a;

	spin_lock(&s->lock);
	a = first_answer(s);
	list_del(&a->list);
	s->not_before = 0;
	spin_unlock(&s->lock);

	switch (a->head.type) {
	case ANSWER_FORMAT:
		take_format(s, &a->head);
		if (s->known)
			v4l2_ctrl_s_ctrl(s->min_buffers, clamp_t(u32, a->head.buffers, 1, 16));
		break;
	case ANSWER_PICTURE:
		take_picture(s, a);
		break;
	case ANSWER_DRAINED:
		spin_lock(&s->lock);
		s->busy = false;
		s->stopped = true;
		spin_unlock(&s->lock);
		if (s->fault.action != SKIP) {
			last(s);
			v4l2_event_queue_fh(&s->fh, &end_of_stream);
		}
		break;
	default:
		spin_lock(&s->lock);
		s->busy = false;
		spin_unlock(&s->lock);
		give_back(s, a->head.type == ANSWER_ERROR ? VB2_BUF_STATE_ERROR : VB2_BUF_STATE_DONE);
	}
	kvfree(a);
}

static void forget_answers(struct session *s)
{
	struct answer *a, *next;
	LIST_HEAD(old);

	spin_lock_irq(&s->lock);
	list_splice_init(&s->answers, &old);
	s->not_before = 0;
	spin_unlock_irq(&s->lock);
	list_for_each_entry_safe(a, next, &old, list)
		kvfree(a);
}

static int job_ready(void *priv)
{
	struct session *s = priv;
	unsigned long flags;
	bool ready;

	spin_lock_irqsave(&s->lock, flags);
	ready = may_take(s) || may_send(s);
	spin_unlock_irqrestore(&s->lock, flags);
	return ready;
}

static void device_run(void *priv)
{
	struct session *s = priv;
	bool takes, sends;

	do {
		spin_lock_irq(&s->lock);
		takes = may_take(s);
		sends = !takes && may_send(s);
		spin_unlock_irq(&s->lock);
		if (takes)
			take(s);
		if (sends)
			send(s);
	} while (takes || sends);
	v4l2_m2m_job_finish(s->decoder->m2m, s->fh.m2m_ctx);
}

static const struct v4l2_m2m_ops m2m_ops = { .device_run = device_run, .job_ready = job_ready };

/* ---- formats ---- */

static const u32 coded[] = { V4L2_PIX_FMT_H264, V4L2_PIX_FMT_HEVC };
/* What pictures can be in memory depends on the codec: their order does, here. */
static const u32 raw[][2] = { { V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_YUV420 }, { V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12 } };

static const u32 *raw_of(struct session *s) { return raw[s->output.fourcc == V4L2_PIX_FMT_HEVC]; }

static int querycap(struct file *file, void *priv, struct v4l2_capability *c)
{
	strscpy(c->driver, NAME, sizeof(c->driver));
	strscpy(c->card, NAME, sizeof(c->card));
	return 0; /* bus_info is that of the device */
}

static int enum_output(struct file *file, void *priv, struct v4l2_fmtdesc *f)
{
	if (f->index >= ARRAY_SIZE(coded))
		return -EINVAL;
	f->pixelformat = coded[f->index];
	f->flags = V4L2_FMT_FLAG_COMPRESSED | V4L2_FMT_FLAG_DYN_RESOLUTION;
	return 0;
}

static int enum_capture(struct file *file, void *priv, struct v4l2_fmtdesc *f)
{
	if (f->index >= 2)
		return -EINVAL;
	f->pixelformat = raw_of(session_of(file))[f->index];
	return 0;
}

static int enum_sizes(struct file *file, void *priv, struct v4l2_frmsizeenum *f)
{
	u32 p = f->pixel_format;
	bool known = p == V4L2_PIX_FMT_H264 || p == V4L2_PIX_FMT_HEVC || p == V4L2_PIX_FMT_NV12 || p == V4L2_PIX_FMT_YUV420;

	if (f->index || !known)
		return -EINVAL;
	f->type = V4L2_FRMSIZE_TYPE_CONTINUOUS;
	f->stepwise = (struct v4l2_frmsize_stepwise){ MIN_SIZE, MAX_SIZE, 1, MIN_SIZE, MAX_SIZE, 1 };
	return 0;
}

static void fill(struct session *s, struct v4l2_pix_format_mplane *p, const struct queue_format *f, bool output)
{
	p->width = f->width;
	p->height = f->height;
	p->pixelformat = f->fourcc;
	p->field = V4L2_FIELD_NONE;
	p->num_planes = 1;
	p->plane_fmt[0].bytesperline = output ? 0 : f->width;
	p->plane_fmt[0].sizeimage = f->size;
	p->flags = 0;
	p->colorspace = s->colorspace;
	p->xfer_func = s->transfer;
	p->ycbcr_enc = s->encoding;
	p->quantization = s->quantization;
}

static int get_output(struct file *file, void *priv, struct v4l2_format *f)
{
	struct session *s = session_of(file);

	fill(s, &f->fmt.pix_mp, &s->output, true);
	return 0;
}

/* get_capture waits a while for the stream's header, as there are clients that do not wait for the event. */
static int get_capture(struct file *file, void *priv, struct v4l2_format *f)
{
	struct session *s = session_of(file);
	int error = suffer(CALL_FORMAT);

	if (error)
		return error;
	if (vb2_is_streaming(v4l2_m2m_get_src_vq(s->fh.m2m_ctx)) && s->queued)
		wait_event_killable_timeout(s->known_changed, s->known, msecs_to_jiffies(500));
	fill(s, &f->fmt.pix_mp, &s->capture, false);
	return 0;
}

static void try_output_format(struct v4l2_pix_format_mplane *p, struct queue_format *f)
{
	f->fourcc = p->pixelformat == V4L2_PIX_FMT_HEVC ? V4L2_PIX_FMT_HEVC : V4L2_PIX_FMT_H264;
	f->width = clamp_t(unsigned int, p->width, MIN_SIZE, MAX_SIZE);
	f->height = clamp_t(unsigned int, p->height, MIN_SIZE, MAX_SIZE);
	f->size = clamp_t(u32, p->plane_fmt[0].sizeimage, max(f->width * f->height * 3 / 2, 1u << 16), 16 << 20);
}

static int try_output(struct file *file, void *priv, struct v4l2_format *f)
{
	struct v4l2_pix_format_mplane *p = &f->fmt.pix_mp;
	struct v4l2_pix_format_mplane asked = *p;
	struct queue_format q;

	try_output_format(p, &q);
	fill(session_of(file), p, &q, true);
	p->colorspace = asked.colorspace ?: V4L2_COLORSPACE_REC709;
	p->xfer_func = asked.xfer_func;
	p->ycbcr_enc = asked.ycbcr_enc;
	p->quantization = asked.quantization;
	return 0;
}

/* set_output also sets what CAPTURE will probably be: clients may set that up before the stream's header is seen. */
static int set_output(struct file *file, void *priv, struct v4l2_format *f)
{
	struct session *s = session_of(file);
	struct v4l2_pix_format_mplane *p = &f->fmt.pix_mp;

	if (vb2_is_busy(v4l2_m2m_get_src_vq(s->fh.m2m_ctx)))
		return -EBUSY;
	try_output(file, priv, f);
	try_output_format(p, &s->output);
	s->colorspace = p->colorspace;
	s->transfer = p->xfer_func;
	s->encoding = p->ycbcr_enc;
	s->quantization = p->quantization;
	if (!vb2_is_busy(v4l2_m2m_get_dst_vq(s->fh.m2m_ctx))) {
		s->capture.fourcc = raw_of(s)[0];
		s->width = s->output.width;
		s->height = s->output.height;
		layout(&s->capture, s->width, s->height);
	}
	return 0;
}

/* try_capture: the size is the stream's, and only the order of the pixels can be chosen. */
static int try_capture(struct file *file, void *priv, struct v4l2_format *f)
{
	struct session *s = session_of(file);
	struct queue_format q = s->capture;
	u32 asked = f->fmt.pix_mp.pixelformat;

	q.fourcc = asked == V4L2_PIX_FMT_NV12 || asked == V4L2_PIX_FMT_YUV420 ? asked : raw_of(s)[0];
	fill(s, &f->fmt.pix_mp, &q, false);
	return 0;
}

static int set_capture(struct file *file, void *priv, struct v4l2_format *f)
{
	struct session *s = session_of(file);

	try_capture(file, priv, f);
	if (vb2_is_busy(v4l2_m2m_get_dst_vq(s->fh.m2m_ctx)) && f->fmt.pix_mp.pixelformat != s->capture.fourcc)
		return -EBUSY;
	s->capture.fourcc = f->fmt.pix_mp.pixelformat;
	return 0;
}

static int get_selection(struct file *file, void *priv, struct v4l2_selection *sel)
{
	struct session *s = session_of(file);

	if (sel->type != V4L2_BUF_TYPE_VIDEO_CAPTURE)
		return -EINVAL;
	sel->r = (struct v4l2_rect){ 0, 0, s->width, s->height };
	switch (sel->target) {
	case V4L2_SEL_TGT_CROP:
	case V4L2_SEL_TGT_CROP_DEFAULT:
	case V4L2_SEL_TGT_COMPOSE:
	case V4L2_SEL_TGT_COMPOSE_DEFAULT:
		return 0;
	case V4L2_SEL_TGT_CROP_BOUNDS:
	case V4L2_SEL_TGT_COMPOSE_BOUNDS:
	case V4L2_SEL_TGT_COMPOSE_PADDED:
		sel->r.width = s->capture.width;
		sel->r.height = s->capture.height;
		return 0;
	default:
		return -EINVAL;
	}
}

/* set_selection: there is one rectangle, that of the stream. */
static int set_selection(struct file *file, void *priv, struct v4l2_selection *sel)
{
	return sel->target == V4L2_SEL_TGT_COMPOSE ? get_selection(file, priv, sel) : -EINVAL;
}

/* ---- other ioctls ---- */

static int streamon(struct file *file, void *priv, enum v4l2_buf_type type)
{
	return suffer(CALL_STREAMON) ?: v4l2_m2m_ioctl_streamon(file, priv, type);
}

static int streamoff(struct file *file, void *priv, enum v4l2_buf_type type)
{
	return suffer(CALL_STREAMOFF) ?: v4l2_m2m_ioctl_streamoff(file, priv, type);
}

static int qbuf(struct file *file, void *priv, struct v4l2_buffer *b)
{
	return suffer(CALL_QBUF) ?: v4l2_m2m_ioctl_qbuf(file, priv, b);
}

static int dqbuf(struct file *file, void *priv, struct v4l2_buffer *b)
{
	return suffer(CALL_DQBUF) ?: v4l2_m2m_ioctl_dqbuf(file, priv, b);
}

static int command(struct file *file, void *priv, struct v4l2_decoder_cmd *c)
{
	struct session *s = session_of(file);
	int error = v4l2_m2m_ioctl_try_decoder_cmd(file, priv, c);

	if (error || !vb2_is_streaming(v4l2_m2m_get_src_vq(s->fh.m2m_ctx)))
		return error;
	spin_lock_irq(&s->lock);
	if (c->cmd == V4L2_DEC_CMD_STOP && !s->draining) {
		s->draining = true;
		s->stop = s->queued;
	} else if (c->cmd == V4L2_DEC_CMD_START && s->draining && !s->stopped) {
		error = -EBUSY; /* the drain goes on to its end */
	} else if (c->cmd == V4L2_DEC_CMD_START) {
		s->draining = s->drain_sent = s->stopped = false;
	}
	spin_unlock_irq(&s->lock);
	if (c->cmd == V4L2_DEC_CMD_START && !error)
		vb2_clear_last_buffer_dequeued(v4l2_m2m_get_dst_vq(s->fh.m2m_ctx));
	try_again(s);
	return error;
}

static int subscribe(struct v4l2_fh *fh, const struct v4l2_event_subscription *sub)
{
	switch (sub->type) {
	case V4L2_EVENT_SOURCE_CHANGE:
	case V4L2_EVENT_EOS:
		return v4l2_event_subscribe(fh, sub, 2, NULL);
	default:
		return v4l2_ctrl_subscribe_event(fh, sub);
	}
}

static const struct v4l2_ioctl_ops ioctl_ops = {
	.vidioc_querycap = querycap,
	.vidioc_enum_fmt_vid_out = enum_output,
	.vidioc_enum_fmt_vid_cap = enum_capture,
	.vidioc_enum_framesizes = enum_sizes,
	.vidioc_g_fmt_vid_out_mplane = get_output,
	.vidioc_try_fmt_vid_out_mplane = try_output,
	.vidioc_s_fmt_vid_out_mplane = set_output,
	.vidioc_g_fmt_vid_cap_mplane = get_capture,
	.vidioc_try_fmt_vid_cap_mplane = try_capture,
	.vidioc_s_fmt_vid_cap_mplane = set_capture,
	.vidioc_g_selection = get_selection,
	.vidioc_s_selection = set_selection,
	.vidioc_reqbufs = v4l2_m2m_ioctl_reqbufs,
	.vidioc_querybuf = v4l2_m2m_ioctl_querybuf,
	.vidioc_qbuf = qbuf,
	.vidioc_dqbuf = dqbuf,
	.vidioc_prepare_buf = v4l2_m2m_ioctl_prepare_buf,
	.vidioc_create_bufs = v4l2_m2m_ioctl_create_bufs,
	.vidioc_expbuf = v4l2_m2m_ioctl_expbuf,
	.vidioc_streamon = streamon,
	.vidioc_streamoff = streamoff,
	.vidioc_try_decoder_cmd = v4l2_m2m_ioctl_try_decoder_cmd,
	.vidioc_decoder_cmd = command,
	.vidioc_subscribe_event = subscribe,
	.vidioc_unsubscribe_event = v4l2_event_unsubscribe,
};

/* ---- queues ---- */

static int queue_setup(struct vb2_queue *q, unsigned int *buffers, unsigned int *planes, unsigned int sizes[],
		       struct device *devices[])
{
	struct queue_format *f = format_of(vb2_get_drv_priv(q), q->type);

	if (*planes)
		return sizes[0] < f->size ? -EINVAL : 0;
	*planes = 1;
	sizes[0] = f->size;
	return 0;
}

static int out_validate(struct vb2_buffer *b)
{
	to_vb2_v4l2_buffer(b)->field = V4L2_FIELD_NONE;
	return 0;
}

static int prepare(struct vb2_buffer *b)
{
	struct queue_format *f = format_of(vb2_get_drv_priv(b->vb2_queue), b->type);

	return V4L2_TYPE_IS_CAPTURE(b->type) && vb2_plane_size(b, 0) < f->size ? -EINVAL : 0;
}

static void queue(struct vb2_buffer *b)
{
	struct session *s = vb2_get_drv_priv(b->vb2_queue);

	if (V4L2_TYPE_IS_OUTPUT(b->type)) {
		spin_lock_irq(&s->lock);
		s->queued++;
		spin_unlock_irq(&s->lock);
	}
	v4l2_m2m_buf_queue(s->fh.m2m_ctx, to_vb2_v4l2_buffer(b));
}

/* resume ends a drain: so does starting one of the queues again. */
static void resume(struct session *s)
{
	spin_lock_irq(&s->lock);
	if (s->stopped)
		s->draining = s->drain_sent = s->stopped = false;
	spin_unlock_irq(&s->lock);
}

static int start_streaming(struct vb2_queue *q, unsigned int n)
{
	struct session *s = vb2_get_drv_priv(q);

	format_of(s, q->type)->sequence = 0;
	resume(s);
	return 0;
}

static void stop_streaming(struct vb2_queue *q)
{
	struct session *s = vb2_get_drv_priv(q);
	struct vb2_v4l2_buffer *b;
	bool output = V4L2_TYPE_IS_OUTPUT(q->type);

	if (output) { /* a seek: nothing of what came before comes out after it */
		spin_lock_irq(&s->lock);
		s->generation++;
		s->queued = s->sent = 0;
		s->busy = s->stuck = s->draining = s->drain_sent = s->stopped = false;
		spin_unlock_irq(&s->lock);
		forget_answers(s);
		give_job(s, JOB_FLUSH, NULL, 0, 0);
	} else {
		spin_lock_irq(&s->lock);
		s->changing = false;
		spin_unlock_irq(&s->lock);
	}
	while ((b = output ? v4l2_m2m_src_buf_remove(s->fh.m2m_ctx) : v4l2_m2m_dst_buf_remove(s->fh.m2m_ctx)))
		v4l2_m2m_buf_done(b, VB2_BUF_STATE_ERROR);
}

static const struct vb2_ops queue_ops = {
	.queue_setup = queue_setup,
	.buf_out_validate = out_validate,
	.buf_prepare = prepare,
	.buf_queue = queue,
	.start_streaming = start_streaming,
	.stop_streaming = stop_streaming,
	.wait_prepare = vb2_ops_wait_prepare,
	.wait_finish = vb2_ops_wait_finish,
};

static int init_queue(struct session *s, struct vb2_queue *q, u32 type)
{
	q->type = type;
	q->io_modes = VB2_MMAP | VB2_DMABUF;
	q->drv_priv = s;
	q->buf_struct_size = sizeof(struct v4l2_m2m_buffer);
	q->ops = &queue_ops;
	q->mem_ops = &vb2_vmalloc_memops;
	q->timestamp_flags = V4L2_BUF_FLAG_TIMESTAMP_COPY;
	q->lock = &s->queue_lock;
	q->dev = s->decoder->v4l2.dev;
	return vb2_queue_init(q);
}

static int init_queues(void *priv, struct vb2_queue *src, struct vb2_queue *dst)
{
	return init_queue(priv, src, V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE) ?:
	       init_queue(priv, dst, V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE);
}

/* ---- sessions ---- */

static int open_session(struct file *file)
{
	struct decoder *d = video_drvdata(file);
	struct rule r = strikes(CALL_OPEN);
	struct session *s;
	int error;

	if (r.action == ERROR)
		return -EIO;
	s = kzalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	s->decoder = d;
	s->worn = r.action == SKIP;
	mutex_init(&s->queue_lock);
	spin_lock_init(&s->lock);
	INIT_LIST_HEAD(&s->answers);
	INIT_DELAYED_WORK(&s->later, later);
	init_waitqueue_head(&s->known_changed);
	s->output = (struct queue_format){ V4L2_PIX_FMT_H264, 1280, 720, 1 << 20 };
	s->capture.fourcc = raw_of(s)[0];
	s->width = 1280;
	s->height = 720;
	layout(&s->capture, s->width, s->height);
	s->colorspace = V4L2_COLORSPACE_REC709;

	v4l2_fh_init(&s->fh, &d->video);
	v4l2_ctrl_handler_init(&s->controls, 1);
	s->min_buffers = v4l2_ctrl_new_std(&s->controls, NULL, V4L2_CID_MIN_BUFFERS_FOR_CAPTURE, 1, 16, 1, 4);
	error = s->controls.error;
	if (error)
		goto free;
	s->fh.ctrl_handler = &s->controls;
	s->fh.m2m_ctx = v4l2_m2m_ctx_init(d->m2m, s, init_queues);
	if (IS_ERR(s->fh.m2m_ctx)) {
		error = PTR_ERR(s->fh.m2m_ctx);
		goto free;
	}
	v4l2_m2m_set_src_buffered(s->fh.m2m_ctx, true);
	v4l2_m2m_set_dst_buffered(s->fh.m2m_ctx, true);
	s->fh.m2m_ctx->ignore_cap_streaming = true; /* the header is parsed before there are buffers for pictures */
	file->private_data = &s->fh;
	v4l2_fh_add(&s->fh);
	mutex_lock(&helper.lock);
	s->number = ++helper.numbers;
	list_add_tail(&s->list, &helper.sessions);
	mutex_unlock(&helper.lock);
	return 0;
free:
	v4l2_ctrl_handler_free(&s->controls);
	v4l2_fh_exit(&s->fh);
	kfree(s);
	return error;
}

static int close_session(struct file *file)
{
	struct session *s = session_of(file);

	mutex_lock(&helper.lock);
	list_del(&s->list);
	mutex_unlock(&helper.lock);
	v4l2_m2m_ctx_release(s->fh.m2m_ctx);
	cancel_delayed_work_sync(&s->later);
	give_job(s, JOB_CLOSE, NULL, 0, 0);
	forget_answers(s);
	v4l2_fh_del(&s->fh);
	v4l2_ctrl_handler_free(&s->controls);
	v4l2_fh_exit(&s->fh);
	kfree(s);
	return 0;
}

static const struct v4l2_file_operations video_fops = {
	.owner = THIS_MODULE,
	.open = open_session,
	.release = close_session,
	.poll = v4l2_m2m_fop_poll,
	.unlocked_ioctl = video_ioctl2,
	.mmap = v4l2_m2m_fop_mmap,
};

/* fail wakes who waits for a session, for ever with an error. helper.lock is held. */
static void fail(struct session *s)
{
	vb2_queue_error(v4l2_m2m_get_src_vq(s->fh.m2m_ctx));
	vb2_queue_error(v4l2_m2m_get_dst_vq(s->fh.m2m_ctx));
}

/* ---- the helper's device ---- */

static int helper_open(struct inode *inode, struct file *file)
{
	int error = 0;

	spin_lock(&helper.spin);
	if (helper.attached)
		error = -EBUSY;
	helper.attached = true;
	spin_unlock(&helper.spin);
	return error;
}

static int helper_release(struct inode *inode, struct file *file)
{
	struct session *s;
	struct job *j, *next;
	LIST_HEAD(old);

	spin_lock(&helper.spin);
	helper.attached = false;
	list_splice_init(&helper.jobs, &old);
	spin_unlock(&helper.spin);
	list_for_each_entry_safe(j, next, &old, list)
		kvfree(j);
	mutex_lock(&helper.lock);
	list_for_each_entry(s, &helper.sessions, list)
		fail(s);
	mutex_unlock(&helper.lock);
	return 0;
}

static ssize_t helper_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	struct job *j;
	ssize_t n;

	if (wait_event_interruptible(helper.wait, !list_empty(&helper.jobs)))
		return -ERESTARTSYS;
	spin_lock(&helper.spin);
	j = list_first_entry(&helper.jobs, struct job, list);
	list_del(&j->list);
	spin_unlock(&helper.spin);
	n = sizeof(j->head) + j->head.size;
	if (size < n)
		n = -EMSGSIZE;
	else if (copy_to_user(to, &j->head, sizeof(j->head)) ||
		 copy_to_user(to + sizeof(j->head), j->data, j->head.size))
		n = -EFAULT;
	kvfree(j);
	return n;
}

/* whole says whether an answer has the data that it says it has. */
static bool whole(const struct virtual_decoder_answer *a, size_t size)
{
	u64 half = (u64)((a->width + 1) / 2) * ((a->height + 1) / 2);

	if (size != sizeof(*a) + a->size || a->type > ANSWER_DRAINED || a->width > MAX_SIZE || a->height > MAX_SIZE)
		return false;
	if (a->type == ANSWER_FORMAT)
		return a->width >= MIN_SIZE && a->height >= MIN_SIZE && !a->size;
	return a->type == ANSWER_PICTURE ? a->size == (u64)a->width * a->height + 2 * half : !a->size;
}

static ssize_t helper_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	struct session *s;
	struct answer *a;
	bool wanted;

	if (size < sizeof(a->head) || size > VIRTUAL_DECODER_MOST)
		return -EINVAL;
	a = kvmalloc(sizeof(*a) - sizeof(a->head) + size, GFP_KERNEL);
	if (!a)
		return -ENOMEM;
	if (copy_from_user(&a->head, from, sizeof(a->head)) ||
	    copy_from_user(a->data, from + sizeof(a->head), size - sizeof(a->head)) || !whole(&a->head, size)) {
		kvfree(a);
		return -EINVAL;
	}
	mutex_lock(&helper.lock);
	list_for_each_entry(s, &helper.sessions, list) {
		if (s->number != a->head.session)
			continue;
		spin_lock_irq(&s->lock);
		wanted = s->generation == a->head.generation;
		if (wanted)
			list_add_tail(&a->list, &s->answers);
		spin_unlock_irq(&s->lock);
		if (wanted) {
			try_again(s);
			a = NULL;
		}
		break;
	}
	mutex_unlock(&helper.lock);
	kvfree(a); /* of a session that is over, or from before a seek */
	return size;
}

static const struct file_operations helper_fops = {
	.owner = THIS_MODULE,
	.open = helper_open,
	.release = helper_release,
	.read = helper_read,
	.write = helper_write,
};

static struct miscdevice helper_device = { .minor = MISC_DYNAMIC_MINOR, .name = NAME, .fops = &helper_fops };

/* ---- devices ---- */

static void decoder_release(struct v4l2_device *v4l2)
{
	struct decoder *d = container_of(v4l2, struct decoder, v4l2);

	v4l2_device_unregister(v4l2);
	v4l2_m2m_release(d->m2m);
	kfree(d);
}

static int decoder_probe(struct platform_device *p)
{
	struct decoder *d = kzalloc(sizeof(*d), GFP_KERNEL);
	int error;

	if (!d)
		return -ENOMEM;
	mutex_init(&d->lock);
	error = v4l2_device_register(&p->dev, &d->v4l2);
	if (error)
		goto free;
	d->m2m = v4l2_m2m_init(&m2m_ops);
	if (IS_ERR(d->m2m)) {
		error = PTR_ERR(d->m2m);
		goto unregister;
	}
	strscpy(d->video.name, NAME, sizeof(d->video.name));
	d->video.vfl_dir = VFL_DIR_M2M;
	d->video.fops = &video_fops;
	d->video.ioctl_ops = &ioctl_ops;
	d->video.release = video_device_release_empty;
	d->video.lock = &d->lock;
	d->video.v4l2_dev = &d->v4l2;
	d->video.device_caps = V4L2_CAP_STREAMING | V4L2_CAP_VIDEO_M2M_MPLANE;
	video_set_drvdata(&d->video, d);
	platform_set_drvdata(p, d);
	error = video_register_device(&d->video, VFL_TYPE_VIDEO, -1);
	if (error)
		goto release;
	d->v4l2.release = decoder_release; /* from now on it goes when its last file is closed */
	return 0;
release:
	v4l2_m2m_release(d->m2m);
unregister:
	v4l2_device_unregister(&d->v4l2);
free:
	kfree(d);
	return error;
}

/* decoder_remove is what unplugging does: open files stay, and get errors. */
static void decoder_remove(struct platform_device *p)
{
	struct decoder *d = platform_get_drvdata(p);
	struct session *s;

	mutex_lock(&helper.lock);
	list_for_each_entry(s, &helper.sessions, list)
		if (s->decoder == d)
			fail(s);
	mutex_unlock(&helper.lock);
	v4l2_device_disconnect(&d->v4l2);
	video_unregister_device(&d->video);
	v4l2_device_put(&d->v4l2);
}

static struct platform_driver driver = {
	.probe = decoder_probe,
	.remove = decoder_remove,
	.driver = { .name = NAME },
};

#define MOST_DEVICES 4
static struct platform_device *platform_devices[MOST_DEVICES];
static unsigned int n_devices;

/* set_devices makes or removes devices: at first there are none, so tests without a helper do not find them. */
static int set_devices(const char *value, const struct kernel_param *param)
{
	unsigned int n;
	int error = kstrtouint(value, 10, &n);

	if (error || n > MOST_DEVICES)
		return error ?: -EINVAL;
	for (; n_devices < n; n_devices++) {
		struct platform_device *p = platform_device_register_simple(NAME, n_devices, NULL, 0);

		if (IS_ERR(p))
			return PTR_ERR(p);
		platform_devices[n_devices] = p;
	}
	while (n_devices > n)
		platform_device_unregister(platform_devices[--n_devices]);
	return 0;
}

static const struct kernel_param_ops devices_ops = { .set = set_devices, .get = param_get_uint };
module_param_cb(devices, &devices_ops, &n_devices, 0600);
MODULE_PARM_DESC(devices, "how many decoders there are");

static int __init virtual_decoder_init(void)
{
	int error = misc_register(&helper_device);

	if (error)
		return error;
	debugfs_create_file("faults", 0600, debugfs_create_dir(NAME, NULL), NULL, &faults_fops);
	return platform_driver_register(&driver);
}
module_init(virtual_decoder_init);

MODULE_DESCRIPTION("Virtual stateful decoder");
MODULE_LICENSE("GPL");
