#include <string.h>

#include "kernels.h"

#define CALL(name, parameters, names) void dp_##name(const dp_kernels *class, DP_UNWRAP parameters) { class->name names; }
DP_KERNELS(CALL)

const dp_kernels *dp_find(const char *isa) {
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (!strcmp(isa, "avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi"))
		return &dp_avx512;
	if (!strcmp(isa, "avx2") && __builtin_cpu_supports("avx2"))
		return &dp_avx2;
#endif
	return strcmp(isa, "baseline") ? NULL : &dp_baseline;
}
