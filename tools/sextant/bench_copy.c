// Copy bandwidth of the host, which is that of a device that runs on it: memcpy by one thread a core.
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_THREADS = 64, REPETITIONS = 9 };

typedef struct slice {
    char *to;
    const char *from;
    size_t bytes;
} slice;

static void *copy_slice(void *argument) {
    const slice *work = argument;
    memcpy(work->to, work->from, work->bytes);
    return NULL;
}

// Seconds of one copy of `bytes` in `count` slices; a thread that cannot be had is stood in for.
static double copy_once(char *to, const char *from, size_t bytes, int count) {
    pthread_t threads[MAX_THREADS];
    slice slices[MAX_THREADS];
    bool started[MAX_THREADS];
    double start = sxt_now();
    for (int i = 0; i < count; i++) {
        size_t begin = bytes / (size_t)count * (size_t)i;
        slices[i] = (slice){to + begin, from + begin, i == count - 1 ? bytes - begin : bytes / (size_t)count};
        started[i] = i < count - 1 && pthread_create(&threads[i], NULL, copy_slice, &slices[i]) == 0;
        if (!started[i]) copy_slice(&slices[i]);
    }
    for (int i = 0; i < count; i++) {
        if (started[i]) pthread_join(threads[i], NULL);
    }
    return sxt_now() - start;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double sxt_bench_host_copy(size_t bytes) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int count = cores < 1 ? 1 : cores > MAX_THREADS ? MAX_THREADS : (int)cores;
    char *from = malloc(bytes), *to = malloc(bytes);
    double seconds[REPETITIONS], median = 0;
    if (from && to) {
        memset(from, 1, bytes); // so that both have pages of their own
        memset(to, 2, bytes);
        for (int i = 0; i < REPETITIONS; i++)
            seconds[i] = copy_once(to, from, bytes, count);
        qsort(seconds, REPETITIONS, sizeof *seconds, compare);
        median = seconds[REPETITIONS / 2];
    }
    free(from);
    free(to);
    return median > 0 ? 2e-9 * (double)bytes / median : 0;
}
