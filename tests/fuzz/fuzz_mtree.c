// SPDX-License-Identifier: MIT
/*
 * libFuzzer target: any bytes as a dump of `info mtree`. It is taken or refused; refused, it has said why in one
 * line. Taken, all that can be asked of it has an answer, it does not differ from itself, and what it prints can
 * be read again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memvirt/mtree.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    char *bytes;
    size_t length;
    size_t capacity;
};

static void must(int truth)
{
    if (!truth) {
        abort();
    }
}

static void collect(void *opaque, const char *line)
{
    struct text *text = opaque;
    size_t length = strlen(line);
    must(!strchr(line, '\n'));
    while (text->capacity - text->length < length + 1) {
        text->capacity = text->capacity ? text->capacity * 2 : 4096;
        text->bytes = realloc(text->bytes, text->capacity);
        must(text->bytes != NULL);
    }
    memcpy(text->bytes + text->length, line, length);
    text->bytes[text->length + length] = '\n';
    text->length += length + 1;
}

static void check_refusal(int rc, const struct mv_error *err)
{
    must(rc < 0 && err->code == rc && err->reason && err->text[0]);
    must(!strchr(err->text, '\n') && strlen(err->text) + 1 < sizeof err->text);
}

/* With disabled regions, those that were made up too. */
static struct text print(const struct mv_mtree *mtree)
{
    struct text text = {0};
    unsigned flags = MV_MTREE_DISABLED | mv_mtree_flags(mtree);
    must(mv_mtree_print(mv_mtree_machine(mtree), flags, NULL, collect, &text, NULL) == 0);
    return text;
}

static void ask_all(const struct mv_mtree *mtree)
{
    static const uint64_t addresses[] = {0, 0x1000, 0xc8000, 0xfee00000, UINT64_MAX};
    struct mv_machine *machine = mv_mtree_machine(mtree);
    struct text text = {0};
    size_t count;
    mv_mtree_notes(mtree, collect, &text);
    must(mv_mtree_print(machine, MV_MTREE_FLAT | MV_MTREE_DISPATCH | MV_MTREE_OWNER, NULL, collect, &text, NULL) ==
         0);
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        must(mv_mtree_at(machine, NULL, mv_gpa(addresses[i]), collect, &text, NULL) == 0);
    }
    must(mv_mtree_diff(machine, machine, collect, &text, &count, NULL) == 0 && count == 0);
    free(text.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mv_mtree *mtree = NULL, *again = NULL;
    struct mv_error err = {0};
    int rc = mv_mtree_import((const char *)data, size, &mtree, &err);
    if (rc < 0) {
        check_refusal(rc, &err);
        return 0;
    }
    ask_all(mtree);
    struct text first = print(mtree);
    rc = mv_mtree_import(first.bytes, first.length, &again, &err);
    if (rc < 0) { /* such as a name that looks like the end of a line */
        check_refusal(rc, &err);
    } else {
        free(print(again).bytes);
    }
    mv_mtree_destroy(again);
    mv_mtree_destroy(mtree);
    free(first.bytes);
    return 0;
}
