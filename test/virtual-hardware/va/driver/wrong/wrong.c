/* Clients that are wrong: the driver refuses, and reads and writes nothing that is not its own. Built with sanitizers, which end the program
 * with an error when it does (make check). */
#include "rebuild.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void expect(const char *what, bool ok)
{
	if (!ok) {
		printf("wrong: %s\n", what);
		failures++;
	}
}

/* one_slice is a context with a slice of some bytes. Its memory is as large as it has to be, so that what is read beyond it is found. */
static struct context *one_slice(size_t picture, size_t slice, const uint8_t *bytes, size_t n)
{
	struct context *x = calloc(1, sizeof *x);

	x->parameters = calloc(1, picture);
	x->slices[0].parameters = calloc(1, slice);
	x->slices[0].nal = malloc(n);
	memcpy(x->slices[0].nal, bytes, n);
	x->slices[0].size = n;
	x->described = x->n = 1;
	return x;
}

static const char *rebuild(struct context *x, const char *(*with)(const struct context *, struct stream *))
{
	struct stream out = {0};
	const char *why = with(x, &out);

	free(out.data);
	return why;
}

static void release(struct context *x)
{
	free(x->parameters);
	free(x->slices[0].parameters);
	free(x->slices[0].nal);
	free(x);
}

static void wrong_h265(void)
{
	const uint8_t slice[] = {0x02, 0x01, 0xd0, 0x80, 0x55, 0xaa, 0x80};
	struct context *x = one_slice(sizeof(VAPictureParameterBufferHEVC), sizeof(VASliceParameterBufferHEVC), slice, sizeof slice);
	VAPictureParameterBufferHEVC *p = (void *)x->parameters;
	VASliceParameterBufferHEVC *s = (void *)x->slices[0].parameters;

	for (uint32_t offset = 0; offset < 3; offset++) {
		s->slice_data_byte_offset = offset;
		expect("no header in front of a slice's data", rebuild(x, h265_rebuild));
	}
	s->slice_data_byte_offset = UINT32_MAX;
	expect("data beyond the slice", rebuild(x, h265_rebuild));
	for (s->slice_data_byte_offset = 3; s->slice_data_byte_offset <= sizeof slice; s->slice_data_byte_offset++)
		rebuild(x, h265_rebuild);
	s->slice_data_byte_offset = 5;
	p->pic_fields.bits.tiles_enabled_flag = 1;
	p->num_tile_columns_minus1 = p->num_tile_rows_minus1 = 255;
	expect("256 by 256 tiles", rebuild(x, h265_rebuild));
	p->num_tile_columns_minus1 = 19;
	p->num_tile_rows_minus1 = 21;
	expect("20 by 22 tiles are allowed", !rebuild(x, h265_rebuild));
	p->pic_fields.bits.tiles_enabled_flag = 0;
	p->log2_diff_max_min_luma_coding_block_size = 200;
	expect("blocks of 2^203 samples", rebuild(x, h265_rebuild));
	release(x);
}

/* random_bytes puts anything into parameters and slices: it may be refused, and must do no harm. */
static void random_bytes(const char *(*with)(const struct context *, struct stream *), size_t picture, size_t slice)
{
	uint8_t nal[64];

	srand(1);
	for (int round = 0; round < 20000; round++) {
		size_t n = 3 + rand() % (sizeof nal - 3);
		for (size_t i = 0; i < n; i++)
			nal[i] = rand() % 4 ? rand() : 0;
		struct context *x = one_slice(picture, slice, nal, n);
		for (size_t i = 0; i < picture; i++)
			x->parameters[i] = rand() % 3 ? rand() : 0xff;
		for (size_t i = 0; i < slice; i++)
			x->slices[0].parameters[i] = rand() % 2 ? rand() : 0;
		if (with == h265_rebuild && round % 2) { /* so that more is reached */
			((VASliceParameterBufferHEVC *)(void *)x->slices[0].parameters)->slice_data_byte_offset = 3 + rand() % (n - 2);
			((VAPictureParameterBufferHEVC *)(void *)x->parameters)->num_long_term_ref_pic_sps = 0;
			((VAPictureParameterBufferHEVC *)(void *)x->parameters)->log2_min_luma_coding_block_size_minus3 = rand() % 4;
			((VAPictureParameterBufferHEVC *)(void *)x->parameters)->log2_diff_max_min_luma_coding_block_size = rand() % 4;
			((VAPictureParameterBufferHEVC *)(void *)x->parameters)->log2_max_pic_order_cnt_lsb_minus4 = rand() % 13;
			((VAPictureParameterBufferHEVC *)(void *)x->parameters)->num_tile_columns_minus1 = rand() % 20;
			((VAPictureParameterBufferHEVC *)(void *)x->parameters)->num_tile_rows_minus1 = rand() % 22;
		}
		rebuild(x, with);
		release(x);
	}
}

static void wrong_numbers(void)
{
	const uint32_t values[] = {0, 1, 0x7fffffff, 0x80000000, UINT32_MAX - 1, UINT32_MAX};

	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		struct bits b = {0};
		put_ue(&b, values[i]);
		put_se(&b, (int32_t)values[i]);
	}
}

int main(void)
{
	wrong_numbers();
	wrong_h265();
	random_bytes(h265_rebuild, sizeof(VAPictureParameterBufferHEVC), sizeof(VASliceParameterBufferHEVC));
	random_bytes(h264_rebuild, sizeof(VAPictureParameterBufferH264), sizeof(VASliceParameterBufferH264));
	return failures > 0;
}
