/* The parts of the native test program. */
#ifndef ERYX_VFS_TESTS_H
#define ERYX_VFS_TESTS_H

#include "../eryx_public.h"
#include "shim.h"

void test_memory(void);
void test_image(void);
void test_descriptors(void);
void test_grants(const char *directory);

#endif
