#define CLASS baseline
#define WIDTH 16
#include "body.h"
