/* An access unit of H.264, from VA-API's parameters: SPS and PPS are written anew, slices are taken as they are.
 * Names in comments are those of the standard (ITU-T H.264), 7.3.
 *
 * Three things VA-API does not say. The id of the PPS and its numbers of references are in the slices' headers. The
 * offsets of picture order count type 1 are nowhere: streams that have it and B-frames are decoded wrongly. */
#include "rebuild.h"

enum { P, B, I, SP, SI }; /* slice_type modulo 5 */
enum { NAL_IDR = 5 };

/* What slices say of their PPS. */
struct pps {
	uint32_t id;
	int references[2]; /* num_ref_idx_l0/l1_default_active_minus1 */
};

/* pass_order_count reads over what a slice's header says of the picture order count. */
static void pass_order_count(struct bits *b, const VAPictureParameterBufferH264 *p, bool field)
{
	bool present = p->pic_fields.bits.pic_order_present_flag;

	switch (p->seq_fields.bits.pic_order_cnt_type) {
	case 0:
		take(b, p->seq_fields.bits.log2_max_pic_order_cnt_lsb_minus4 + 4);
		if (present && !field)
			take_ue(b); /* delta_pic_order_cnt_bottom */
		break;
	case 1:
		if (p->seq_fields.bits.delta_pic_order_always_zero_flag)
			break;
		take_ue(b); /* delta_pic_order_cnt */
		if (present && !field)
			take_ue(b);
	}
}

/* read_slice reads a slice's header as far as it tells of the PPS. */
static void read_slice(struct pps *pps, const struct slice *s, const VAPictureParameterBufferH264 *p)
{
	const VASliceParameterBufferH264 *parameters = (void *)s->parameters;
	struct bits b;
	bool field = false;

	unescape(&b, s->nal, s->size, 128);
	take(&b, 3);
	bool idr = take(&b, 5) == NAL_IDR;
	take_ue(&b); /* first_mb_in_slice */
	uint32_t type = take_ue(&b) % 5;
	pps->id = take_ue(&b);
	take(&b, p->seq_fields.bits.log2_max_frame_num_minus4 + 4);
	if (!p->seq_fields.bits.frame_mbs_only_flag) {
		field = take(&b, 1);
		if (field)
			take(&b, 1); /* bottom_field_flag */
	}
	if (idr)
		take_ue(&b); /* idr_pic_id */
	pass_order_count(&b, p, field);
	if (p->pic_fields.bits.redundant_pic_cnt_present_flag)
		take_ue(&b);
	if (type == B)
		take(&b, 1); /* direct_spatial_mv_pred_flag */
	if (type == I || type == SI || take(&b, 1)) /* num_ref_idx_active_override_flag */
		return;
	pps->references[0] = parameters->num_ref_idx_l0_active_minus1;
	if (type == B)
		pps->references[1] = parameters->num_ref_idx_l1_active_minus1;
}

static void add_sps(struct stream *out, const VAPictureParameterBufferH264 *p)
{
	struct bits b = {0};
	bool frames_only = p->seq_fields.bits.frame_mbs_only_flag;

	put(&b, 8, 0x67); /* NAL unit: SPS */
	put(&b, 8, 100);  /* profile_idc: High, which has all there is */
	put(&b, 8, 0);
	put(&b, 8, 51);    /* level_idc: the highest */
	put_ue(&b, 0);     /* seq_parameter_set_id */
	put_ue(&b, p->seq_fields.bits.chroma_format_idc);
	put_ue(&b, p->bit_depth_luma_minus8);
	put_ue(&b, p->bit_depth_chroma_minus8);
	put(&b, 1, 0); /* qpprime_y_zero_transform_bypass_flag */
	put(&b, 1, 0); /* seq_scaling_matrix_present_flag: the PPS has it */
	put_ue(&b, p->seq_fields.bits.log2_max_frame_num_minus4);
	put_ue(&b, p->seq_fields.bits.pic_order_cnt_type);
	switch (p->seq_fields.bits.pic_order_cnt_type) {
	case 0:
		put_ue(&b, p->seq_fields.bits.log2_max_pic_order_cnt_lsb_minus4);
		break;
	case 1:
		put(&b, 1, p->seq_fields.bits.delta_pic_order_always_zero_flag);
		put_se(&b, 0); /* offset_for_non_ref_pic */
		put_se(&b, 0); /* offset_for_top_to_bottom_field */
		put_ue(&b, 0); /* num_ref_frames_in_pic_order_cnt_cycle */
	}
	put_ue(&b, p->num_ref_frames);
	put(&b, 1, p->seq_fields.bits.gaps_in_frame_num_value_allowed_flag);
	put_ue(&b, p->picture_width_in_mbs_minus1);
	put_ue(&b, (p->picture_height_in_mbs_minus1 + 1) / (frames_only ? 1 : 2) - 1);
	put(&b, 1, frames_only);
	if (!frames_only)
		put(&b, 1, p->seq_fields.bits.mb_adaptive_frame_field_flag);
	put(&b, 1, p->seq_fields.bits.direct_8x8_inference_flag);
	put(&b, 1, 0); /* frame_cropping_flag */
	put(&b, 1, 0); /* vui_parameters_present_flag */
	put_end(&b);
	add_nal(out, &b, NULL, 0);
}

/* put_list writes a scaling list, which VA-API has row by row and the standard in the order of a zigzag. */
static void put_list(struct bits *b, const uint8_t *list, int width)
{
	int x = 0, y = 0, step = 1, last = 8;

	put(b, 1, 1); /* pic_scaling_list_present_flag */
	for (int i = 0; i < width * width; i++) {
		put_se(b, (int8_t)(list[y * width + x] - last));
		last = list[y * width + x];
		/* to the upper right while step is 1, to the lower left while it is -1 */
		int along = step > 0 ? x : y, across = step > 0 ? y : x;
		if (along == width - 1) {
			*(step > 0 ? &y : &x) += 1;
			step = -step;
		} else if (across == 0) {
			*(step > 0 ? &x : &y) += 1;
			step = -step;
		} else {
			x += step;
			y -= step;
		}
	}
}

static void add_pps(struct stream *out, const struct pps *pps, const VAPictureParameterBufferH264 *p,
	const VAIQMatrixBufferH264 *scaling)
{
	struct bits b = {0};

	put(&b, 8, 0x68); /* NAL unit: PPS */
	put_ue(&b, pps->id);
	put_ue(&b, 0); /* seq_parameter_set_id */
	put(&b, 1, p->pic_fields.bits.entropy_coding_mode_flag);
	put(&b, 1, p->pic_fields.bits.pic_order_present_flag);
	put_ue(&b, 0); /* num_slice_groups_minus1 */
	put_ue(&b, pps->references[0]);
	put_ue(&b, pps->references[1]);
	put(&b, 1, p->pic_fields.bits.weighted_pred_flag);
	put(&b, 2, p->pic_fields.bits.weighted_bipred_idc);
	put_se(&b, p->pic_init_qp_minus26);
	put_se(&b, p->pic_init_qs_minus26);
	put_se(&b, p->chroma_qp_index_offset);
	put(&b, 1, p->pic_fields.bits.deblocking_filter_control_present_flag);
	put(&b, 1, p->pic_fields.bits.constrained_intra_pred_flag);
	put(&b, 1, p->pic_fields.bits.redundant_pic_cnt_present_flag);
	put(&b, 1, p->pic_fields.bits.transform_8x8_mode_flag);
	put(&b, 1, scaling != NULL);
	if (scaling) {
		for (int i = 0; i < 6; i++)
			put_list(&b, scaling->ScalingList4x4[i], 4);
		for (int i = 0; i < 2 && p->pic_fields.bits.transform_8x8_mode_flag; i++)
			put_list(&b, scaling->ScalingList8x8[i], 8);
	}
	put_se(&b, p->second_chroma_qp_index_offset);
	put_end(&b);
	add_nal(out, &b, NULL, 0);
}

const char *h264_rebuild(const struct context *x, struct stream *out)
{
	const VAPictureParameterBufferH264 *p = (void *)x->parameters;
	const struct bits nothing = {0};
	struct pps pps = {0};

	for (int i = 0; i < x->n; i++)
		read_slice(&pps, &x->slices[i], p);
	add_sps(out, p);
	add_pps(out, &pps, p, (void *)x->scaling);
	for (int i = 0; i < x->n; i++)
		add_nal(out, &nothing, x->slices[i].nal, x->slices[i].size);
	return NULL;
}
