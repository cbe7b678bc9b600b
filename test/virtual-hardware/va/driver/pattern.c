/* With LIBVA_VIRTUAL_MODE=pattern, pictures that say which one they are: 32 cells of 16 pixels in a row, bright for 1, the
 * highest bit first. The upper row of cells is the picture's number in decoding order, from 0; the lower one
 * a checksum (FNV-1a) of its slices. Below is a ramp that moves. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

#define CELL 16
#define BRIGHT 235
#define DARK 16
#define GREY 128

bool pattern_wanted(void)
{
	const char *mode = getenv("LIBVA_VIRTUAL_MODE");
	return mode && !strcmp(mode, "pattern");
}

static uint32_t fingerprint(const struct context *x)
{
	uint32_t h = 2166136261u;

	for (int i = 0; i < x->n; i++)
		for (size_t j = 0; j < x->slices[i].size; j++)
			h = (h ^ x->slices[i].nal[j]) * 16777619u;
	return h;
}

static uint8_t brightness(uint32_t number, uint32_t checksum, int x, int y)
{
	if (y >= 2 * CELL)
		return DARK + (x + y + number * 4) % 128;
	uint32_t word = y < CELL ? number : checksum;
	return x < 32 * CELL && word >> (31 - x / CELL) & 1 ? BRIGHT : DARK;
}

void paint(struct context *x)
{
	struct surface *s = x->target;
	uint32_t checksum = fingerprint(x);

	for (int y = 0; y < s->height; y++)
		for (int i = 0; i < s->width; i++)
			surface_y(s, y)[i] = brightness(x->pictures, checksum, i, y);
	for (int y = 0; y < (s->height + 1) / 2; y++)
		memset(surface_uv(s, y), GREY, (s->width + 1) / 2 * 2);
}
