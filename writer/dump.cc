#include "writer/dump.h"
