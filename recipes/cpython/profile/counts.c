/* Hands over what an interpreter has counted that was compiled for it.

   The counts are written by compiler-rt's profile library, whose own way out is a file. Here whoever runs the
   module takes them from its memory. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "InstrProfiling.h"
#include "InstrProfilingInternal.h"

#define EXPORT(name) __attribute__((export_name(name), visibility("default")))

/* Tells the library that counts are kept in memory: else its constructor would ask for a file. */
int __llvm_profile_runtime = 0;

static char *counts;
static size_t length;
static size_t room;

static uint32_t append(ProfDataWriter *writer, ProfDataIOVec *parts, uint32_t number)
{
    (void)writer;
    for (uint32_t i = 0; i < number; i++) {
        size_t size = parts[i].ElmSize * parts[i].NumElm;
        if (length + size > room) {
            room = 2 * (length + size);
            counts = realloc(counts, room);
            if (counts == NULL) {
                return 1;
            }
        }
        if (parts[i].Data != NULL) {
            memcpy(counts + length, parts[i].Data, size);
        } else {
            memset(counts + length, 0, size);
        }
        length += size;
    }
    return 0;
}

/* The address of a function's counts is relative to the record that holds it. For that there is no relocation in a
   shared library, so the build has the linker make absolute addresses, off by the place of the field in its record
   (build/src/steps/profile.rs). */
static void make_relative(void)
{
    const __llvm_profile_data *end = __llvm_profile_end_data();
    for (const __llvm_profile_data *data = __llvm_profile_begin_data(); data < end; data++) {
        *(uintptr_t *)&data->CounterPtr -= (uintptr_t)&data->CounterPtr;
    }
}

/* Called once. Returns null when the counts could not be written. */
EXPORT("__eryx_profile") const char *profile(void)
{
    make_relative();
    ProfDataWriter writer = {append, NULL};
    return lprofWriteData(&writer, lprofGetVPDataReader(), 0) == 0 ? counts : NULL;
}

EXPORT("__eryx_profile_length") size_t profile_length(void)
{
    return length;
}
