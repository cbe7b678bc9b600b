/* An access unit of H.265, from VA-API's parameters: VPS, SPS and PPS are written anew, and slices are taken with one
 * change. Names in comments are those of the standard (ITU-T H.265), 7.3.
 *
 * VA-API says how many short-term reference picture sets the SPS has, but not what is in them, and slices name them by their
 * number. It does say which pictures this one refers to. So the new SPS has no sets, and each slice's header gets
 * its own, made of these pictures.
 *
 * Long-term references that the SPS lists (lt_idx_sps) cannot be rebuilt in this way. */
#include "rebuild.h"

#include <stdlib.h>

enum { IDR_W_RADL = 19, IDR_N_LP = 20, IRAP_FIRST = 16, IRAP_LAST = 23 }; /* nal_unit_type */
enum { VPS = 32, SPS = 33, PPS = 34 };

static void put_header(struct bits *b, int type)
{
	put(b, 1, 0);
	put(b, 6, type);
	put(b, 6, 0); /* nuh_layer_id */
	put(b, 3, 1); /* nuh_temporal_id_plus1 */
}

/* put_profile writes profile_tier_level: Main, of the highest level. */
static void put_profile(struct bits *b)
{
	put(b, 8, 1);           /* general_profile_space, general_tier_flag, general_profile_idc */
	put(b, 32, 0x60000000); /* general_profile_compatibility_flags: Main and Main 10 */
	put(b, 32, 0);          /* general constraint flags */
	put(b, 16, 0);
	put(b, 8, 186); /* general_level_idc */
}

/* put_room writes how many pictures the decoder keeps. */
static void put_room(struct bits *b, const VAPictureParameterBufferHEVC *p)
{
	put(b, 1, 1); /* sub_layer_ordering_info_present_flag */
	put_ue(b, p->sps_max_dec_pic_buffering_minus1);
	put_ue(b, p->sps_max_dec_pic_buffering_minus1); /* max_num_reorder_pics */
	put_ue(b, 0);                                   /* max_latency_increase_plus1 */
}

static void add_vps(struct stream *out, const VAPictureParameterBufferHEVC *p)
{
	struct bits b = {0};

	put_header(&b, VPS);
	put(&b, 4, 0);       /* vps_video_parameter_set_id */
	put(&b, 2, 3);       /* vps_base_layer_internal_flag, vps_base_layer_available_flag */
	put(&b, 6, 0);       /* vps_max_layers_minus1 */
	put(&b, 3, 0);       /* vps_max_sub_layers_minus1 */
	put(&b, 1, 1);       /* vps_temporal_id_nesting_flag */
	put(&b, 16, 0xffff); /* vps_reserved_0xffff_16bits */
	put_profile(&b);
	put_room(&b, p);
	put(&b, 6, 0); /* vps_max_layer_id */
	put_ue(&b, 0); /* vps_num_layer_sets_minus1 */
	put(&b, 1, 0); /* vps_timing_info_present_flag */
	put(&b, 1, 0); /* vps_extension_flag */
	put_end(&b);
	add_nal(out, &b, NULL, 0);
}

static void put_pcm(struct bits *b, const VAPictureParameterBufferHEVC *p)
{
	put(b, 1, p->pic_fields.bits.pcm_enabled_flag);
	if (!p->pic_fields.bits.pcm_enabled_flag)
		return;
	put(b, 4, p->pcm_sample_bit_depth_luma_minus1);
	put(b, 4, p->pcm_sample_bit_depth_chroma_minus1);
	put_ue(b, p->log2_min_pcm_luma_coding_block_size_minus3);
	put_ue(b, p->log2_diff_max_min_pcm_luma_coding_block_size);
	put(b, 1, p->pic_fields.bits.pcm_loop_filter_disabled_flag);
}

static void add_sps(struct stream *out, const VAPictureParameterBufferHEVC *p)
{
	struct bits b = {0};

	put_header(&b, SPS);
	put(&b, 4, 0); /* sps_video_parameter_set_id */
	put(&b, 3, 0); /* sps_max_sub_layers_minus1 */
	put(&b, 1, 1); /* sps_temporal_id_nesting_flag */
	put_profile(&b);
	put_ue(&b, 0); /* sps_seq_parameter_set_id */
	put_ue(&b, p->pic_fields.bits.chroma_format_idc);
	put_ue(&b, p->pic_width_in_luma_samples);
	put_ue(&b, p->pic_height_in_luma_samples);
	put(&b, 1, 0); /* conformance_window_flag */
	put_ue(&b, p->bit_depth_luma_minus8);
	put_ue(&b, p->bit_depth_chroma_minus8);
	put_ue(&b, p->log2_max_pic_order_cnt_lsb_minus4);
	put_room(&b, p);
	put_ue(&b, p->log2_min_luma_coding_block_size_minus3);
	put_ue(&b, p->log2_diff_max_min_luma_coding_block_size);
	put_ue(&b, p->log2_min_transform_block_size_minus2);
	put_ue(&b, p->log2_diff_max_min_transform_block_size);
	put_ue(&b, p->max_transform_hierarchy_depth_inter);
	put_ue(&b, p->max_transform_hierarchy_depth_intra);
	put(&b, 1, p->pic_fields.bits.scaling_list_enabled_flag);
	if (p->pic_fields.bits.scaling_list_enabled_flag)
		put(&b, 1, 0); /* sps_scaling_list_data_present_flag: the PPS has it */
	put(&b, 1, p->pic_fields.bits.amp_enabled_flag);
	put(&b, 1, p->slice_parsing_fields.bits.sample_adaptive_offset_enabled_flag);
	put_pcm(&b, p);
	put_ue(&b, 0); /* num_short_term_ref_pic_sets: see above */
	put(&b, 1, p->slice_parsing_fields.bits.long_term_ref_pics_present_flag);
	if (p->slice_parsing_fields.bits.long_term_ref_pics_present_flag)
		put_ue(&b, 0); /* num_long_term_ref_pics_sps */
	put(&b, 1, p->slice_parsing_fields.bits.sps_temporal_mvp_enabled_flag);
	put(&b, 1, p->pic_fields.bits.strong_intra_smoothing_enabled_flag);
	put(&b, 1, 0); /* vui_parameters_present_flag */
	put(&b, 1, 0); /* sps_extension_present_flag */
	put_end(&b);
	add_nal(out, &b, NULL, 0);
}

static void put_tiles(struct bits *b, const VAPictureParameterBufferHEVC *p)
{
	put_ue(b, p->num_tile_columns_minus1);
	put_ue(b, p->num_tile_rows_minus1);
	put(b, 1, 0); /* uniform_spacing_flag */
	for (int i = 0; i < p->num_tile_columns_minus1; i++)
		put_ue(b, p->column_width_minus1[i]);
	for (int i = 0; i < p->num_tile_rows_minus1; i++)
		put_ue(b, p->row_height_minus1[i]);
	put(b, 1, p->pic_fields.bits.loop_filter_across_tiles_enabled_flag);
}

/* put_list writes a scaling list, which VA-API has row by row and the standard along diagonals, each from the lower left to the
 * upper right. dc is NULL where there is none. */
static void put_list(struct bits *b, const uint8_t *list, int width, const uint8_t *dc)
{
	int last = 8;

	put(b, 1, 1); /* scaling_list_pred_mode_flag: not predicted */
	if (dc) {
		put_se(b, *dc - 8); /* scaling_list_dc_coef_minus8 */
		last = *dc;
	}
	for (int diagonal = 0; diagonal < 2 * width - 1; diagonal++) {
		for (int x = 0; x <= diagonal; x++) {
			int y = diagonal - x;
			if (x >= width || y >= width)
				continue;
			put_se(b, (int8_t)(list[y * width + x] - last));
			last = list[y * width + x];
		}
	}
}

static void put_lists(struct bits *b, const VAIQMatrixBufferHEVC *s)
{
	for (int i = 0; i < 6; i++)
		put_list(b, s->ScalingList4x4[i], 4, NULL);
	for (int i = 0; i < 6; i++)
		put_list(b, s->ScalingList8x8[i], 8, NULL);
	for (int i = 0; i < 6; i++)
		put_list(b, s->ScalingList16x16[i], 8, &s->ScalingListDC16x16[i]);
	for (int i = 0; i < 2; i++)
		put_list(b, s->ScalingList32x32[i], 8, &s->ScalingListDC32x32[i]);
}

static void put_deblocking(struct bits *b, const VAPictureParameterBufferHEVC *p)
{
	put(b, 1, 1); /* deblocking_filter_control_present_flag */
	put(b, 1, p->slice_parsing_fields.bits.deblocking_filter_override_enabled_flag);
	put(b, 1, p->slice_parsing_fields.bits.pps_disable_deblocking_filter_flag);
	if (p->slice_parsing_fields.bits.pps_disable_deblocking_filter_flag)
		return;
	put_se(b, p->pps_beta_offset_div2);
	put_se(b, p->pps_tc_offset_div2);
}

static void add_pps(struct stream *out, uint32_t id, const VAPictureParameterBufferHEVC *p,
	const VAIQMatrixBufferHEVC *scaling)
{
	struct bits b = {0};
	bool lists = p->pic_fields.bits.scaling_list_enabled_flag && scaling;

	put_header(&b, PPS);
	put_ue(&b, id);
	put_ue(&b, 0); /* pps_seq_parameter_set_id */
	put(&b, 1, p->slice_parsing_fields.bits.dependent_slice_segments_enabled_flag);
	put(&b, 1, p->slice_parsing_fields.bits.output_flag_present_flag);
	put(&b, 3, p->num_extra_slice_header_bits);
	put(&b, 1, p->pic_fields.bits.sign_data_hiding_enabled_flag);
	put(&b, 1, p->slice_parsing_fields.bits.cabac_init_present_flag);
	put_ue(&b, p->num_ref_idx_l0_default_active_minus1);
	put_ue(&b, p->num_ref_idx_l1_default_active_minus1);
	put_se(&b, p->init_qp_minus26);
	put(&b, 1, p->pic_fields.bits.constrained_intra_pred_flag);
	put(&b, 1, p->pic_fields.bits.transform_skip_enabled_flag);
	put(&b, 1, p->pic_fields.bits.cu_qp_delta_enabled_flag);
	if (p->pic_fields.bits.cu_qp_delta_enabled_flag)
		put_ue(&b, p->diff_cu_qp_delta_depth);
	put_se(&b, p->pps_cb_qp_offset);
	put_se(&b, p->pps_cr_qp_offset);
	put(&b, 1, p->slice_parsing_fields.bits.pps_slice_chroma_qp_offsets_present_flag);
	put(&b, 1, p->pic_fields.bits.weighted_pred_flag);
	put(&b, 1, p->pic_fields.bits.weighted_bipred_flag);
	put(&b, 1, p->pic_fields.bits.transquant_bypass_enabled_flag);
	put(&b, 1, p->pic_fields.bits.tiles_enabled_flag);
	put(&b, 1, p->pic_fields.bits.entropy_coding_sync_enabled_flag);
	if (p->pic_fields.bits.tiles_enabled_flag)
		put_tiles(&b, p);
	put(&b, 1, p->pic_fields.bits.pps_loop_filter_across_slices_enabled_flag);
	put_deblocking(&b, p);
	put(&b, 1, lists); /* pps_scaling_list_data_present_flag */
	if (lists)
		put_lists(&b, scaling);
	put(&b, 1, p->slice_parsing_fields.bits.lists_modification_present_flag);
	put_ue(&b, p->log2_parallel_merge_level_minus2);
	put(&b, 1, p->slice_parsing_fields.bits.slice_segment_header_extension_present_flag);
	put(&b, 1, 0); /* pps_extension_present_flag */
	put_end(&b);
	add_nal(out, &b, NULL, 0);
}

/* Bounds of VA-API's lists and of the standard. */
enum { MOST_COLUMNS = 19, MOST_ROWS = 21, SHORTEST = 3 /* bytes of a slice's header, with that of its NAL unit */ };

/* A picture that this one, or a later one, refers to. */
struct reference {
	int distance; /* in picture order count; never 0 */
	bool used;    /* by this one */
};

static int by_distance(const void *a, const void *b)
{
	return abs(((const struct reference *)a)->distance) - abs(((const struct reference *)b)->distance);
}

/* put_side writes the references of one side, from near to far. */
static void put_side(struct bits *b, const struct reference *list, int n, int sign)
{
	int at = 0;

	for (int i = 0; i < n; i++) {
		if (list[i].distance * sign < 0)
			continue;
		put_ue(b, list[i].distance * sign - at - 1); /* delta_poc_s0_minus1, delta_poc_s1_minus1 */
		put(b, 1, list[i].used);
		at = list[i].distance * sign;
	}
}

/* put_set writes st_ref_pic_set, made of the pictures that VA-API names. */
static void put_set(struct bits *b, const VAPictureParameterBufferHEVC *p)
{
	struct reference list[15];
	int n = 0, before = 0;

	for (int i = 0; i < 15; i++) {
		const VAPictureHEVC *r = &p->ReferenceFrames[i];
		if (r->picture_id == VA_INVALID_ID || r->flags & (VA_PICTURE_HEVC_INVALID | VA_PICTURE_HEVC_LONG_TERM_REFERENCE) ||
			r->pic_order_cnt == p->CurrPic.pic_order_cnt)
			continue;
		int64_t distance = (int64_t)r->pic_order_cnt - p->CurrPic.pic_order_cnt;
		if (distance < INT16_MIN || distance > INT16_MAX) /* none in a stream: 8.3.2 */
			continue;
		list[n].distance = distance;
		list[n].used = r->flags & (VA_PICTURE_HEVC_RPS_ST_CURR_BEFORE | VA_PICTURE_HEVC_RPS_ST_CURR_AFTER);
		before += list[n].distance < 0;
		n++;
	}
	qsort(list, n, sizeof *list, by_distance);
	put_ue(b, before);     /* num_negative_pics */
	put_ue(b, n - before); /* num_positive_pics */
	put_side(b, list, n, -1);
	put_side(b, list, n, 1);
}

/* log2_up is Ceil(Log2(n)). */
static int log2_up(uint32_t n)
{
	return n > 1 ? 32 - __builtin_clz(n - 1) : 0;
}

static int nal_type(const struct slice *s)
{
	return s->nal[0] >> 1 & 0x3f;
}

/* address_bits is the length of slice_segment_address. */
static int address_bits(const VAPictureParameterBufferHEVC *p)
{
	int size = p->log2_min_luma_coding_block_size_minus3 + 3 + p->log2_diff_max_min_luma_coding_block_size;
	uint32_t columns = (p->pic_width_in_luma_samples + (1 << size) - 1) >> size;
	uint32_t rows = (p->pic_height_in_luma_samples + (1 << size) - 1) >> size;

	return log2_up(columns * rows);
}

/* to_pps reads a slice's header up to the id of its PPS, and says whether the slice is the picture's first. */
static bool to_pps(struct bits *b, int type)
{
	b->at = 16; /* NAL unit header */
	bool first = take(b, 1);
	if (type >= IRAP_FIRST && type <= IRAP_LAST)
		take(b, 1); /* no_output_of_prior_pics_flag */
	return first;
}

/* to_set reads it up to its reference picture set; false when it has none. */
static bool to_set(struct bits *b, int type, const VAPictureParameterBufferHEVC *p)
{
	bool dependent = false, first = to_pps(b, type);

	take_ue(b); /* slice_pic_parameter_set_id */
	if (!first) {
		if (p->slice_parsing_fields.bits.dependent_slice_segments_enabled_flag)
			dependent = take(b, 1);
		take(b, address_bits(p));
	}
	if (dependent || type == IDR_W_RADL || type == IDR_N_LP)
		return false;
	take(b, p->num_extra_slice_header_bits);
	take_ue(b); /* slice_type */
	if (p->slice_parsing_fields.bits.output_flag_present_flag)
		take(b, 1);
	if (p->pic_fields.bits.separate_colour_plane_flag)
		take(b, 2);
	take(b, p->log2_max_pic_order_cnt_lsb_minus4 + 4);
	return true;
}

/* add_slice adds a slice with a reference picture set of its own. */
static void add_slice(struct stream *out, const struct slice *s, const VAPictureParameterBufferHEVC *p)
{
	const VASliceParameterBufferHEVC *parameters = (void *)s->parameters;
	const struct bits nothing = {0};
	struct bits old, new = {0};
	size_t header = unescape(&old, s->nal, s->size, parameters->slice_data_byte_offset);

	if (!to_set(&old, nal_type(s), p)) {
		add_nal(out, &nothing, s->nal, s->size);
		return;
	}
	size_t end = old.n; /* of the header, without the 1 and the zeros that fill up its last byte */
	do
		end--;
	while (end > 0 && !(old.data[end / 8] & 0x80 >> end % 8));

	size_t set = old.at;
	for (old.at = 0; old.at < set;)
		put(&new, 1, take(&old, 1));
	put(&new, 1, 0); /* short_term_ref_pic_set_sps_flag */
	put_set(&new, p);
	if (take(&old, 1))
		take(&old, log2_up(p->num_short_term_ref_pic_sets)); /* short_term_ref_pic_set_idx */
	else
		old.at += p->st_rps_bits;
	while (old.at < end)
		put(&new, 1, take(&old, 1));
	put_end(&new);
	add_nal(out, &new, s->nal + header, s->size - header);
}

static uint32_t pps_of(const struct slice *s)
{
	struct bits b;

	unescape(&b, s->nal, s->size, 16);
	to_pps(&b, nal_type(s));
	return take_ue(&b);
}

const char *h265_rebuild(const struct context *x, struct stream *out)
{
	const VAPictureParameterBufferHEVC *p = (void *)x->parameters;

	if (p->num_long_term_ref_pic_sps > 0)
		return "the SPS lists long-term references, which VA-API does not hand on";
	if (p->pic_fields.bits.tiles_enabled_flag && (p->num_tile_columns_minus1 > MOST_COLUMNS || p->num_tile_rows_minus1 > MOST_ROWS))
		return "there are more tiles than the standard allows";
	if (p->log2_min_luma_coding_block_size_minus3 > 3 || p->log2_diff_max_min_luma_coding_block_size > 3)
		return "coding blocks are larger than the standard allows";
	if (p->log2_max_pic_order_cnt_lsb_minus4 > 12)
		return "picture order counts are longer than the standard allows";
	for (int i = 0; i < x->n; i++) {
		const VASliceParameterBufferHEVC *s = (void *)x->slices[i].parameters;
		if (s->slice_data_byte_offset < SHORTEST || s->slice_data_byte_offset > x->slices[i].size)
			return "a slice's data begin outside of it";
	}
	add_vps(out, p);
	add_sps(out, p);
	add_pps(out, pps_of(&x->slices[0]), p, (void *)x->scaling);
	for (int i = 0; i < x->n; i++)
		add_slice(out, &x->slices[i], p);
	return NULL;
}
