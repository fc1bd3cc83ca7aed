#include "cover.h"

#include "random.h"

#include <assert.h>
#include <string.h>

enum { SEED = 20, CANDIDATES = 24, PLACES = SXT_COVER_OPTIONS * SXT_COVER_VALUES };

typedef struct search {
    const sxt_cover_space *space;
    sxt_random random;
    bool wanted[PLACES][PLACES]; // allowed, and in no row yet
    uint32_t left;
} search;

static int place(int option, int value) {
    return option * SXT_COVER_VALUES + value;
}

static sxt_cover_row empty_row(void) {
    sxt_cover_row row;
    memset(row.value, SXT_COVER_UNSET, sizeof row.value);
    return row;
}

static bool may_have(const search *s, sxt_cover_row row, int option, int value) {
    row.value[option] = (int8_t)value;
    return s->space->allowed(&row);
}

// How many wanted pairs a value would make with those that the row has.
static uint32_t gain(const search *s, const sxt_cover_row *row, int option, int value) {
    uint32_t pairs = 0;
    for (int other = 0; other < s->space->option_count; other++) {
        if (other != option && row->value[other] != SXT_COVER_UNSET)
            pairs += s->wanted[place(option, value)][place(other, row->value[other])];
    }
    return pairs;
}

// Sets an option to the allowed value that makes the most wanted pairs; any of them where several do.
static bool set_best(search *s, sxt_cover_row *row, int option) {
    uint32_t most = 0, ties = 0;
    int best = SXT_COVER_UNSET;
    for (int value = 0; value < s->space->value_counts[option]; value++) {
        if (!may_have(s, *row, option, value)) continue;
        uint32_t pairs = gain(s, row, option, value);
        if (best == SXT_COVER_UNSET || pairs > most) ties = 0;
        if (best != SXT_COVER_UNSET && pairs < most) continue;
        if (sxt_random_once_in(&s->random, ++ties)) best = value;
        most = pairs;
    }
    row->value[option] = (int8_t)best;
    return best != SXT_COVER_UNSET;
}

// Fills a row around a wanted pair, in a random order of options. False where that came to a dead end.
static bool fill_row(search *s, int first, int second, sxt_cover_row *row) {
    int order[SXT_COVER_OPTIONS], count = s->space->option_count;
    *row = empty_row();
    row->value[first / SXT_COVER_VALUES] = (int8_t)(first % SXT_COVER_VALUES);
    row->value[second / SXT_COVER_VALUES] = (int8_t)(second % SXT_COVER_VALUES);
    for (int i = 0; i < count; i++) {
        int at = (int)sxt_random_range(&s->random, 0, (uint32_t)i);
        order[i] = order[at];
        order[at] = i;
    }
    for (int i = 0; i < count; i++) {
        if (row->value[order[i]] == SXT_COVER_UNSET && !set_best(s, row, order[i])) return false;
    }
    return true;
}

static uint32_t count_new(const search *s, const sxt_cover_row *row) {
    uint32_t pairs = 0;
    for (int option = 0; option < s->space->option_count; option++)
        pairs += gain(s, row, option, row->value[option]);
    return pairs / 2;
}

static void take(search *s, const sxt_cover_row *row) {
    for (int a = 0; a < s->space->option_count; a++) {
        for (int b = 0; b < s->space->option_count; b++) {
            bool *pair = &s->wanted[place(a, row->value[a])][place(b, row->value[b])];
            s->left -= a < b && *pair;
            *pair = false;
        }
    }
}

static uint32_t want_all(search *s) {
    const int *counts = s->space->value_counts;
    for (int a = 0; a < s->space->option_count; a++) {
        for (int b = a + 1; b < s->space->option_count; b++) {
            for (int pair = 0; pair < counts[a] * counts[b]; pair++) {
                int x = pair / counts[b], y = pair % counts[b];
                sxt_cover_row row = empty_row();
                row.value[a] = (int8_t)x;
                row.value[b] = (int8_t)y;
                bool wanted = s->space->allowed(&row);
                s->wanted[place(a, x)][place(b, y)] = s->wanted[place(b, y)][place(a, x)] = wanted;
                s->left += wanted;
            }
        }
    }
    return s->left;
}

// The next wanted pair from `from` on, in a circle.
static int find_wanted(const search *s, int from) {
    const bool *wanted = &s->wanted[0][0];
    while (!wanted[from % (PLACES * PLACES)])
        from++;
    return from % (PLACES * PLACES);
}

void sxt_cover_make(const sxt_cover_space *space, sxt_cover *out) {
    static search s;
    s = (search){.space = space, .random = sxt_random_seed(SEED, 0)};
    *out = (sxt_cover){0};
    out->pair_count = want_all(&s);
    while (s.left > 0) {
        sxt_cover_row best = empty_row(), row;
        uint32_t most = 0;
        for (int i = 0; i < CANDIDATES || most == 0; i++) {
            assert(i < 1000 * CANDIDATES); // a pair that is allowed, but in no whole row
            int pair = find_wanted(&s, (int)sxt_random_range(&s.random, 0, PLACES * PLACES - 1));
            if (!fill_row(&s, pair / PLACES, pair % PLACES, &row)) continue;
            uint32_t pairs = count_new(&s, &row);
            if (pairs > most) most = pairs, best = row;
        }
        assert(out->row_count < SXT_COVER_ROWS);
        take(&s, &best);
        out->pairs[out->row_count] = out->pair_count - s.left;
        out->rows[out->row_count++] = best;
    }
}
