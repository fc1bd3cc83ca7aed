// The pipeline-cache file: what was written is read back, and nothing else reaches the driver.
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vulkan/cache_file.h"

enum { PAYLOAD = 300, FILE_BYTES = SXT_CACHE_HEADER_BYTES + PAYLOAD };

static const sxt_cache_identity identity = {
    .vendor_id = 0x1002,
    .device_id = 0x744c,
    .driver_id = 3,
    .driver_version = 0x06400007,
    .uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
    .shader_hash = UINT64_C(0x0123456789abcdef),
};

static void make_file(uint8_t file[FILE_BYTES]) {
    uint8_t *payload = file + SXT_CACHE_HEADER_BYTES;
    for (uint32_t i = 0; i < PAYLOAD; i++)
        payload[i] = (uint8_t)(i * 37 + 11);
    sxt_cache_serialise(&identity, payload, PAYLOAD, file);
}

static const char *parse(const sxt_cache_identity *wanted, const uint8_t *file, size_t bytes) {
    const uint8_t *payload;
    size_t payload_bytes;
    const char *fault = sxt_cache_parse(wanted, file, bytes, &payload, &payload_bytes);
    if (fault == NULL) {
        cr_assert_eq(payload, file + SXT_CACHE_HEADER_BYTES);
        cr_assert_eq(payload_bytes, bytes - SXT_CACHE_HEADER_BYTES);
    } else {
        cr_assert_null(payload);
        cr_assert_eq(payload_bytes, 0);
    }
    return fault;
}

// Of exactly this size on the heap, so that a sanitizer sees any read past the end.
static uint8_t *copy_of(const uint8_t *file, size_t bytes) {
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    cr_assert_not_null(copy);
    memcpy(copy, file, bytes);
    return copy;
}

Test(cache_file, round_trip) {
    uint8_t file[FILE_BYTES];
    make_file(file);
    cr_expect_null(parse(&identity, file, sizeof file));
    uint8_t header[SXT_CACHE_HEADER_BYTES];
    sxt_cache_serialise(&identity, "", 0, header);
    cr_expect_null(parse(&identity, header, sizeof header), "an empty payload is one too");
}

// The format is a promise to files of earlier builds: these bytes change only with SXT_CACHE_VERSION.
Test(cache_file, frame_is_little_endian_and_documented) {
    uint8_t file[FILE_BYTES];
    make_file(file);
    cr_expect_eq(memcmp(file, "SXTCACHE\2\0\0\0\x02\x10\0\0\x4c\x74\0\0\3\0\0\0\7\0\x40\6\0\0\0\0\1\2\3", 35), 0);
    cr_expect_eq(memcmp(file + 48, "\xef\xcd\xab\x89\x67\x45\x23\x01\x2c\1\0\0\0\0\0\0", 16), 0);
}

Test(cache_file, every_truncation_and_extension_is_rejected) {
    uint8_t file[FILE_BYTES];
    make_file(file);
    for (size_t bytes = 0; bytes < sizeof file; bytes++) {
        uint8_t *cut = copy_of(file, bytes);
        cr_assert_not_null(parse(&identity, cut, bytes), "cut to %zu bytes", bytes);
        free(cut);
    }
    uint8_t longer[FILE_BYTES + 1] = {0};
    memcpy(longer, file, sizeof file);
    cr_expect_not_null(parse(&identity, longer, sizeof longer));
}

Test(cache_file, every_flipped_bit_is_rejected) {
    uint8_t file[FILE_BYTES];
    make_file(file);
    for (size_t bit = 0; bit < 8 * sizeof file; bit++) {
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_not_null(parse(&identity, file, sizeof file), "bit %zu", bit);
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    cr_expect_null(parse(&identity, file, sizeof file));
}

Test(cache_file, any_other_identity_is_rejected) {
    uint8_t file[FILE_BYTES];
    make_file(file);
    sxt_cache_identity others[6];
    for (size_t i = 0; i < 6; i++)
        others[i] = identity;
    others[0].vendor_id++;
    others[1].device_id++;
    others[2].driver_id++;
    others[3].driver_version--;
    others[4].uuid[15] ^= 0x80;
    others[5].shader_hash ^= UINT64_C(1) << 63;
    for (size_t i = 0; i < 6; i++)
        cr_expect_str_eq(parse(&others[i], file, sizeof file), "it is of another device, driver or version of Sextant",
                         "identity %zu", i);
}

// With a hash that is right, so that it is the field itself that is refused.
static void rehash(uint8_t *file, size_t bytes) {
    const uint64_t hash = sxt_hash(sxt_hash(SXT_HASH_START, file, SXT_CACHE_HEADER_BYTES - 8),
                                   file + SXT_CACHE_HEADER_BYTES, bytes - SXT_CACHE_HEADER_BYTES);
    for (uint32_t i = 0; i < 8; i++)
        file[SXT_CACHE_HEADER_BYTES - 8 + i] = (uint8_t)(hash >> 8 * i);
}

Test(cache_file, another_version_is_rejected) {
    uint8_t file[FILE_BYTES];
    make_file(file);
    file[8] = SXT_CACHE_VERSION + 1;
    rehash(file, sizeof file);
    cr_expect_str_eq(parse(&identity, file, sizeof file), "its format has another version");
}

Test(cache_file, absurd_lengths_are_rejected) {
    const uint64_t lengths[] = {0, PAYLOAD - 1, PAYLOAD + 1, UINT32_MAX, UINT64_C(1) << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t file[FILE_BYTES];
        make_file(file);
        for (uint32_t b = 0; b < 8; b++)
            file[SXT_CACHE_HEADER_BYTES - 16 + b] = (uint8_t)(lengths[i] >> 8 * b);
        rehash(file, sizeof file);
        cr_expect_str_eq(parse(&identity, file, sizeof file), "its length is wrong");
    }
}

// ── On disk ──

static char directory[64];
static uint32_t warnings;

static void count_warning(void *user, sxt_log_level level, const char *message) {
    (void)user;
    if (level <= SXT_LOG_WARNING && strstr(message, "pipeline cache") != NULL) warnings++;
}

static const sxt_logger logger = {count_warning, NULL};

static void enter_directory(void) {
    strcpy(directory, "/tmp/sextant-cache-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(chdir(directory), 0);
    warnings = 0;
}

static void leave_directory(void) {
    DIR *dir = opendir(directory);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        remove(entry->d_name);
    closedir(dir);
    rmdir(directory);
}

static uint32_t count_files(void) {
    uint32_t count = 0;
    DIR *dir = opendir(directory);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

TestSuite(cache_file_on_disk, .init = enter_directory, .fini = leave_directory);

Test(cache_file_on_disk, is_written_replaced_and_read_back_whole) {
    for (uint32_t round = 0; round < 3; round++) {
        char payload[100];
        const size_t bytes = 100 - 40 * round; // each time shorter: no tail of the old one
        memset(payload, 'a' + (int)round, bytes);
        cr_assert(sxt_cache_write(&logger, "cache", &identity, payload, bytes));
        size_t read_bytes;
        char *read = sxt_cache_read(&logger, "cache", &identity, &read_bytes);
        cr_assert_not_null(read);
        cr_expect_eq(read_bytes, bytes);
        cr_expect_eq(memcmp(read, payload, bytes), 0);
        free(read);
        cr_expect_eq(count_files(), 1, "no temporary file stays");
    }
    cr_expect_eq(warnings, 0);
}

// A reader that has the old file open keeps reading the old one: the new one came by renaming, not by writing into it.
Test(cache_file_on_disk, is_replaced_in_one_step) {
    cr_assert(sxt_cache_write(&logger, "cache", &identity, "old", 3));
    FILE *old = fopen("cache", "rb");
    cr_assert_not_null(old);
    cr_assert(sxt_cache_write(&logger, "cache", &identity, "new and longer", 14));
    char tail[8] = "";
    cr_assert_eq(fseek(old, SXT_CACHE_HEADER_BYTES, SEEK_SET), 0);
    cr_expect_eq(fread(tail, 1, sizeof tail, old), 3);
    cr_expect_str_eq(tail, "old");
    fclose(old);
}

Test(cache_file_on_disk, a_missing_file_is_no_fault) {
    size_t bytes;
    cr_expect_null(sxt_cache_read(&logger, "nowhere", &identity, &bytes));
    cr_expect_null(sxt_cache_read(&logger, "no/such/directory", &identity, &bytes));
    cr_expect_eq(warnings, 0);
}

Test(cache_file_on_disk, a_damaged_file_is_ignored_with_a_warning) {
    cr_assert(sxt_cache_write(&logger, "cache", &identity, "payload", 7));
    cr_assert_eq(truncate("cache", SXT_CACHE_HEADER_BYTES + 3), 0);
    size_t bytes;
    cr_expect_null(sxt_cache_read(&logger, "cache", &identity, &bytes));
    cr_expect_eq(warnings, 1);
    cr_expect_eq(bytes, 0);
}

Test(cache_file_on_disk, what_is_no_file_is_left_alone) {
    size_t bytes;
    cr_assert_eq(mkdir("directory", 0700), 0);
    cr_assert_eq(mkfifo("pipe", 0600), 0); // opening it would wait for ever
    const char *const paths[] = {"directory", "pipe", "/dev/null"};
    for (size_t i = 0; i < 3; i++) {
        cr_expect_null(sxt_cache_read(&logger, paths[i], &identity, &bytes), "%s", paths[i]);
        cr_expect_not(sxt_cache_write(&logger, paths[i], &identity, "payload", 7), "%s", paths[i]);
    }
    cr_expect_not(sxt_cache_write(&logger, "no/such/directory", &identity, "payload", 7));
    cr_expect_eq(warnings, 7);
    cr_expect_eq(count_files(), 2);
    struct stat status;
    cr_expect(stat("/dev/null", &status) == 0 && S_ISCHR(status.st_mode));
}
