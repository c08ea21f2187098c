// SPDX-License-Identifier: MIT
/* Giving pages back to the host, and who may. */
#include <assert.h>
#include <errno.h>
#include <memvirt/discard.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/os_map.h"
#include "machine/block.h"
#include "machine/machine.h"

/* Bit n: claim n excludes it. */
static const unsigned excluded_by[MV_DISCARD_CLAIMS] = {
    [MV_DISCARD_DISABLE] = 1U << MV_DISCARD_REQUIRE | 1U << MV_DISCARD_REQUIRE_COORDINATED,
    [MV_DISCARD_DISABLE_UNCOORDINATED] = 1U << MV_DISCARD_REQUIRE,
    [MV_DISCARD_REQUIRE] = 1U << MV_DISCARD_DISABLE | 1U << MV_DISCARD_DISABLE_UNCOORDINATED,
    [MV_DISCARD_REQUIRE_COORDINATED] = 1U << MV_DISCARD_DISABLE,
};

static const char *const claim_texts[MV_DISCARD_CLAIMS] = {
    [MV_DISCARD_DISABLE] = "discarding is disabled",
    [MV_DISCARD_DISABLE_UNCOORDINATED] = "discarding without a manager is disabled",
    [MV_DISCARD_REQUIRE] = "somebody discards at will",
    [MV_DISCARD_REQUIRE_COORDINATED] = "somebody discards through a manager",
};

static int claim_for(struct mv_machine *machine, enum mv_discard_claim claim, const char *name,
                     struct mv_error *err)
{
    struct block_table *table = &machine->blocks;
    assert((unsigned)claim < MV_DISCARD_CLAIMS);
    int rc = 0;
    pthread_mutex_lock(&table->lock);
    for (unsigned other = 0; other < MV_DISCARD_CLAIMS && rc == 0; other++) {
        if (table->claims[other] > 0 && (excluded_by[claim] & 1U << other)) {
            rc = error_set(err, -EBUSY, "claimed", name, "%s%s: %s", name ? "block " : "machine", name ? name : "",
                           claim_texts[other]);
        }
    }
    table->claims[claim] += rc == 0;
    pthread_mutex_unlock(&table->lock);
    return rc;
}

int mv_discard_claim(struct mv_machine *machine, enum mv_discard_claim claim, struct mv_error *err)
{
    return claim_for(machine, claim, NULL, err);
}

void mv_discard_unclaim(struct mv_machine *machine, enum mv_discard_claim claim)
{
    struct block_table *table = &machine->blocks;
    pthread_mutex_lock(&table->lock);
    assert((unsigned)claim < MV_DISCARD_CLAIMS && table->claims[claim] > 0);
    table->claims[claim]--;
    pthread_mutex_unlock(&table->lock);
}

bool mv_discard_is_disabled(struct mv_machine *machine)
{
    struct block_table *table = &machine->blocks;
    pthread_mutex_lock(&table->lock);
    bool disabled = table->claims[MV_DISCARD_DISABLE] > 0 || table->claims[MV_DISCARD_DISABLE_UNCOORDINATED] > 0;
    pthread_mutex_unlock(&table->lock);
    return disabled;
}

int block_check_discard(const struct mv_block *block, struct mv_error *err)
{
    const char *name = block->name;
    if (block->kind == MV_BLOCK_CALLER) {
        return error_set(err, -EOPNOTSUPP, "caller-memory", name,
                         "block %s: its memory is the caller's to discard", name);
    }
    if (block->readonly) {
        return error_set(err, -EOPNOTSUPP, "readonly", name, "block %s: it is read-only", name);
    }
    if (!block->shared && !block->own_bytes) {
        return error_set(err, -EOPNOTSUPP, "private-file", name,
                         "block %s: to discard it would destroy bytes of a file that it may not change", name);
    }
    return 0;
}

static int give_back(struct mv_block *block, uint64_t offset, uint64_t length)
{
    void *host = block->host + offset;
    int rc = 0;
    if (block->fd >= 0) {
        rc = os_punch(block->fd, block->fd_offset_bytes + offset, length);
    } else if (block->shared) {
        return os_advise(host, length, MADV_REMOVE);
    }
    if (rc == 0 && !block->shared) {
        /* The private copies, which a hole in the file leaves alone. */
        rc = os_advise(host, length, MADV_DONTNEED);
    }
    return rc;
}

int block_discard(struct mv_block *block, uint64_t offset, uint64_t length, struct mv_error *err)
{
    int rc = block_check_discard(block, err);
    if (rc == 0) {
        rc = block_check_range(block, offset, length, block->max_size_bytes, err);
    }
    if (rc < 0) {
        return rc;
    }
    block_table_discard_begin(block, offset, length);
    rc = give_back(block, offset, length);
    block_table_discard_end(block, offset, length);
    if (rc < 0) {
        return error_host(err, rc, block->name,
                          "block %s: the host does not take back 0x%" PRIx64 " bytes at 0x%" PRIx64, block->name,
                          length, offset);
    }
    return 0;
}

int block_claim_discard(const struct mv_block *block, struct mv_error *err)
{
    return claim_for(block->machine, MV_DISCARD_REQUIRE, block->name, err);
}

int mv_block_discard(struct mv_block *block, uint64_t offset_bytes, uint64_t length_bytes, struct mv_error *err)
{
    if (block->manager) {
        return error_set(err, -EBUSY, "managed", block->name, "block %s: its manager alone discards of it",
                         block->name);
    }
    int rc = block_claim_discard(block, err);
    if (rc == 0) {
        rc = block_discard(block, offset_bytes, length_bytes, err);
        mv_discard_unclaim(block->machine, MV_DISCARD_REQUIRE);
    }
    return rc;
}
