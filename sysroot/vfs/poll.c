/* poll_oneoff: our own files are always ready; everything else is the embedder's to wait for. */
#include <stdlib.h>
#include <string.h>

#include "state.h"

enum answer { ANSWER_READY, ANSWER_OUTSIDE, ANSWER_NEVER };

/* Answers a subscription that needs no waiting. */
static enum answer answer_here(const struct wasi_subscription *subscription, struct wasi_event *event,
                        struct wasi_subscription *outer) {
    *outer = *subscription;
    if (subscription->tag != EVENT_READ && subscription->tag != EVENT_WRITE) {
        return ANSWER_OUTSIDE;
    }
    memset(event, 0, sizeof *event);
    event->userdata = subscription->userdata;
    event->type = subscription->tag;
    struct description *description;
    event->error = (uint16_t)fd_get(subscription->u.fd, &description);
    if (event->error != 0) {
        return ANSWER_READY;
    }
    if (description->kind == OPEN_OUTER) {
        outer->u.fd = description->fd;
        return ANSWER_OUTSIDE;
    }
    if (description->kind == OPEN_PIPE) {
        event->bytes = pipe_ready(description, subscription->tag == EVENT_WRITE);
        return event->bytes == NOTHING_YET ? ANSWER_NEVER : ANSWER_READY;
    }
    event->bytes = 1;
    if (subscription->tag == EVENT_READ) {
        uint64_t size = 0;
        if (description->kind == OPEN_IMAGE) {
            size = image_node(description->image)->count;
        } else if (description->node->kind == NODE_FILE) {
            size = description->node->u.file.size;
        }
        event->bytes = size > description->offset ? size - description->offset : 0;
    }
    return ANSWER_READY;
}

/* What else is ready already: the embedder is asked with a timeout of nothing. */
static void peek_outer(struct wasi_subscription *list, size_t count, struct wasi_event *out, size_t *ready) {
    struct wasi_event *events = malloc((count + 1) * sizeof *events);
    if (events == NULL) {
        return; /* what is ready here is answer enough */
    }
    memset(&list[count], 0, sizeof list[count]);
    list[count].tag = EVENT_CLOCK;
    list[count].u.clock.id = CLOCK_MONOTONIC_ID;
    /* No subscription of the guest is mistaken for this one: all carry their number here. */
    list[count].userdata = count;
    size_t found = 0;
    uint64_t *userdata = malloc(count * sizeof *userdata);
    if (userdata != NULL) {
        for (size_t i = 0; i < count; i++) {
            userdata[i] = list[i].userdata;
            list[i].userdata = i;
        }
        if (outer_poll_oneoff(list, events, count + 1, &found) == 0) {
            for (size_t i = 0; i < found; i++) {
                if (events[i].userdata < count) {
                    events[i].userdata = userdata[events[i].userdata];
                    out[(*ready)++] = events[i];
                }
            }
        }
        free(userdata);
    }
    free(events);
}

int32_t __eryx_wasi_poll_oneoff(const struct wasi_subscription *in, struct wasi_event *out, size_t count,
                                size_t *events) {
    int error = vfs_setup();
    if (error != 0) {
        return error;
    }
    if (count == 0 || count > FD_LIMIT * 2) {
        return E_INVAL;
    }
    struct wasi_subscription *list = malloc((count + 1) * sizeof *list);
    if (list == NULL) {
        return E_NOMEM;
    }
    size_t ready = 0, waiting = 0;
    for (size_t i = 0; i < count; i++) {
        switch (answer_here(&in[i], &out[ready], &list[waiting])) {
        case ANSWER_READY:
            ready++;
            break;
        case ANSWER_OUTSIDE:
            waiting++;
            break;
        case ANSWER_NEVER:
            /* While the guest waits here nobody writes to its pipes, or reads from them. */
            break;
        }
    }
    if (ready == 0 && waiting == 0) {
        error = E_DEADLK;
    } else if (ready == 0) {
        error = outer_poll_oneoff(list, out, waiting, &ready);
    } else if (waiting != 0) {
        peek_outer(list, waiting, out, &ready);
    }
    free(list);
    *events = ready;
    return error;
}
