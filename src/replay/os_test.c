// SPDX-License-Identifier: MIT
/* The small operating system against a naive one: which process has which page, and who shares it with whom. */
#include <memvirt/replay.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PROCESSES 6u
#define PAGES 48u
#define FRAMES 4096u
#define BASE UINT64_C(0x7f0000200000) /* so that pages lie in two tables of the lowest level */

/* A frame has a number that is never used again; 0 is none. */
struct model {
    bool is_alive[PROCESSES];
    unsigned running;
    unsigned frame[PROCESSES][PAGES];
    bool is_private[PROCESSES][PAGES]; /* writable without a copy */
    unsigned owners[FRAMES];
    unsigned next;
};

struct world {
    struct mv_replay *replay;
    struct model m;
    uint64_t gpa_of[FRAMES];
    unsigned seed;
};

static void feed(struct world *w, mv_trace_record_t record)
{
    struct mv_error err;
    if (mv_replay_feed(w->replay, &record, 1, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static uint64_t address(unsigned page)
{
    return BASE - UINT64_C(4096) * (PAGES / 2) + UINT64_C(4096) * page;
}

/* --- The naive one ----------------------------------------------------------------------------------------- */

static void model_touch(struct model *m, unsigned page, bool is_write)
{
    unsigned p = m->running, frame = m->frame[p][page];
    if (frame != 0 && (!is_write || m->is_private[p][page])) {
        return;
    }
    if (frame != 0 && m->owners[frame] == 1) {
        m->is_private[p][page] = true;
        return;
    }
    if (frame != 0) {
        m->owners[frame]--;
    }
    m->next++;
    assert_true(m->next < FRAMES);
    m->frame[p][page] = m->next;
    m->owners[m->next] = 1;
    m->is_private[p][page] = true;
}

static void model_fork(struct model *m, unsigned child)
{
    m->is_alive[child] = true;
    for (unsigned i = 0; i < PAGES; i++) {
        unsigned frame = m->frame[m->running][i];
        m->frame[child][i] = frame;
        m->owners[frame]++;
        m->is_private[m->running][i] = m->is_private[child][i] = false;
    }
}

static void model_unmap(struct model *m, unsigned process, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        m->owners[m->frame[process][i]]--;
        m->frame[process][i] = 0;
    }
}

static unsigned live_frames(const struct model *m)
{
    unsigned n = 0;
    for (unsigned i = 1; i <= m->next; i++) {
        n += m->owners[i] > 0;
    }
    return n;
}

/* --- Comparing --------------------------------------------------------------------------------------------- */

/* Where the running process has its page: by a read, which must find what the model says is there. */
static void check_page(struct world *w, unsigned page)
{
    unsigned frame = w->m.frame[w->m.running][page];
    struct mv_soft_place place;
    struct mv_soft_outcome outcome;
    enum mv_soft_end end =
        mv_soft_touch(mv_replay_vcpu(w->replay), mv_gva(address(page)), MV_ACCESS_READ, &place, &outcome);
    assert_int_equal(end, frame ? MV_SOFT_DONE : MV_SOFT_FAULT);
    if (!frame) {
        return;
    }
    if (w->gpa_of[frame] == 0) {
        w->gpa_of[frame] = place.gpa.raw + 1;
    }
    assert_int_equal(w->gpa_of[frame], place.gpa.raw + 1);
    for (unsigned other = 1; other <= w->m.next; other++) { /* no two that live are one */
        if (other != frame && w->m.owners[other] > 0) {
            assert_int_not_equal(w->gpa_of[other], place.gpa.raw + 1);
        }
    }
}

static void check(struct world *w)
{
    struct mv_replay_result result;
    mv_replay_result(w->replay, &result);
    assert_int_equal(result.guest_pages, live_frames(&w->m));
    for (unsigned i = 0; i < PAGES; i++) {
        check_page(w, i);
    }
}

/* --- Random steps ------------------------------------------------------------------------------------------- */

static unsigned below(struct world *w, unsigned n)
{
    return (unsigned)rand_r(&w->seed) % n;
}

static void step_unmap(struct world *w)
{
    unsigned first = below(w, PAGES), count = 1 + below(w, PAGES - first);
    feed(w, mv_trace_event(MV_TRACE_LENGTH, UINT64_C(4096) * count));
    feed(w, mv_trace_event(MV_TRACE_UNMAP, address(first)));
    model_unmap(&w->m, w->m.running, first, count);
}

static void step_process(struct world *w)
{
    unsigned p = below(w, PROCESSES);
    if (!w->m.is_alive[p] && below(w, 2)) {
        feed(w, mv_trace_event(MV_TRACE_FORK, p));
        model_fork(&w->m, p);
    } else if (p != w->m.running && w->m.is_alive[p] && below(w, 3) == 0) {
        feed(w, mv_trace_event(MV_TRACE_EXIT, p));
        model_unmap(&w->m, p, 0, PAGES);
        w->m.is_alive[p] = false;
    } else {
        feed(w, mv_trace_event(MV_TRACE_SWITCH, p));
        w->m.is_alive[p] = true;
        w->m.running = p;
    }
}

static void step(struct world *w)
{
    unsigned page = below(w, PAGES), what = below(w, 16);
    if (what == 0) {
        step_unmap(w);
    } else if (what < 4) {
        step_process(w);
    } else {
        bool is_write = below(w, 2);
        feed(w, mv_trace_record(is_write ? MV_TRACE_WRITE : MV_TRACE_READ, 3, address(page)));
        model_touch(&w->m, page, is_write);
    }
}

static void end_all(struct world *w)
{
    struct mv_replay_result result;
    for (unsigned p = 0; p < PROCESSES; p++) {
        if (w->m.is_alive[p] && p != w->m.running) {
            feed(w, mv_trace_event(MV_TRACE_EXIT, p));
        }
    }
    feed(w, mv_trace_event(MV_TRACE_LENGTH, UINT64_C(1) << 48));
    feed(w, mv_trace_event(MV_TRACE_UNMAP, 0));
    mv_replay_result(w->replay, &result);
    assert_int_equal(result.guest_pages, 0);
    assert_int_equal(result.guest_tables, 1); /* the root of who runs */
    assert_int_equal(result.processes, 1);
}

static void random_in(const char *mmu, const char *tlb, unsigned seed)
{
    struct mv_replay_options options = {.mmu = mmu, .tlb = tlb, .memory_bytes = UINT64_C(1) << 30};
    struct mv_error err;
    print_message("# %s: seed %u\n", mmu, seed);
    struct world *w = calloc(1, sizeof *w);
    w->seed = seed;
    w->m.is_alive[0] = true;
    w->m.is_private[0][0] = false;
    if (mv_replay_create(&options, &w->replay, &err) < 0) {
        fail_msg("%s", err.text);
    }
    for (unsigned i = 0; i < 1500; i++) {
        step(w);
        check(w);
    }
    end_all(w);
    mv_replay_destroy(w->replay);
    free(w);
}

static void processes_have_what_a_naive_one_says(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    random_in("native", NULL, seed);
    random_in("ept", NULL, seed + 1);
    random_in("npt", "L1=4x2:L2=16x4", seed + 2);
}

/* What is between the halves of the addresses is refused, and what is in the other half stays. */
static void unmapping_stays_in_its_half(void **state)
{
    (void)state;
    struct mv_replay_options options = {.mmu = "native"};
    struct mv_replay *replay;
    struct mv_replay_result result;
    const mv_trace_record_t records[] = {
        mv_trace_record(MV_TRACE_WRITE, 3, UINT64_C(0x7ffffffff000)),
        mv_trace_record(MV_TRACE_WRITE, 3, UINT64_C(0xffff800000000000)),
        mv_trace_event(MV_TRACE_LENGTH, UINT64_C(1) << 50),
        mv_trace_event(MV_TRACE_UNMAP, UINT64_C(0x800000000000)),
        mv_trace_event(MV_TRACE_UNMAP, UINT64_C(0x7fffffffe000)),
    };
    assert_int_equal(mv_replay_create(&options, &replay, NULL), 0);
    assert_int_equal(mv_replay_feed(replay, records, 4, NULL), 0);
    mv_replay_result(replay, &result);
    assert_int_equal(result.guest_pages, 2);
    assert_int_equal(result.bad_references, 1);
    assert_int_equal(mv_replay_feed(replay, records + 4, 1, NULL), 0);
    mv_replay_result(replay, &result);
    assert_int_equal(result.guest_pages, 1);
    mv_replay_destroy(replay);
}

static void too_many_processes_are_refused(void **state)
{
    (void)state;
    struct mv_replay_options options = {.mmu = "native"};
    struct mv_replay *replay;
    struct mv_error err = {0};
    int rc = 0;
    assert_int_equal(mv_replay_create(&options, &replay, &err), 0);
    for (uint64_t p = 0; p < 70000 && rc == 0; p++) {
        mv_trace_record_t record = mv_trace_event(MV_TRACE_SWITCH, p);
        rc = mv_replay_feed(replay, &record, 1, &err);
    }
    assert_true(rc < 0);
    assert_string_equal(err.reason, "too-many-processes");
    mv_replay_destroy(replay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_have_what_a_naive_one_says),
        cmocka_unit_test(unmapping_stays_in_its_half),
        cmocka_unit_test(too_many_processes_are_refused),
    };
    return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}
