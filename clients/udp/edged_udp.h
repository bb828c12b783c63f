/* SPDX-License-Identifier: Apache-2.0
 *
 * edged_udp.h: the datagrams of `edged gateway udp` for a receiver in C99, and the rules by which it trusts them.
 *
 *     struct edged_watch watch = {0};
 *     edged_drain(&watch, receive, &socket, now_ms);     each cycle, before anything is decided
 *     if (edged_result(&watch, line, part, now_ms) != EDGED_PASS) reject the part, at its deadline
 *
 * docs/gateways.md has the layout as a table. Little-endian; 0 is the safe value of every field.
 */
#ifndef EDGED_UDP_H
#define EDGED_UDP_H

#include <stdint.h>
#include <string.h>

#define EDGED_ALIVE 1u /* the daemon is heard: without it everything else is 0 */
#define EDGED_GOOD 2u  /* its newest verdict is a prediction, and still valid */
#define EDGED_STOP 4u  /* its newest verdict says: stop now */
#define EDGED_ALARM 8u /* an alarm is on */
#define EDGED_UNKNOWN 0xFFFFFFFFu

enum edged_outcome { EDGED_NONE = 0, EDGED_PASS = 1, EDGED_FAIL = 2, EDGED_NOT_INSPECTED = 3 };
enum edged_playing { EDGED_MOVING = 1, EDGED_TAIL = 2, EDGED_HOLDING = 3, EDGED_LOST = 4 };

struct edged_outcome_of {
    uint32_t line, part; /* line 0: of the picture whose tick is `part`, no part's */
    uint8_t outcome, reserved1;
    uint16_t reserved2;
    uint32_t age_ms;   /* since its trigger */
    uint8_t engine[8]; /* first bytes of the engine that judged it */
    uint64_t entry;
};

struct edged_status {
    char magic[4];
    uint8_t version, playing;
    uint16_t flags;
    uint32_t life;         /* one more with each datagram; wraps */
    uint16_t reason, axes; /* of a Hold (WIRE.md, "Reasons"); how many of `values` count */
    uint8_t engine[8];
    uint64_t seq;
    uint32_t age_ms, valid_ms;
    uint32_t line;
    uint16_t alarms, acknowledged_count;
    uint32_t acknowledged[8]; /* parts of `line` that will have a result */
    float values[16];         /* set-points of this moment */
    struct edged_outcome_of results[8];
};

struct edged_trigger {
    char magic[4]; /* "EDGT" */
    uint8_t version, bits;
    uint16_t reserved;
    uint32_t line, part, ago_us;
};

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(struct edged_outcome_of) == 32, "no padding");
_Static_assert(sizeof(struct edged_status) == 400, "no padding");
_Static_assert(sizeof(struct edged_trigger) == 20, "no padding");
#endif

/* What a receiver remembers. */
struct edged_watch {
    struct edged_status newest;
    int64_t moved_ms; /* when the life counter moved last */
    int64_t since_ms; /* when it did so for the first time after a silence */
    int heard;
};

/* 1: `bytes` are a datagram of ours, and `status` is it. */
static inline int edged_read(const void *bytes, size_t size, struct edged_status *status) {
    if (size != sizeof *status) return 0;
    memcpy(status, bytes, sizeof *status);
    return memcmp(status->magic, "EDGU", 4) == 0 && status->version == 1;
}

/* Take in a datagram that was received at `now_ms` of a clock that never goes back. Old ones, which the network brought
 * late, do not count: the counter goes forward, by less than half its range. A gateway that was restarted begins at 1,
 * and is followed after `EDGED_QUIET_MS` of silence, when nothing was trusted any more. Nor is what comes first then: if it
 * was the receiver that stood still, that lay in its socket. Trusted is what comes `EDGED_SURE_MS` later.
 *
 * That holds only where each cycle reads all that waits, with one `now_ms`, taken before. Who reads one datagram a cycle,
 * or takes the time for each, trusts the second old one. `edged_drain` does it right. */
#define EDGED_QUIET_MS 200
#define EDGED_SURE_MS 5
static inline void edged_heard(struct edged_watch *watch, const struct edged_status *status, int64_t now_ms) {
    const uint32_t ahead = status->life - watch->newest.life;
    const int quiet = !watch->heard || now_ms - watch->moved_ms > EDGED_QUIET_MS;
    if (!quiet && (ahead == 0 || ahead >= 0x80000000u)) return;
    if (watch->heard && ahead == 0) return; /* a counter that stands still: its gateway is frozen */
    if (quiet) watch->since_ms = now_ms;
    watch->newest = *status;
    watch->moved_ms = now_ms;
    watch->heard = 1;
}

/* The next datagram that waits `from` there, at most `size` bytes of it, and how long it is; negative: none waits. */
typedef long (*edged_receive)(void *from, void *bytes, size_t size);

/* Take in all that waits, once a cycle; `now_ms` is taken before. 0: there was more than `EDGED_MOST`, a flood; then
 * nothing is trusted until a cycle has read all, and another one after it. */
#define EDGED_MOST 1000
static inline int edged_drain(struct edged_watch *watch, edged_receive receive, void *from, int64_t now_ms) {
    unsigned char bytes[sizeof(struct edged_status) + 1]; /* one that is longer is none of ours */
    struct edged_status status;
    for (int taken = 0; taken < EDGED_MOST; taken++) {
        const long size = receive(from, bytes, sizeof bytes);
        if (size < 0) return 1;
        if (edged_read(bytes, (size_t)size, &status)) edged_heard(watch, &status, now_ms);
    }
    watch->heard = 0;
    return 0;
}

/* 1: edged is there. 0: the fail-safe; nothing of `newest` may be used. */
static inline int edged_alive(const struct edged_watch *watch, int64_t now_ms) {
    return watch->heard && now_ms - watch->moved_ms <= EDGED_QUIET_MS && watch->moved_ms - watch->since_ms >= EDGED_SURE_MS
           && (watch->newest.flags & EDGED_ALIVE);
}

/* What a part came to; EDGED_NONE: nothing is known of it, or edged is not there. All but EDGED_PASS reject the part. */
static inline enum edged_outcome edged_result(const struct edged_watch *watch, uint32_t line, uint32_t part,
                                              int64_t now_ms) {
    if (!edged_alive(watch, now_ms)) return EDGED_NONE;
    for (int i = 0; i < 8; i++) {
        const struct edged_outcome_of *one = &watch->newest.results[i];
        if (one->outcome != EDGED_NONE && one->line == line && one->part == part)
            return one->outcome <= EDGED_NOT_INSPECTED ? (enum edged_outcome)one->outcome : EDGED_NOT_INSPECTED;
    }
    return EDGED_NONE;
}

/* The request for a part that passed the trigger `ago_us` ago. Repeat it, with the time since then, until its number is
 * among `acknowledged` of a datagram with your `line`. `bits` of your counter: 16 or 32. */
static inline struct edged_trigger edged_request(uint32_t line, uint32_t part, uint8_t bits, uint32_t ago_us) {
    struct edged_trigger trigger = {{'E', 'D', 'G', 'T'}, 1, bits, 0, line, part, ago_us};
    return trigger;
}

#endif
