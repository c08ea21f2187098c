// SPDX-License-Identifier: MIT
/*
 * A short run of a fuzz target without libFuzzer, for `./dev test`: each file of its corpus as it is, and then
 * changed at random. usage: NAME-short CORPUS [RUNS]; MEMVIRT_SEED gives the same changes again.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILES_MAX 256
#define SIZE_MAX_BYTES 65536u

struct input {
    uint8_t *data;
    size_t size;
};

static uint64_t random_state;

static size_t random_below(size_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state >> 11) % n;
}

static void must(int truth, const char *what)
{
    if (!truth) {
        fprintf(stderr, "Bail out! %s\n", what);
        exit(1);
    }
}

static struct input read_file(const char *directory, const char *name)
{
    char path[4096];
    struct input in = {.data = malloc(SIZE_MAX_BYTES)};
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    must(file && in.data, path);
    in.size = fread(in.data, 1, SIZE_MAX_BYTES, file);
    fclose(file);
    return in;
}

static int is_file_of_corpus(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static size_t read_corpus(const char *directory, struct input *ret)
{
    struct dirent **names;
    int count = scandir(directory, &names, is_file_of_corpus, alphasort);
    must(count > 0, directory);
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        if (used < FILES_MAX) {
            ret[used++] = read_file(directory, names[i]->d_name);
        }
        free(names[i]);
    }
    free(names);
    return used;
}

/* Parts of some inputs one after the other, with some bytes changed. */
static size_t change(const struct input *inputs, size_t count, uint8_t *ret)
{
    size_t size = 0;
    for (size_t parts = 1 + random_below(12); parts > 0; parts--) {
        const struct input *in = &inputs[random_below(count)];
        size_t skip = random_below(2) ? 0 : random_below(in->size + 1);
        size_t length = in->size - skip < SIZE_MAX_BYTES - size ? in->size - skip : SIZE_MAX_BYTES - size;
        memcpy(ret + size, in->data + skip, length);
        size += length;
    }
    for (size_t n = size == 0 ? 0 : random_below(32); n > 0; n--) {
        size_t at = random_below(size);
        ret[at] = (uint8_t)(random_below(2) ? random_below(256) : ret[at] ^ 1u << random_below(8));
    }
    return size;
}

int main(int argc, char **argv)
{
    static struct input inputs[FILES_MAX];
    must(argc >= 2, "usage: NAME-short CORPUS [RUNS]");
    unsigned long runs = argc > 2 ? strtoul(argv[2], NULL, 0) : 1000;
    const char *seed = getenv("MEMVIRT_SEED");
    random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15u | 1;
    printf("1..1\n# MEMVIRT_SEED=%llu\n", (unsigned long long)random_state);
    fflush(stdout); /* what comes may end the process */
    size_t count = read_corpus(argv[1], inputs);
    for (size_t i = 0; i < count; i++) {
        (void)LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].size);
    }
    uint8_t *changed = malloc(SIZE_MAX_BYTES);
    must(changed != NULL, "out of memory");
    for (unsigned long i = 0; i < runs; i++) {
        (void)LLVMFuzzerTestOneInput(changed, change(inputs, count, changed));
    }
    for (size_t i = 0; i < count; i++) {
        free(inputs[i].data);
    }
    free(changed);
    printf("ok 1 - %zu inputs, %lu changed ones\n", count, runs);
    return 0;
}
