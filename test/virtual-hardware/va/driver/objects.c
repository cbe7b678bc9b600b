#include "driver.h"

#include <stdlib.h>

void *object_new(struct driver *d, enum kind k, size_t size)
{
	struct object *o = calloc(1, size);

	if (!o)
		return NULL;
	o->kind = k;
	pthread_mutex_lock(&d->lock);
	for (int tries = 0; tries < MOST_OBJECTS && o->id == 0; tries++) {
		d->last = d->last + 1 < MOST_OBJECTS ? d->last + 1 : 1;
		if (!d->objects[d->last]) {
			d->objects[d->last] = o;
			o->id = d->last;
		}
	}
	pthread_mutex_unlock(&d->lock);
	if (o->id == 0) {
		free(o);
		return NULL;
	}
	return o;
}

void *object(struct driver *d, enum kind k, VAGenericID id)
{
	struct object *o = NULL;

	pthread_mutex_lock(&d->lock);
	if (id < MOST_OBJECTS)
		o = d->objects[id];
	pthread_mutex_unlock(&d->lock);
	return o && o->kind == k ? o : NULL;
}

void object_free(struct driver *d, void *o)
{
	pthread_mutex_lock(&d->lock);
	d->objects[((struct object *)o)->id] = NULL;
	pthread_mutex_unlock(&d->lock);
	free(o);
}
