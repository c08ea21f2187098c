// SPDX-License-Identifier: MIT
/*
 * libFuzzer target: any bytes as an image file, loaded into a small machine in each format. A file is taken or
 * refused; refused, it has said why in one line and left guest memory alone, and taken, its entry lies in memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memvirt/image.h>

#define RAM_BYTES (UINT64_C(2) << 20)
#define ROM_BYTES (UINT64_C(64) << 10)
#define ROM_GPA UINT64_C(0xffff0000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct mv_space *memory;
    uint8_t *ram;     /* as the host sees it */
    uint8_t *ram_was; /* a copy from before each load */
    int fd;
    char path[64];
};

static void must(int truth)
{
    if (!truth) {
        abort();
    }
}

static uint8_t *add_memory(struct mv_machine *machine, struct mv_region *root, enum mv_region_kind kind,
                           uint64_t gpa, uint64_t size_bytes)
{
    struct mv_block *block;
    struct mv_block_info info;
    struct mv_region *region;
    const struct mv_block_options block_options = {.name = "block", .size_bytes = size_bytes};
    must(mv_block_create(machine, &block_options, &block, NULL) == 0);
    mv_block_info(block, &info);
    const struct mv_region_options options = {
        .name = "memory",
        .kind = kind,
        .size_bytes = size_bytes,
        .block = block,
    };
    must(mv_region_create(machine, &options, &region, NULL) == 0);
    must(mv_region_add(root, gpa, region, 0, NULL) == 0);
    mv_region_put(region);
    mv_block_put(block);
    return (uint8_t *)(uintptr_t)info.hva.raw;
}

/* Made once, and as old as the process. */
static const struct world *the_world(void)
{
    static struct world world;
    if (world.memory) {
        return &world;
    }
    struct mv_machine *machine;
    struct mv_region *root;
    const struct mv_region_options options = {
        .name = "root",
        .kind = MV_REGION_CONTAINER,
        .size_bytes = MV_SIZE_2_64,
    };
    must(mv_machine_create(&machine, NULL) == 0);
    must(mv_region_create(machine, &options, &root, NULL) == 0);
    world.ram = add_memory(machine, root, MV_REGION_RAM, 0, RAM_BYTES);
    (void)add_memory(machine, root, MV_REGION_ROM, ROM_GPA, ROM_BYTES);
    world.ram_was = calloc(1, RAM_BYTES);
    must(world.ram_was != NULL);
    must(mv_space_create(machine, "memory", root, &world.memory, NULL) == 0);
    world.fd = memfd_create("image", MFD_CLOEXEC);
    must(world.fd >= 0);
    snprintf(world.path, sizeof world.path, "/proc/self/fd/%d", world.fd);
    return &world;
}

static void check_refusal(const struct world *world, int rc, const struct mv_error *err)
{
    must(rc < 0 && err->code == rc && err->reason);
    must(strncmp(err->text, world->path, strlen(world->path)) == 0);
    must(!strchr(err->text, '\n') && strlen(err->text) + 1 < sizeof err->text);
}

static void check_image(const struct world *world, const struct mv_image *image)
{
    struct mv_hold hold;
    must(mv_space_hold(world->memory, image->entry, 1, &hold) == MV_OK);
    mv_hold_release(&hold);
    if (image->entry_mode == MV_ENTRY_PROTECTED) {
        must(image->entry.raw <= UINT32_MAX);
        must(image->info.raw >= 0x1000 && image->info.raw < 640 * 1024);
    }
}

static void load_once(const struct world *world, enum mv_image_format format)
{
    const struct mv_image_options options = {.path = world->path, .format = format, .arguments = "arguments"};
    struct mv_image image;
    struct mv_error err = {0};
    int rc = mv_image_load(world->memory, &options, &image, &err);
    if (rc == 0) {
        check_image(world, &image);
        memcpy(world->ram_was, world->ram, RAM_BYTES);
    } else {
        check_refusal(world, rc, &err);
        must(memcmp(world->ram, world->ram_was, RAM_BYTES) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct world *world = the_world();
    must(ftruncate(world->fd, 0) == 0);
    must(pwrite(world->fd, data, size, 0) == (ssize_t)size);
    load_once(world, MV_IMAGE_AUTO);
    load_once(world, MV_IMAGE_ELF);
    load_once(world, MV_IMAGE_FLAT);
    return 0;
}
