// SPDX-License-Identifier: MIT
/* What is asked of the host for a mapping, and what the host's own files say of it. */
#include "machine/block_test.h"

#include <sys/resource.h>

#define SIZE (4 * MIB)

static void thp_is_asked_for_and_reported(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const enum os_thp policy = os_thp_anonymous();
    if (policy == OS_THP_ABSENT) {
        skip_because("thp_is_asked_for_and_reported", "this kernel has no transparent huge pages");
    }
    const struct {
        enum mv_choice asked;
        bool hg, nh, granted;
    } cases[] = {
        {MV_DEFAULT, false, false, policy == OS_THP_ALWAYS},
        {MV_ON, true, false, policy != OS_THP_NEVER},
        {MV_OFF, false, true, false},
    };
    for (size_t i = 0; i < 3; i++) {
        struct mv_block *block =
            block_with(&rig, &(struct mv_block_options){.size_bytes = SIZE, .thp = cases[i].asked});
        const struct mv_grant grant = info_of(block).thp;
        assert_int_equal(vm_flag(bytes_of(block), "hg"), cases[i].hg);
        assert_int_equal(vm_flag(bytes_of(block), "nh"), cases[i].nh);
        assert_int_equal(grant.asked, cases[i].asked);
        assert_int_equal(grant.granted, cases[i].granted);
        assert_int_equal(grant.why == NULL, cases[i].granted || cases[i].asked == MV_OFF);
        memset(bytes_of(block), 1, SIZE);
        const uint64_t huge = smaps_bytes(bytes_of(block), "AnonHugePages:");
        struct mv_block_usage usage;
        assert_int_equal(mv_block_usage(block, &usage, NULL), 0);
        assert_int_equal(usage.transparent_bytes, huge);
        assert_int_equal(usage.resident_bytes, SIZE);
        if (!grant.granted) {
            assert_int_equal(huge, 0);
        } else if (huge != SIZE) {
            printf("# transparent huge pages were granted, and the host gave %" PRIu64 " bytes\n", huge);
        }
        mv_block_put(block);
    }
    rig_close(&rig);
}

static void thp_that_cannot_be_says_why(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *small = block_with(&rig, &(struct mv_block_options){.size_bytes = 1 << 20, .thp = MV_ON});
    assert_false(info_of(small).thp.granted);
    assert_non_null(info_of(small).thp.why);
    struct mv_block *memfd =
        block_with(&rig, &(struct mv_block_options){.size_bytes = SIZE, .kind = MV_BLOCK_MEMFD, .thp = MV_ON});
    const enum os_thp policy = os_thp_shmem();
    assert_int_equal(info_of(memfd).thp.granted, policy == OS_THP_ALWAYS || policy == OS_THP_ADVISED);
    if (policy == OS_THP_NEVER) {
        assert_non_null(strstr(info_of(memfd).thp.why, "shmem_enabled"));
    }
    char path[] = "/tmp/memvirt-block-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    close(fd);
    struct mv_block *file = block_with(
        &rig, &(struct mv_block_options){.size_bytes = SIZE, .kind = MV_BLOCK_FILE, .path = path, .thp = MV_ON});
    unlink(path);
    assert_false(info_of(file).thp.granted);
    assert_non_null(strstr(info_of(file).thp.why, "file system"));
    mv_block_put(small);
    mv_block_put(memfd);
    mv_block_put(file);
    rig_close(&rig);
}

static void merging_is_asked_for_and_reported(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *plain = block_with(&rig, &(struct mv_block_options){.size_bytes = SIZE});
    assert_false(vm_flag(bytes_of(plain), "mg"));
    assert_false(info_of(plain).mergeable.granted);
    assert_null(info_of(plain).mergeable.why);
    struct mv_block *shared = block_with(
        &rig, &(struct mv_block_options){.size_bytes = SIZE, .kind = MV_BLOCK_MEMFD, .mergeable = MV_ON});
    assert_int_equal(info_of(shared).mergeable.asked, MV_ON);
    assert_false(info_of(shared).mergeable.granted);
    assert_non_null(strstr(info_of(shared).mergeable.why, "private"));
    assert_false(vm_flag(bytes_of(shared), "mg"));
    struct mv_block *merge = block_with(&rig, &(struct mv_block_options){.size_bytes = SIZE, .mergeable = MV_ON});
    const struct mv_grant grant = info_of(merge).mergeable;
    const bool marked = vm_flag(bytes_of(merge), "mg");
    mv_block_put(plain);
    mv_block_put(shared);
    mv_block_put(merge);
    rig_close(&rig);
    if (access("/sys/kernel/mm/ksm/run", F_OK) < 0) {
        assert_false(grant.granted);
        skip_because("merging_is_asked_for_and_reported", "this kernel has no KSM");
    }
    assert_true(marked);
    assert_int_equal(grant.granted, os_ksm_runs());
    assert_int_equal(grant.why == NULL, os_ksm_runs());
}

static void dumps_are_kept_out(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *plain = block_with(&rig, &(struct mv_block_options){.size_bytes = 1});
    struct mv_block *kept = block_with(&rig, &(struct mv_block_options){.size_bytes = 1, .dump = MV_OFF});
    assert_false(vm_flag(bytes_of(plain), "dd"));
    assert_true(info_of(plain).dump.granted);
    assert_true(vm_flag(bytes_of(kept), "dd"));
    assert_false(info_of(kept).dump.granted);
    assert_int_equal(info_of(kept).dump.asked, MV_OFF);
    mv_block_put(plain);
    mv_block_put(kept);
    rig_close(&rig);
}

/* The signal that a child gets for reading the first byte, or 0. */
static int signal_in_child(const unsigned char *bytes)
{
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGSEGV, SIG_DFL); /* and not what a sanitizer has there */
        _exit(*(const volatile unsigned char *)bytes == 5 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        return WTERMSIG(status);
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    return 0;
}

static void children_have_what_they_may(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    for (unsigned i = 0; i < 2; i++) {
        const enum mv_block_kind kind = i ? MV_BLOCK_MEMFD : MV_BLOCK_ANONYMOUS;
        struct mv_block *plain = block_with(&rig, &(struct mv_block_options){.size_bytes = 1, .kind = kind});
        struct mv_block *kept =
            block_with(&rig, &(struct mv_block_options){.size_bytes = 1, .kind = kind, .fork = MV_OFF});
        assert_false(vm_flag(bytes_of(plain), "dc"));
        assert_true(vm_flag(bytes_of(kept), "dc"));
        assert_true(info_of(plain).fork.granted);
        assert_false(info_of(kept).fork.granted);
        bytes_of(plain)[0] = bytes_of(kept)[0] = 5;
        assert_int_equal(signal_in_child(bytes_of(plain)), 0);
        assert_int_equal(signal_in_child(bytes_of(kept)), SIGSEGV);
        mv_block_put(plain);
        mv_block_put(kept);
    }
    rig_close(&rig);
}

/* The policy of the mapping that begins at an address, from numa_maps. */
static void numa_map(const void *address, char policy[64])
{
    FILE *file = fopen("/proc/self/numa_maps", "re");
    policy[0] = '\0';
    if (!file) {
        return;
    }
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0) {
        unsigned long at;
        if (sscanf(line, "%lx %63s", &at, policy) == 2 && at == (unsigned long)(uintptr_t)address) {
            break;
        }
        policy[0] = '\0';
    }
    free(line);
    fclose(file);
}

static void nodes_are_bound_and_reported(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    if (access("/proc/self/numa_maps", R_OK) < 0) {
        skip_because("nodes_are_bound_and_reported", "this kernel has no NUMA");
    }
    const struct {
        enum mv_numa_policy asked;
        const char *text;
    } cases[] = {
        {MV_NUMA_DEFAULT, "default"},
        {MV_NUMA_PREFERRED, "prefer:0"},
        {MV_NUMA_BIND, "bind:0"},
        {MV_NUMA_INTERLEAVE, "interleave:0"},
    };
    for (size_t i = 0; i < 4; i++) {
        const uint64_t nodes = i > 0;
        struct mv_block *block = block_with(
            &rig, &(struct mv_block_options){.size_bytes = SIZE, .numa = cases[i].asked, .numa_nodes = nodes});
        char policy[64];
        bytes_of(block)[0] = 1;
        numa_map(bytes_of(block), policy);
        assert_string_equal(policy, cases[i].text);
        assert_int_equal(info_of(block).numa_asked, cases[i].asked);
        assert_int_equal(info_of(block).numa_granted, cases[i].asked);
        assert_int_equal(info_of(block).numa_nodes_asked, nodes);
        assert_int_equal(info_of(block).numa_nodes_granted, nodes);
        mv_block_put(block);
    }
    rig_close(&rig);
}

/* Node 63 is not on any machine that these tests run on: it is asked for, and not among those granted. */
static void nodes_that_are_not_there_are_not_granted(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    if (access("/sys/devices/system/node/node63", F_OK) == 0 || access("/proc/self/numa_maps", R_OK) < 0) {
        skip_because("nodes_that_are_not_there_are_not_granted", "this host has node 63, or no NUMA");
    }
    const uint64_t both = 1 | UINT64_C(1) << 63;
    struct mv_block *block =
        block_with(&rig, &(struct mv_block_options){.size_bytes = SIZE, .numa = MV_NUMA_BIND, .numa_nodes = both});
    assert_int_equal(info_of(block).numa_nodes_asked, both);
    assert_int_equal(info_of(block).numa_nodes_granted, 1);
    mv_block_put(block);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thp_is_asked_for_and_reported),
        cmocka_unit_test(thp_that_cannot_be_says_why),
        cmocka_unit_test(merging_is_asked_for_and_reported),
        cmocka_unit_test(dumps_are_kept_out),
        cmocka_unit_test(children_have_what_they_may),
        cmocka_unit_test(nodes_are_bound_and_reported),
        cmocka_unit_test(nodes_that_are_not_there_are_not_granted),
    };
    return cmocka_run_group_tests_name("block_advise", tests, NULL, NULL);
}
