#include "turbo.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdio.h>

#if defined(__has_include)
#if __has_include(<jpeglib.h>)
#include <jpeglib.h>
#endif
#endif

#ifdef LIBJPEG_TURBO_VERSION

// The functions in use. The library is opened when the program starts to decode, so that a program built with its header runs without it.
static struct {
	struct jpeg_error_mgr *(*std_error)(struct jpeg_error_mgr *);
	void (*create)(j_decompress_ptr, int, size_t);
	void (*source)(j_decompress_ptr, const unsigned char *, unsigned long);
	int (*header)(j_decompress_ptr, boolean);
	boolean (*start)(j_decompress_ptr);
	JDIMENSION (*lines)(j_decompress_ptr, JSAMPARRAY, JDIMENSION);
	void (*destroy)(j_decompress_ptr);
} lib;

int dj_open(void) {
	char name[32];
	snprintf(name, sizeof name, "libjpeg.so.%d", JPEG_LIB_VERSION / 10 == 6 ? 62 : JPEG_LIB_VERSION / 10);
	void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!handle || !dlsym(handle, "jpeg_skip_scanlines")) // turbo's alone
		return 0;
	*(void **)&lib.std_error = dlsym(handle, "jpeg_std_error");
	*(void **)&lib.create = dlsym(handle, "jpeg_CreateDecompress");
	*(void **)&lib.source = dlsym(handle, "jpeg_mem_src");
	*(void **)&lib.header = dlsym(handle, "jpeg_read_header");
	*(void **)&lib.start = dlsym(handle, "jpeg_start_decompress");
	*(void **)&lib.lines = dlsym(handle, "jpeg_read_scanlines");
	*(void **)&lib.destroy = dlsym(handle, "jpeg_destroy_decompress");
	return lib.std_error && lib.create && lib.source && lib.header && lib.start && lib.lines && lib.destroy;
}

typedef struct {
	struct jpeg_error_mgr base;
	jmp_buf out;
} failure;

static void leave(j_common_ptr c) { longjmp(((failure *)c->err)->out, 1); }

static void say(j_common_ptr c) { (void)c; }

static void note(j_common_ptr c, int level) {
	if (level < 0) // a warning: the file is damaged
		leave(c);
}

int dj_decode(const uint8_t *file, size_t size, uint8_t *out, int height, int width, int channels, int divide) {
	struct jpeg_decompress_struct c;
	failure f;
	c.err = lib.std_error(&f.base);
	f.base.error_exit = leave;
	f.base.output_message = say;
	f.base.emit_message = note;
	if (setjmp(f.out)) {
		lib.destroy(&c);
		return 0;
	}
	lib.create(&c, JPEG_LIB_VERSION, sizeof c);
	lib.source(&c, file, size);
	int ok = lib.header(&c, TRUE) == JPEG_HEADER_OK && c.num_components == channels;
	if (ok) {
		c.out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
		c.scale_num = 1;
		c.scale_denom = (unsigned)divide;
		c.dct_method = JDCT_ISLOW;
		c.do_fancy_upsampling = TRUE;
		ok = lib.start(&c) && c.output_components == channels && (int)c.output_height == height && (int)c.output_width == width;
	}
	while (ok && c.output_scanline < c.output_height) {
		JSAMPROW rows[8];
		JDIMENSION n = c.output_height - c.output_scanline;
		for (JDIMENSION i = 0; i < 8 && i < n; i++)
			rows[i] = out + (size_t)(c.output_scanline + i) * width * channels;
		ok = lib.lines(&c, rows, n < 8 ? n : 8) > 0;
	}
	lib.destroy(&c);
	return ok;
}

#else

int dj_open(void) { return 0; }

int dj_decode(const uint8_t *file, size_t size, uint8_t *out, int height, int width, int channels, int divide) {
	(void)file, (void)size, (void)out, (void)height, (void)width, (void)channels, (void)divide;
	return 0;
}

#endif
