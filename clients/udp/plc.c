/* A PLC's side of `edged gateway udp`: sends triggers, prints what it would act on whenever that changes.
 *
 *     cc -std=c11 -O2 plc.c -o plc && ./plc 5700 5701 7      ports of datagrams in and of triggers out, a line session
 *
 * `part N` on stdin: part N passes the trigger now. A line printed: alive good stop reason engine acknowledged results
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "edged_udp.h"

#define WAITING 64

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static struct {
    uint32_t part;
    int64_t at_us, sent_us;
    int used;
} waiting[WAITING];

/* Repeat what is not acknowledged, every 50 ms. */
static void tend(int fd, const struct sockaddr_in *to, uint32_t line, const struct edged_watch *watch) {
    const int64_t now = now_us();
    for (int i = 0; i < WAITING; i++) {
        if (!waiting[i].used) continue;
        for (int at = 0; at < watch->newest.acknowledged_count && at < 8; at++)
            if (edged_alive(watch, now / 1000) && watch->newest.line == line && watch->newest.acknowledged[at] == waiting[i].part)
                waiting[i].used = 0;
        if (!waiting[i].used || now - waiting[i].sent_us < 50000) continue;
        const struct edged_trigger trigger = edged_request(line, waiting[i].part, 32, (uint32_t)(now - waiting[i].at_us));
        waiting[i].sent_us = now;
        sendto(fd, &trigger, sizeof trigger, 0, (const struct sockaddr *)to, sizeof *to);
    }
}

static long receive(void *from, void *bytes, size_t size) { return recv(*(const int *)from, bytes, size, MSG_DONTWAIT); }

static void describe(const struct edged_watch *watch, char *text, size_t size) {
    static const char *const outcomes[] = {"NONE", "PASS", "FAIL", "NOT_INSPECTED"};
    const struct edged_status *status = &watch->newest;
    const int64_t now = now_us() / 1000;
    if (!edged_alive(watch, now)) {
        snprintf(text, size, "alive=0");
        return;
    }
    size_t at = (size_t)snprintf(text, size, "alive=1 good=%d stop=%d reason=%u alarms=%u playing=%u axes=%u engine=",
                                 !!(status->flags & EDGED_GOOD), !!(status->flags & EDGED_STOP), status->reason,
                                 status->alarms, status->playing, status->axes);
    for (int i = 0; i < 8 && at < size; i++) at += (size_t)snprintf(text + at, size - at, "%02x", status->engine[i]);
    for (int i = 0; i < status->acknowledged_count && i < 8 && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, " ack=%u", status->acknowledged[i]);
    for (int i = 0; i < 8 && at < size; i++) {
        const struct edged_outcome_of *one = &status->results[i];
        if (one->outcome == EDGED_NONE) continue;
        const uint32_t part = one->part;
        at += (size_t)snprintf(text + at, size - at, " %u=%s/", part, outcomes[edged_result(watch, one->line, part, now)]);
        for (int b = 0; b < 8 && at < size; b++) at += (size_t)snprintf(text + at, size - at, "%02x", one->engine[b]);
    }
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: plc PORT_IN PORT_OUT LINE\n");
        return 2;
    }
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[1]))};
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
    here.sin_addr.s_addr = there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const uint32_t line = (uint32_t)strtoul(words[3], NULL, 10);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here)) {
        perror("bind");
        return 1;
    }
    struct edged_watch watch = {0};
    char text[2048], before[2048] = "", typed[64];
    struct pollfd ways[2] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    for (;;) {
        poll(ways, 2, 10);
        if (ways[1].revents) {
            const ssize_t size = read(0, typed, sizeof typed - 1);
            if (size <= 0) return 0;
            typed[size] = 0;
            for (char *word = strtok(typed, "\n"); word; word = strtok(NULL, "\n")) {
                uint32_t part;
                int i = 0;
                if (sscanf(word, "part %u", &part) != 1) continue;
                while (i < WAITING && waiting[i].used) i++;
                if (i == WAITING) continue; /* a part of which nobody was told is rejected */
                waiting[i].part = part;
                waiting[i].at_us = now_us();
                waiting[i].sent_us = 0;
                waiting[i].used = 1;
            }
        }
        /* Everything that waits, before anything is decided: what was queued while we slept is old. */
        edged_drain(&watch, receive, &fd, now_us() / 1000);
        tend(fd, &there, line, &watch);
        describe(&watch, text, sizeof text);
        if (strcmp(text, before) == 0) continue;
        puts(text);
        fflush(stdout);
        strcpy(before, text);
    }
}
