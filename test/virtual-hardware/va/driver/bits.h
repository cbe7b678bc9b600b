/* The bits of H.264 and H.265: NAL units read and written. Both standards, chapters 7.2 and 9.1 or 9.2. */
#ifndef BITS_H
#define BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Raw bytes of a NAL unit, without start code and emulation prevention. What is read beyond the end is 0. */
struct bits {
	uint8_t data[8192];
	size_t n;  /* bits that were written */
	size_t at; /* bit that is read next */
};

void put(struct bits *b, int n, uint32_t value); /* u(n) */
void put_ue(struct bits *b, uint32_t value);
void put_se(struct bits *b, int32_t value);
uint32_t take(struct bits *b, int n);
uint32_t take_ue(struct bits *b);

/* put_end ends a NAL unit, or a slice's header: a 1 and zeros up to a whole byte. */
void put_end(struct bits *b);
/* unescape reads the beginning of a NAL unit, at most n bytes of it, without emulation prevention. It returns how many
 * bytes of the NAL unit these are. */
size_t unescape(struct bits *b, const uint8_t *nal, size_t size, size_t n);

/* A byte stream (Annex B) that grows. */
struct stream {
	uint8_t *data;
	size_t n, room;
	bool full; /* memory ran out: what came then is missing */
};

/* add_nal adds a start code and a NAL unit: its beginning in bits, and bytes that follow as they are. */
void add_nal(struct stream *s, const struct bits *beginning, const uint8_t *rest, size_t size);

#endif
