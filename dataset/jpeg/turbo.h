#ifndef DARKROOM_JPEG_H
#define DARKROOM_JPEG_H
#include <stddef.h>
#include <stdint.h>

// dj_open looks for libjpeg-turbo of the version that the program was built for; it returns 1 when it is there.
int dj_open(void);

// dj_decode decodes size bytes into (height, width, channels) bytes, the picture's size divided by divide. It returns 0 when the file is damaged in any way or of another size.
int dj_decode(const uint8_t *file, size_t size, uint8_t *out, int height, int width, int channels, int divide);
#endif
