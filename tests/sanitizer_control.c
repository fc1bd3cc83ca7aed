// Faults for the sanitizers to find, one a test, each run by itself: see meson.build.
#include <criterion/criterion.h>
#include <limits.h>
#include <stdlib.h>

static char *volatile memory;
static volatile int number = INT_MAX;

Test(control, leak) {
    memory = malloc(100);
    memory = NULL;
}

Test(control, overflow) {
    memory = malloc(100);
    memory[100] = 1;
    free(memory);
}

Test(control, use_after_free) {
    char *volatile freed = malloc(100);
    free(freed);
    memory = freed;
    memory[5] = 1;
}

Test(control, undefined) {
    number = number + 1;
}
