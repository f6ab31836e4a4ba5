#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#define CLASS avx512
#define VW 16
#define NV 2
#include "body.h"
#endif
