// SPDX-License-Identifier: MIT
#include "dev/apic.h"

#include "dev/dev_test.h"

#define VCPUS 4

#define ID 0x20
#define VERSION 0x30
#define TPR 0x80
#define PPR 0xa0
#define EOI 0xb0
#define LDR 0xd0
#define DFR 0xe0
#define SPIV 0xf0
#define ISR 0x100
#define ICR_LOW 0x300
#define ICR_HIGH 0x310
#define LVT_TIMER 0x320
#define TMICT 0x380
#define TMCCT 0x390

#define INIT 0x500
#define STARTUP 0x600
#define FIXED 0x000
#define NMI 0x400
#define LOGICAL 0x800
#define PENDING 0x1000
#define ASSERT 0x4000
#define LEVEL 0x8000
#define SELF 0x40000
#define ALL 0x80000
#define OTHERS 0xc0000

struct fixture {
    struct rig rig;
    unsigned inits; /* bit n: vCPU n got one */
    unsigned startups;
    unsigned calls;
    uint8_t vector;
};

static void note_init(void *opaque, unsigned vcpu)
{
    struct fixture *f = opaque;
    f->inits |= 1U << vcpu;
    f->calls++;
}

static void note_startup(void *opaque, unsigned vcpu, uint8_t vector)
{
    struct fixture *f = opaque;
    f->startups |= 1U << vcpu;
    f->vector = vector;
    f->calls++;
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct mv_region *apic;
    struct mv_error err;
    fixture = (struct fixture){0};
    rig_open(&fixture.rig);
    const struct apic_options options = {
        .name = "apic",
        .size_bytes = APIC_SIZE,
        .vcpus = VCPUS,
        .init = note_init,
        .startup = note_startup,
        .opaque = &fixture,
    };
    assert_int_equal(apic_create(fixture.rig.machine, &options, &apic, &err), 0);
    rig_show(&fixture.rig, apic);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rig_close(&f->rig);
    return 0;
}

static void send(struct fixture *f, int vcpu, uint32_t high, uint32_t low)
{
    f->inits = f->startups = f->calls = 0;
    rig_write_as(&f->rig, vcpu, ICR_HIGH, 4, high);
    rig_write_as(&f->rig, vcpu, ICR_LOW, 4, low);
}

static void id_is_who_asks(void **state)
{
    struct fixture *f = *state;
    for (int vcpu = 0; vcpu < VCPUS; vcpu++) {
        rig_write_as(&f->rig, vcpu, ID, 4, 0x77000000);
        assert_int_equal(rig_read_as(&f->rig, vcpu, ID, 4), (uint32_t)vcpu << 24);
    }
    assert_int_equal(rig_read_as(&f->rig, -1, ID, 4), 0);
    assert_int_equal(rig_read_as(&f->rig, VCPUS, VERSION, 4), 0); /* a vCPU too many has no APIC */
}

static void version_is_constant(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, VERSION, 4, 0);
    assert_int_equal(rig_read(&f->rig, VERSION, 4), 0x00050014);
}

static void reset_values(void **state)
{
    struct fixture *f = *state;
    for (int vcpu = 0; vcpu < VCPUS; vcpu++) {
        assert_int_equal(rig_read_as(&f->rig, vcpu, DFR, 4), 0xffffffff);
        assert_int_equal(rig_read_as(&f->rig, vcpu, SPIV, 4), 0xff);
        assert_int_equal(rig_read_as(&f->rig, vcpu, LVT_TIMER, 4), 0x10000);
        assert_int_equal(rig_read_as(&f->rig, vcpu, LDR, 4), 0);
    }
}

static void each_vcpu_has_storage_of_its_own(void **state)
{
    struct fixture *f = *state;
    static const uint64_t storage[] = {TPR,   LDR,   DFR,   SPIV,  0x2f0, ICR_HIGH, 0x320,
                                       0x330, 0x340, 0x350, 0x360, 0x370, TMICT,    0x3e0};
    for (size_t i = 0; i < sizeof storage / sizeof storage[0]; i++) {
        for (int vcpu = 0; vcpu < VCPUS; vcpu++) {
            rig_write_as(&f->rig, vcpu, storage[i], 4, 0x1000 * (unsigned)(i + 1) + (unsigned)vcpu);
        }
    }
    for (size_t i = 0; i < sizeof storage / sizeof storage[0]; i++) {
        for (int vcpu = 0; vcpu < VCPUS; vcpu++) {
            assert_int_equal(rig_read_as(&f->rig, vcpu, storage[i], 4),
                             0x1000 * (unsigned)(i + 1) + (unsigned)vcpu);
        }
    }
    assert_int_equal(rig_read_as(&f->rig, 1, PPR, 4), 0x1001); /* follows TPR */
}

static void the_rest_reads_zero(void **state)
{
    struct fixture *f = *state;
    static const uint64_t rest[] = {0x00, EOI, ISR, 0x280, TMCCT, 0x3f0, 0x400, 0xff0, 0x24, 0x304};
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        rig_write(&f->rig, rest[i], 4, 0xffffffff);
        assert_int_equal(rig_read(&f->rig, rest[i], 4), 0);
    }
    rig_write(&f->rig, TPR + 4, 4, 0xffffffff);
    assert_int_equal(rig_read(&f->rig, TPR, 4), 0);
    assert_int_equal(f->calls, 0);
}

static void init_and_startup_go_to_the_destination(void **state)
{
    struct fixture *f = *state;
    send(f, 0, 2U << 24, INIT | ASSERT);
    assert_int_equal(f->inits, 1 << 2);
    assert_int_equal(f->calls, 1);
    send(f, 0, 3U << 24, STARTUP | 0x9a);
    assert_int_equal(f->startups, 1 << 3);
    assert_int_equal(f->calls, 1);
    assert_int_equal(f->vector, 0x9a);
    send(f, 0, 0xffU << 24, INIT | ASSERT);
    assert_int_equal(f->inits, 0xf);
    send(f, 0, 77U << 24, INIT | ASSERT); /* nobody */
    assert_int_equal(f->calls, 0);
    assert_int_equal(apic_ignored_ipis(f->rig.device), 0);
}

static void shorthands_override_the_destination(void **state)
{
    struct fixture *f = *state;
    send(f, 1, 3U << 24, INIT | ASSERT | SELF);
    assert_int_equal(f->inits, 1 << 1);
    send(f, 1, 3U << 24, STARTUP | ALL);
    assert_int_equal(f->startups, 0xf);
    send(f, 1, 3U << 24, STARTUP | OTHERS);
    assert_int_equal(f->startups, 0xd);
    send(f, 1, 3U << 24, INIT | ASSERT | OTHERS | LOGICAL);
    assert_int_equal(f->inits, 0xd);
}

static void init_deassert_does_nothing(void **state)
{
    struct fixture *f = *state;
    send(f, 0, 1U << 24, INIT | LEVEL);
    assert_int_equal(f->calls, 0);
    send(f, 0, 1U << 24, INIT | LEVEL | ASSERT);
    assert_int_equal(f->inits, 1 << 1);
    assert_int_equal(apic_ignored_ipis(f->rig.device), 0);
}

static void others_are_counted(void **state)
{
    struct fixture *f = *state;
    send(f, 0, 1U << 24, FIXED | 0x20);
    send(f, 0, 1U << 24, NMI | ALL);
    send(f, 0, 1U << 24, INIT | ASSERT | LOGICAL);
    assert_int_equal(f->calls, 0);
    assert_int_equal(apic_ignored_ipis(f->rig.device), 3);
}

static void an_ipi_is_never_pending(void **state)
{
    struct fixture *f = *state;
    send(f, 0, 1U << 24, STARTUP | PENDING | 0x12);
    assert_int_equal(rig_read(&f->rig, ICR_LOW, 4), STARTUP | 0x12);
    rig_write(&f->rig, TPR, 4, PENDING);
    assert_int_equal(rig_read(&f->rig, TPR, 4), PENDING);
}

static void only_32_bit_accesses_are_taken(void **state)
{
    struct fixture *f = *state;
    uint64_t value = 0xff;
    assert_int_equal(mv_space_read(f->rig.space, mv_gpa(ID), &value, 1, rig_attrs(0)), MV_DECODE_ERROR);
    assert_int_equal(mv_space_write(f->rig.space, mv_gpa(TPR), &value, 2, rig_attrs(0)), MV_DECODE_ERROR);
    assert_int_equal(rig_read(&f->rig, TPR, 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(id_is_who_asks, setup, teardown),
        cmocka_unit_test_setup_teardown(version_is_constant, setup, teardown),
        cmocka_unit_test_setup_teardown(reset_values, setup, teardown),
        cmocka_unit_test_setup_teardown(each_vcpu_has_storage_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(the_rest_reads_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(init_and_startup_go_to_the_destination, setup, teardown),
        cmocka_unit_test_setup_teardown(shorthands_override_the_destination, setup, teardown),
        cmocka_unit_test_setup_teardown(init_deassert_does_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(others_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(an_ipi_is_never_pending, setup, teardown),
        cmocka_unit_test_setup_teardown(only_32_bit_accesses_are_taken, setup, teardown),
    };
    return cmocka_run_group_tests_name("apic", tests, NULL, NULL);
}
