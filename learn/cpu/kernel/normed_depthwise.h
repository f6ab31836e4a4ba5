// What lies between two convolutions of 1×1 in a network of inverted residuals: normalisation and activation, a convolution of single channels,
// normalisation and activation. A task is a channel, which passes through all of it in the cache; of what it becomes on the way only what the
// gradients cannot compute again is written.

typedef struct {
	const dk_normed *n;
	places met; // by the convolution of this pass
	int failed;
} normed_channels;

static normalised_by norm_of(const dk_normed *n, int which, int64_t channel) {
	return normalised_of(n->scale[which][channel], n->shift[which][channel], n->mean[which][channel], n->variance[which][channel], n->epsilon[which]);
}

static void normed_depthwise_task(void *data, size_t task) {
	normed_channels *c = data;
	const dk_normed *n = c->n;
	const dk_plane *p = &n->forward;
	int64_t channel = (int64_t)task, size = p->H * p->W * p->N, out = p->Ho * p->Wo * p->N;
	const float *x = n->x + channel * size;
	float *y = n->y + channel * out, *inner = dk_take(size);
	if (!inner) {
		c->failed = 1;
		return;
	}
	moments_of(x, size, &n->mean[0][channel], &n->variance[0][channel]);
	normalise(n->activation[0], x, size, norm_of(n, 0, channel), inner);
	depthwise_channel(p, &c->met, inner, n->w + p->k0 + channel * p->ko, y);
	dk_give(inner);
	moments_of(y, out, &n->mean[1][channel], &n->variance[1][channel]);
	float *z = n->z + channel * out;
	normalise(n->activation[1], y, out, norm_of(n, 1, channel), z);
	if (n->sums)
		sum_positions(0, z, NULL, p->Ho * p->Wo, p->N, n->sums + channel * p->N);
}

static int normed_depthwise_of(const dk_threads *t, const dk_normed *n) {
	normed_channels c = {.n = n};
	if (places_of(&n->forward, &c.met))
		t->run(t, normed_depthwise_task, n->forward.O, &c);
	else
		c.failed = 1;
	give_places(&c.met);
	return c.failed;
}

// weighed writes v·gate + rest of one channel (positions, n).
static void weighed(const float *v, const float *gate, const float *rest, int64_t positions, int64_t n, float *to) {
	for (int64_t k = 0; k < positions; k++, v += n, to += n)
		for (int64_t i = 0; i < n; i++)
			to[i] = v[i] * gate[i] + rest[i];
}

static void normed_depthwise_gradient_task(void *data, size_t task) {
	normed_channels *c = data;
	const dk_normed *n = c->n;
	const dk_plane *p = &n->forward;
	int64_t channel = (int64_t)task, size = p->H * p->W * p->N, out = p->Ho * p->Wo * p->N, row = p->W * p->N, width = padded_width(p) * p->N;
	const float *x = n->x + channel * size;
	float *gx = n->gx + channel * size, *inner = dk_take(p->H * width), *gy = dk_take(out);
	if (!inner || !gy) {
		c->failed = 1;
		dk_give(inner), dk_give(gy);
		return;
	}
	const float *v = n->v + channel * out;
	if (n->gate) {
		weighed(v, n->gate + channel * p->N, n->rest + channel * p->N, p->Ho * p->Wo, p->N, gy);
		v = gy;
	}
	normalise_gradient(n->activation[1], n->y + channel * out, v, out, n->epsilon[1], n->scale[1][channel], n->shift[1][channel],
	                   n->mean[1][channel], n->variance[1][channel], gy, &n->gscale[1][channel], &n->gshift[1][channel]);
	normalised_by by = norm_of(n, 0, channel);
	pad_columns(p, NULL, inner);
	for (int64_t h = 0; h < p->H; h++)
		normalise(n->activation[0], x + h * row, row, by, inner + h * width + greater(0, p->pw) * p->N);
	// The plane's kernel is the gradient's: of its own layout.
	depthwise_gradient_channel(p, inner, gy, n->gw + p->k0 + channel * p->ko);
	depthwise_channel(&n->image, &c->met, gy, n->w + n->image.k0 + channel * n->image.ko, gx);
	dk_give(inner), dk_give(gy);
	normalise_gradient(n->activation[0], x, gx, size, n->epsilon[0], n->scale[0][channel], n->shift[0][channel], n->mean[0][channel], n->variance[0][channel], gx,
	                   &n->gscale[0][channel], &n->gshift[0][channel]);
}

static int normed_depthwise_gradient_of(const dk_threads *t, const dk_normed *n) {
	normed_channels c = {.n = n};
	if (places_of(&n->image, &c.met))
		t->run(t, normed_depthwise_gradient_task, n->forward.O, &c);
	else
		c.failed = 1;
	give_places(&c.met);
	return c.failed;
}
