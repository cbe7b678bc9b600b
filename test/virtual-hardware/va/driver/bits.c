#include "bits.h"

#include <stdlib.h>
#include <string.h>

void put(struct bits *b, int n, uint32_t value)
{
	for (; n > 0 && b->n < 8 * sizeof b->data; n--, b->n++) {
		uint8_t bit = 0x80 >> b->n % 8;
		if (value >> (n - 1) & 1)
			b->data[b->n / 8] |= bit;
		else
			b->data[b->n / 8] &= ~bit;
	}
}

void put_ue(struct bits *b, uint32_t value)
{
	uint64_t code = (uint64_t)value + 1;
	int length = 64 - __builtin_clzll(code);

	put(b, length - 1, 0);
	if (length > 32)
		put(b, length - 32, code >> 32);
	put(b, length > 32 ? 32 : length, code);
}

void put_se(struct bits *b, int32_t value)
{
	put_ue(b, value > 0 ? 2 * (uint32_t)value - 1 : -2 * (uint32_t)value);
}

uint32_t take(struct bits *b, int n)
{
	uint32_t value = 0;

	for (; n > 0; n--, b->at++)
		value = value << 1 | (b->at < b->n ? b->data[b->at / 8] >> (7 - b->at % 8) & 1 : 0);
	return value;
}

uint32_t take_ue(struct bits *b)
{
	int zeros = 0;

	while (zeros < 31 && !take(b, 1))
		zeros++;
	return (1u << zeros) - 1 + take(b, zeros);
}

void put_end(struct bits *b)
{
	put(b, 1, 1);
	put(b, (8 - b->n % 8) % 8, 0);
}

size_t unescape(struct bits *b, const uint8_t *nal, size_t size, size_t n)
{
	int zeros = 0;
	size_t i;

	*b = (struct bits){0};
	for (i = 0; i < size && b->n / 8 < n && b->n / 8 < sizeof b->data; i++) {
		if (zeros == 2 && nal[i] == 3) {
			zeros = 0;
			continue;
		}
		zeros = nal[i] ? 0 : zeros + 1;
		put(b, 8, nal[i]);
	}
	return i;
}

static void add(struct stream *s, const uint8_t *bytes, size_t n)
{
	if (s->n + n > s->room) {
		size_t room = 2 * (s->n + n);
		uint8_t *data = realloc(s->data, room);
		if (!data) {
			s->full = true;
			return;
		}
		s->data = data;
		s->room = room;
	}
	memcpy(s->data + s->n, bytes, n);
	s->n += n;
}

void add_nal(struct stream *s, const struct bits *beginning, const uint8_t *rest, size_t size)
{
	int zeros = 0;

	add(s, (const uint8_t[]){0, 0, 0, 1}, 4);
	for (size_t i = 0; i < beginning->n / 8; i++) {
		uint8_t byte = beginning->data[i];
		if (zeros == 2 && byte <= 3) {
			add(s, (const uint8_t[]){3}, 1);
			zeros = 0;
		}
		add(s, &byte, 1);
		zeros = byte ? 0 : zeros + 1;
	}
	if (size > 0)
		add(s, rest, size);
}
