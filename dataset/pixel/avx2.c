#if defined(__x86_64__)
#pragma GCC target("avx2")
#define CLASS avx2
#define WIDTH 32
#include "body.h"
#endif
