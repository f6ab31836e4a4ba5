#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512vbmi,avx2")
#define CLASS avx512
#define WIDTH 64
#include "body.h"
#endif
