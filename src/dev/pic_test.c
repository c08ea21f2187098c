// SPDX-License-Identifier: MIT
#include "dev/pic.h"

#include "dev/dev_test.h"

static void open_pic(struct rig *rig)
{
    struct mv_region *pic, *elcr;
    struct mv_error err;
    rig_open(rig);
    assert_int_equal(pic_create(rig->machine, PIC_ELCR_FIRST, &pic, &elcr, &err), 0);
    struct mv_region *ports = rig_ports(rig);
    rig_place(ports, 0x20, pic);
    rig_place(ports, 0x4d0, elcr);
    rig_show(rig, ports);
}

static void initialisation_words_are_not_the_mask(void **state)
{
    (void)state;
    struct rig rig;
    open_pic(&rig);
    rig_write(&rig, 0x21, 1, 0xfb);
    assert_int_equal(rig_read(&rig, 0x21, 1), 0xfb);
    rig_write(&rig, 0x20, 1, 0x11); /* ICW1: cascaded, with ICW4 */
    assert_int_equal(rig_read(&rig, 0x21, 1), 0);
    rig_write(&rig, 0x21, 1, 0x08);
    rig_write(&rig, 0x21, 1, 0x04);
    rig_write(&rig, 0x21, 1, 0x01);
    assert_int_equal(rig_read(&rig, 0x21, 1), 0);
    rig_write(&rig, 0x21, 1, 0xff);
    assert_int_equal(rig_read(&rig, 0x21, 1), 0xff);
    rig_write(&rig, 0x20, 1, 0x12); /* ICW1: single, without ICW4: only ICW2 follows */
    rig_write(&rig, 0x21, 1, 0x08);
    rig_write(&rig, 0x21, 1, 0xaa);
    assert_int_equal(rig_read(&rig, 0x21, 1), 0xaa);
    rig_close(&rig);
}

static void nothing_is_requested_or_in_service(void **state)
{
    (void)state;
    struct rig rig;
    open_pic(&rig);
    rig_write(&rig, 0x20, 1, 0x0a); /* OCW3: read IRR */
    assert_int_equal(rig_read(&rig, 0x20, 1), 0);
    rig_write(&rig, 0x20, 1, 0x0b); /* ISR */
    assert_int_equal(rig_read(&rig, 0x20, 1), 0);
    rig_write(&rig, 0x20, 1, 0x20); /* end of interrupt */
    rig_close(&rig);
}

static void edge_or_level_has_its_own_bits(void **state)
{
    (void)state;
    struct rig rig;
    open_pic(&rig);
    rig_write(&rig, 0x4d0, 1, 0xff);
    assert_int_equal(rig_read(&rig, 0x4d0, 1), 0xf8);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(initialisation_words_are_not_the_mask),
        cmocka_unit_test(nothing_is_requested_or_in_service),
        cmocka_unit_test(edge_or_level_has_its_own_bits),
    };
    return cmocka_run_group_tests_name("pic", tests, NULL, NULL);
}
