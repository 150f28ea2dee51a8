/* The parts of the native test program. */
#ifndef ERYX_VFS_TESTS_H
#define ERYX_VFS_TESTS_H

#include "../eryx_public.h"
#include "shim.h"

void test_memory(void);
void test_image(void);
void test_descriptors(void);
void test_hooks(void);
void test_modes(void);
void test_pipes(void);
void test_mappings(void);
void test_grants(const char *directory);

#endif
