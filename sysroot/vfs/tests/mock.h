/* The embedder of the native tests. */
#ifndef ERYX_VFS_MOCK_H
#define ERYX_VFS_MOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The layer's own. */
bool is_utf8(const char *text, size_t length);

/* Grants the directory `host` under the name `guest`, from the next reset on. */
void mock_grant(const char *host, const char *guest);
void mock_no_grants(void);
/* Whether grants refuse to be changed; whether writing to descriptor 1 fails, as when its reader has gone. */
extern bool mock_read_only, mock_gone;
/* How many descriptors the layer holds, besides 0, 1, 2 and the grants. */
int mock_open_count(void);
/* How often the layer asked the embedder anything about files. */
extern int mock_crossings;
/* The time that the embedder tells, in nanoseconds. */
extern uint64_t mock_time;
/* What was written to descriptor 1. */
extern char mock_output[4096];
extern int mock_output_length;
/* How many subscriptions the last poll got, and whether it waited. */
extern int mock_polled;
extern bool mock_waited;
/* The status that the guest was ended with last; it goes on all the same. */
extern int32_t mock_exit_status;
/* From now on so many allocations succeed, then all fail; negative: no limit. */
extern long mock_allocations;

#endif
