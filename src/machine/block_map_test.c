// SPDX-License-Identifier: MIT
#include "machine/block_test.h"

#include <dirent.h>
#include <sys/stat.h>

static char directory[] = "/tmp/memvirt-block-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory);
}

/* A path in the directory of this run; static storage. */
static const char *in_directory(const char *name)
{
    static char path[100];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void make_file(const char *path, uint64_t size_bytes, mode_t mode)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    for (uint64_t i = 0; i < size_bytes; i += 4096) {
        char text[4096];
        memset(text, 'a' + (int)(i / 4096), sizeof text);
        uint64_t n = size_bytes - i < sizeof text ? size_bytes - i : sizeof text;
        assert_int_equal(write(fd, text, n), n);
    }
    close(fd);
}

static uint64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) < 0 ? UINT64_MAX : (uint64_t)st.st_size;
}

static char byte_in(const char *path, off_t at)
{
    char c = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, &c, 1, at), 1);
    close(fd);
    return c;
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

static void shared_and_private_are_what_the_kernel_says(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const struct {
        enum mv_block_kind kind;
        enum mv_choice asked;
        bool shared;
    } cases[] = {
        {MV_BLOCK_ANONYMOUS, MV_DEFAULT, false}, {MV_BLOCK_ANONYMOUS, MV_OFF, false},
        {MV_BLOCK_ANONYMOUS, MV_ON, true},       {MV_BLOCK_MEMFD, MV_DEFAULT, true},
        {MV_BLOCK_MEMFD, MV_ON, true},           {MV_BLOCK_MEMFD, MV_OFF, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mv_block *block = block_with(
            &rig, &(struct mv_block_options){.size_bytes = 1, .kind = cases[i].kind, .shared = cases[i].asked});
        assert_int_equal(info_of(block).shared, cases[i].shared);
        assert_int_equal(vm_flag(bytes_of(block), "sh"), cases[i].shared);
        /* A child's write is seen in shared memory only. */
        pid_t child = fork();
        if (child == 0) {
            bytes_of(block)[0] = 9;
            _exit(0);
        }
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_int_equal(bytes_of(block)[0], cases[i].shared ? 9 : 0);
        mv_block_put(block);
    }
    rig_close(&rig);
}

static void a_memfd_cannot_change_its_size(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *block = block_with(&rig, &(struct mv_block_options){.size_bytes = 1, .kind = MV_BLOCK_MEMFD});
    int fd = info_of(block).fd;
    assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 1 << 20), -1);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    mv_block_put(block);
    rig_close(&rig);
}

static void reservation_is_what_the_kernel_says(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const unsigned overcommit = os_overcommit();
    const struct {
        enum mv_block_kind kind;
        enum mv_choice asked;
        bool granted;
        bool says_why;
    } cases[] = {
        {MV_BLOCK_ANONYMOUS, MV_DEFAULT, overcommit == 2, overcommit == 2},
        {MV_BLOCK_ANONYMOUS, MV_OFF, overcommit == 2, overcommit == 2},
        {MV_BLOCK_ANONYMOUS, MV_ON, true, overcommit != 2},
        {MV_BLOCK_MEMFD, MV_DEFAULT, false, false},
        {MV_BLOCK_MEMFD, MV_ON, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mv_block *block = block_with(
            &rig, &(struct mv_block_options){.size_bytes = 1, .kind = cases[i].kind, .reserve = cases[i].asked});
        const struct mv_grant grant = info_of(block).reserve;
        assert_int_equal(grant.asked, cases[i].asked);
        assert_int_equal(grant.granted, cases[i].granted);
        assert_int_equal(grant.why != NULL, cases[i].says_why);
        assert_int_equal(vm_flag(bytes_of(block), "ac"), cases[i].granted);
        mv_block_put(block);
    }
    rig_close(&rig);
}

static void host_addresses_are_aligned(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *blocks[4];
    for (size_t i = 0; i < 4; i++) {
        blocks[i] = block_with(&rig, &(struct mv_block_options){.size_bytes = 3 << 20});
        assert_true(is_aligned(info_of(blocks[i]).hva.raw, os_thp_size()));
    }
    struct mv_block *more =
        block_with(&rig, &(struct mv_block_options){.size_bytes = 1, .align_bytes = UINT64_C(1) << 30});
    assert_true(is_aligned(info_of(more).hva.raw, UINT64_C(1) << 30));
    /* Behind each is a page that cannot be touched. */
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], bytes_of(blocks[0]) + (3 << 20) - 1, 1), 1);
    assert_int_equal(write(fds[1], bytes_of(blocks[0]) + (3 << 20), 1), -1);
    assert_int_equal(errno, EFAULT);
    close(fds[0]);
    close(fds[1]);
    for (size_t i = 0; i < 4; i++) {
        mv_block_put(blocks[i]);
    }
    mv_block_put(more);
    rig_close(&rig);
}

static void a_shared_file_gets_what_is_written(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const char *path = in_directory("shared");
    make_file(path, 3 * 4096, 0600);
    struct mv_block *block = block_with(&rig, &(struct mv_block_options){.kind = MV_BLOCK_FILE,
                                                                         .size_bytes = 4096,
                                                                         .path = path,
                                                                         .file_open = MV_FILE_OPEN,
                                                                         .file_offset_bytes = 4096,
                                                                         .shared = MV_ON});
    const struct mv_block_info info = info_of(block);
    assert_int_equal(info.kind, MV_BLOCK_FILE);
    assert_int_equal(info.fd_offset_bytes, 4096);
    assert_true(info.fd >= 0);
    assert_true(info.shared);
    assert_false(info.readonly);
    assert_int_equal(bytes_of(block)[0], 'b');
    bytes_of(block)[1] = 'X';
    mv_block_put(block);
    assert_int_equal(byte_in(path, 4097), 'X');
    assert_int_equal(byte_in(path, 4096), 'b');
    assert_int_equal(file_size(path), 3 * 4096);
    unlink(path);
    rig_close(&rig);
}

static void a_private_file_stays_as_it_is(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const char *path = in_directory("private");
    make_file(path, 4096, 0400);
    struct mv_block *block =
        block_with(&rig, &(struct mv_block_options){.kind = MV_BLOCK_FILE, .size_bytes = 4096, .path = path});
    assert_false(info_of(block).shared);
    assert_int_equal(bytes_of(block)[0], 'a');
    bytes_of(block)[0] = 'X';
    assert_int_equal(bytes_of(block)[0], 'X');
    mv_block_put(block);
    assert_int_equal(byte_in(path, 0), 'a');
    unlink(path);
    rig_close(&rig);
}

static void a_readonly_file_cannot_be_written(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const char *path = in_directory("readonly");
    make_file(path, 4096, 0400);
    for (unsigned shared = 0; shared < 2; shared++) {
        struct mv_block *block = block_with(&rig, &(struct mv_block_options){.kind = MV_BLOCK_FILE,
                                                                             .size_bytes = 100,
                                                                             .path = path,
                                                                             .shared = shared ? MV_ON : MV_OFF,
                                                                             .readonly = MV_ON,
                                                                             .prealloc = MV_ON});
        assert_true(info_of(block).readonly);
        assert_false(vm_flag(bytes_of(block), "wr"));
        assert_true(vm_flag(bytes_of(block), "rd"));
        assert_int_equal(fcntl(info_of(block).fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        assert_int_equal(info_of(block).prealloc_bytes, 4096);
        assert_int_equal(bytes_of(block)[0], 'a');
        struct mv_error err;
        assert_int_equal(mv_block_discard(block, 0, 4096, &err), -EOPNOTSUPP);
        assert_string_equal(err.reason, "readonly");
        mv_block_put(block);
    }
    unlink(path);
    rig_close(&rig);
}

/* Neither a guest, nor a loader, nor the library itself stores to what the host cannot write. */
static void ram_of_a_readonly_block_is_rom(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const char *path = in_directory("rom");
    make_file(path, 4096, 0400);
    struct mv_block *block = block_with(
        &rig, &(struct mv_block_options){.kind = MV_BLOCK_FILE, .size_bytes = 1, .path = path, .readonly = MV_ON});
    static const enum mv_region_kind kinds[] = {MV_REGION_RAM, MV_REGION_ROM, MV_REGION_RAM_DEVICE};
    for (size_t i = 0; i < 3; i++) {
        struct mv_region *region =
            make(rig.machine,
                 &(struct mv_region_options){.name = "r", .kind = kinds[i], .size_bytes = 4096, .block = block});
        assert_int_equal(mv_region_add(rig.root, 0x1000, region, 0, NULL), 0);
        char c = 0;
        const mv_gpa_t gpa = mv_gpa(0x1234);
        assert_int_equal(mv_space_read(rig.space, gpa, &c, 1, MV_ATTRS_NONE), MV_OK);
        assert_int_equal(c, 'a');
        assert_int_equal(mv_space_write(rig.space, gpa, "x", 1, MV_ATTRS_NONE), MV_DECODE_ERROR);
        assert_int_equal(mv_space_write_rom(rig.space, gpa, "x", 1), MV_DECODE_ERROR);
        assert_int_equal(mv_region_set_readonly(region, false, NULL), 0);
        assert_int_equal(mv_space_write(rig.space, gpa, "x", 1, MV_ATTRS_NONE), MV_DECODE_ERROR);
        if (kinds[i] == MV_REGION_RAM) {
            assert_string_equal(mv_region_type(region), "rom");
        }
        assert_int_equal(mv_region_remove(region, NULL), 0);
        mv_region_put(region);
    }
    mv_block_put(block);
    unlink(path);
    rig_close(&rig);
}

static void files_are_made_as_asked(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const char *path = in_directory("new");
    struct mv_block_options o = {
        .kind = MV_BLOCK_FILE, .size_bytes = 5000, .path = path, .file_offset_bytes = 4096};

    o.file_open = MV_FILE_OPEN;
    assert_refused(&rig, &o, -ENOENT, "host", path);
    o.file_open = MV_FILE_OPEN_OR_CREATE;
    o.readonly = MV_ON;
    assert_refused(&rig, &o, -ENOENT, "host", path);
    o.file_open = MV_FILE_CREATE;
    assert_refused(&rig, &o, -EINVAL, "bad-block", "made for it");
    assert_int_equal(file_size(path), UINT64_MAX);
    o.readonly = MV_DEFAULT;
    o.file_open = MV_FILE_OPEN_OR_CREATE;
    struct mv_block *block = block_with(&rig, &o);
    assert_int_equal(file_size(path), 3 * 4096);
    mv_block_put(block);
    assert_int_equal(file_size(path), 3 * 4096);
    o.file_open = MV_FILE_CREATE;
    assert_refused(&rig, &o, -EEXIST, "host", path);
    unlink(path);
    block = block_with(&rig, &o);
    mv_block_put(block);

    /* An empty file is made longer; one that has something in it is not. */
    o.file_open = MV_FILE_OPEN;
    assert_int_equal(truncate(path, 0), 0);
    block = block_with(&rig, &o);
    assert_int_equal(file_size(path), 3 * 4096);
    mv_block_put(block);
    assert_int_equal(truncate(path, 3 * 4096 - 1), 0);
    assert_refused(&rig, &o, -EINVAL, "file-too-short", "12287 bytes, and 12288 are needed");
    o.readonly = MV_ON;
    assert_int_equal(truncate(path, 0), 0);
    assert_refused(&rig, &o, -EINVAL, "file-too-short", path);
    o.readonly = MV_DEFAULT;

    o.file_offset_bytes = 100;
    assert_refused(&rig, &o, -EINVAL, "bad-block", "offset in the file");
    o.file_offset_bytes = TOP - 4095;
    assert_refused(&rig, &o, -EINVAL, "bad-size", "beyond 2^64");
    o.file_offset_bytes = INT64_MAX - 4095;
    assert_refused(&rig, &o, -EFBIG, "host", "enlarge");
    o.file_offset_bytes = 0;
    o.page_size_bytes = 2 << 20;
    assert_refused(&rig, &o, -EINVAL, "bad-block", "2048 KiB, and they are of 4 KiB");
    o.page_size_bytes = 0;
    o.path = "/dev/null";
    assert_refused(&rig, &o, -EINVAL, "bad-block", "not a regular file");
    unlink(path);
    rig_close(&rig);
}

static bool never(void *opaque, uint64_t done, uint64_t total)
{
    (void)opaque, (void)done, (void)total;
    return false;
}

/* A block that is not made leaves no file, no descriptor and no mapping behind. */
static void failures_leave_nothing(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const char *path = in_directory("undone");
    const unsigned before = open_descriptors();
    const struct mv_block_options impossible = {
        .kind = MV_BLOCK_FILE, .size_bytes = UINT64_C(1) << 62, .path = path};
    const struct mv_block_options unbound = {.kind = MV_BLOCK_FILE,
                                             .size_bytes = 4096,
                                             .path = path,
                                             .numa = MV_NUMA_BIND,
                                             .numa_nodes = UINT64_C(1) << 63};
    const struct mv_block_options cancelled = {.kind = MV_BLOCK_FILE,
                                               .size_bytes = 128 << 20,
                                               .path = path,
                                               .prealloc = MV_ON,
                                               .populate = {.progress = never}};
    struct mv_error err;
    struct mv_block *block = NULL;
    assert_true(mv_block_create(rig.machine, &impossible, &block, &err) < 0);
    assert_int_equal(file_size(path), UINT64_MAX);
    assert_refused(&rig, &unbound, -EINVAL, "host", "NUMA");
    assert_int_equal(file_size(path), UINT64_MAX);
    assert_refused(&rig, &cancelled, -ECANCELED, "cancelled", "of 134217728 bytes were populated");
    assert_int_equal(file_size(path), UINT64_MAX);
    assert_int_equal(open_descriptors(), before);

    /* What was there before stays. */
    make_file(path, 0, 0600);
    assert_refused(&rig, &cancelled, -ECANCELED, "cancelled", "");
    assert_int_not_equal(file_size(path), UINT64_MAX);
    unlink(path);
    rig_close(&rig);
}

static void a_directory_gets_a_file_without_a_name(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *block =
        block_with(&rig, &(struct mv_block_options){.kind = MV_BLOCK_FILE, .size_bytes = 9000, .path = directory});
    struct stat st;
    assert_int_equal(fstat(info_of(block).fd, &st), 0);
    assert_int_equal(st.st_nlink, 0);
    assert_int_equal(st.st_size, 3 * 4096);
    bytes_of(block)[8999] = 1;
    mv_block_put(block); /* and remove_directory() sees that nothing is left */
    rig_close(&rig);
}

static void the_callers_memory_stays(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const uint64_t page = os_page_size();
    unsigned char *memory = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memory[page] = 7;
    const struct mv_block_options options = {
        .kind = MV_BLOCK_CALLER, .memory = memory, .size_bytes = 3 * page, .reserve = MV_ON, .dump = MV_OFF};
    struct mv_block *block = block_with(&rig, &options);
    assert_ptr_equal(bytes_of(block), memory);
    assert_int_equal(bytes_of(block)[page], 7);
    assert_false(info_of(block).reserve.granted);
    assert_non_null(info_of(block).reserve.why);
    assert_true(vm_flag(memory, "dd"));
    struct mv_error err;
    assert_int_equal(mv_block_discard(block, 0, page, &err), -EOPNOTSUPP);
    assert_string_equal(err.reason, "caller-memory");
    assert_string_equal(err.object, "b");
    mv_block_put(block);
    assert_int_equal(memory[page], 7);

    munmap(memory + 2 * page, page);
    assert_refused(&rig, &options, -EINVAL, "bad-memory", "not all mapped");
    munmap(memory, 4 * page);
    const struct mv_block_options beyond = {
        .kind = MV_BLOCK_CALLER, .memory = (void *)(uintptr_t)(TOP - 4095), .size_bytes = page};
    assert_refused(&rig, &beyond, -EINVAL, "bad-memory", "not all mapped");
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_and_private_are_what_the_kernel_says),
        cmocka_unit_test(a_memfd_cannot_change_its_size),
        cmocka_unit_test(reservation_is_what_the_kernel_says),
        cmocka_unit_test(host_addresses_are_aligned),
        cmocka_unit_test(a_shared_file_gets_what_is_written),
        cmocka_unit_test(a_private_file_stays_as_it_is),
        cmocka_unit_test(a_readonly_file_cannot_be_written),
        cmocka_unit_test(ram_of_a_readonly_block_is_rom),
        cmocka_unit_test(files_are_made_as_asked),
        cmocka_unit_test(failures_leave_nothing),
        cmocka_unit_test(a_directory_gets_a_file_without_a_name),
        cmocka_unit_test(the_callers_memory_stays),
    };
    return cmocka_run_group_tests_name("block_map", tests, make_directory, remove_directory);
}
