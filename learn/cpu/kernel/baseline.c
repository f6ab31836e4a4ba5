#define CLASS baseline
#define VW 4
#define NV 1
#include "body.h"
