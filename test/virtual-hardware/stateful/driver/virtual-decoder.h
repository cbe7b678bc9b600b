/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the driver and the helper say to each other through /dev/virtual-decoder. The helper reads jobs and writes
 * answers, each with its data in the same call. A session is one open file of a decoder.
 */
#ifndef VIRTUAL_DECODER_H
#define VIRTUAL_DECODER_H

#include <linux/types.h>

#define VIRTUAL_DECODER_MOST (32 << 20) /* bytes of a job or an answer */

enum virtual_decoder_job_type {
	JOB_DECODE, /* an OUTPUT buffer; answered with any number of formats and pictures, and done or error */
	JOB_DRAIN,  /* answered with formats, pictures and drained */
	JOB_FLUSH,  /* forget what has not come out yet; no answer */
	JOB_CLOSE,  /* the session is over; no answer */
};

struct virtual_decoder_job {
	__u32 session;
	__u32 generation; /* to be given back in answers: those from before a flush do not count */
	__u32 type;
	__u32 h265; /* else H.264 */
	__u64 timestamp;
	__u32 size; /* of the data that follows */
	__u32 reserved;
};

enum virtual_decoder_answer_type {
	ANSWER_FORMAT,  /* width, height and buffers are known, or have changed */
	ANSWER_PICTURE, /* I420 without padding follows */
	ANSWER_DONE,    /* the job is done */
	ANSWER_ERROR,   /* the job is done, and there was something wrong with its data */
	ANSWER_DRAINED,
};

struct virtual_decoder_answer {
	__u32 session;
	__u32 generation;
	__u32 type;
	__u32 width, height; /* that are visible */
	__u32 buffers;       /* MIN_BUFFERS_FOR_CAPTURE */
	__u64 timestamp;     /* of the job that the picture came with */
	__u32 key;           /* the picture needs no others */
	__u32 size;          /* of the data that follows */
};

#endif
