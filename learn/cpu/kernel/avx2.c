#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#define CLASS avx2
#define VW 8
#define NV 1
#include "body.h"
#endif
