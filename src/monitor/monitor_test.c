// SPDX-License-Identifier: MIT
/* A monitor in a program of one's own: lines and clients while a guest runs, from several threads at once. */
#include <memvirt/monitor.h>

#include <sys/socket.h>
#include <sys/un.h>

#include "vm/vm_test.h"

/* 1: inc dword [0x5000]; jmp 1b */
static const uint8_t count_up[] = {0x66, 0xff, 0x06, 0x00, 0x50, 0xeb, 0xf9};

static struct mv_monitor *make_monitor(struct rig *rig, bool paused)
{
    struct mv_monitor *monitor;
    struct mv_error err;
    const struct mv_monitor_options options = {.machine = rig->machine, .vm = rig->vm, .paused = paused};
    must(mv_monitor_create(&options, &monitor, &err), &err);
    return monitor;
}

static void says(struct mv_monitor *monitor, const char *line, const char *wanted)
{
    char *got;
    assert_int_equal(mv_monitor_line(monitor, line, &got, NULL), 0);
    assert_string_equal(got, wanted);
    free(got);
}

static void end(struct rig *rig, struct mv_monitor *monitor)
{
    struct mv_stop stop;
    mv_vm_stop(rig->vm, MV_STOP_REQUEST, 0, "done");
    mv_vm_wait(rig->vm, &stop);
    mv_monitor_shutdown(monitor, &stop);
    mv_monitor_destroy(monitor);
    rig_finish(rig);
}

static void test_lines(void **state)
{
    (void)state;
    need_kvm("test_lines");
    struct rig rig;
    rig_init(&rig, 1, count_up, sizeof count_up);
    struct mv_monitor *monitor = make_monitor(&rig, true);
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    says(monitor, "info status", "VM status: paused (prelaunch)\n");
    says(monitor, "x /7xb $pc", "0000000000001000: 0x66 0xff 0x06 0x00 0x50 0xeb 0xf9\n");
    says(monitor, "xp /1dw 0x5000", "0000000000005000:          0\n");
    says(monitor, "gva2gpa $rip", "gpa: 0x1000\n");
    says(monitor, "cont", "");
    says(monitor, "info status", "VM status: running\n");
    says(monitor, "quit", "");
    says(monitor, "info status", "VM status: paused (shutdown)\n");
    end(&rig, monitor);
}

/* Two neighbours in virtual memory are far apart, and in the wrong order, in physical: 0x7000 and 0x3000. */
static void test_pages_apart(void **state)
{
    (void)state;
    need_kvm("test_pages_apart");
    static const uint64_t tables[4] = {0x10000, 0x11000, 0x12000, 0x13000};
    static const uint64_t pages[2] = {0x7000, 0x3000};
    struct rig rig;
    struct kvm_sregs sregs;
    rig_init(&rig, 1, count_up, sizeof count_up);
    for (unsigned level = 0; level < 3; level++) {
        uint64_t entry = tables[level + 1] | 7;
        mv_space_write(rig.memory, mv_gpa(tables[level]), &entry, 8, MV_ATTRS_NONE);
    }
    for (unsigned i = 0; i < 2; i++) {
        uint64_t entry = pages[i] | 7;
        uint64_t mark = 0x1111111111111111 * (i + 1);
        mv_space_write(rig.memory, mv_gpa(tables[3] + 8 * i), &entry, 8, MV_ATTRS_NONE);
        mv_space_write(rig.memory, mv_gpa(pages[i] + (i ? 0 : 0xff8)), &mark, 8, MV_ATTRS_NONE);
    }
    struct mv_vcpu *vcpu = mv_vm_vcpu(rig.vm, 0);
    assert_int_equal(mv_vcpu_get_sregs(vcpu, &sregs, NULL), 0);
    sregs.cr0 |= 0x80000001;
    sregs.cr4 |= 0x20;
    sregs.efer |= 0x500;
    sregs.cr3 = tables[0];
    sregs.cs.l = 1;
    sregs.cs.db = 0;
    assert_int_equal(mv_vcpu_set_sregs(vcpu, &sregs, NULL), 0);
    struct mv_monitor *monitor = make_monitor(&rig, false);
    says(monitor, "x /2xg 0xff8", "0000000000000ff8: 0x1111111111111111 0x2222222222222222\n");
    says(monitor, "x /4xw 0xffc", "0000000000000ffc: 0x11111111 0x22222222 0x22222222 0x00000000\n");
    says(monitor, "x /3xg 0x1ff0",
         "0000000000001ff0: 0x0000000000000000 0x0000000000000000\n"
         "0000000000002000: Cannot access memory\n");
    says(monitor, "x /2xg 0x1ff8", "0000000000001ff8: Cannot access memory\n");
    says(monitor, "gva2gpa 0x1234", "gpa: 0x3234\n");
    says(monitor, "gva2gpa 0x2000", "Unmapped\n");
    mv_monitor_destroy(monitor);
    rig_finish(&rig);
}

struct user {
    struct mv_monitor *monitor;
    const char *const *lines;
    unsigned rounds;
};

static void *use(void *opaque)
{
    struct user *user = opaque;
    for (unsigned i = 0; i < user->rounds; i++) {
        char *got;
        assert_int_equal(mv_monitor_line(user->monitor, user->lines[i % 4], &got, NULL), 0);
        free(got);
    }
    return NULL;
}

/* Stop and cont a thousand times, from two threads, while two others look and a fifth edits the memory. */
static void test_many_at_once(void **state)
{
    (void)state;
    need_kvm("test_many_at_once");
    static const char *const stops[] = {"stop", "cont", "stop", "cont"};
    static const char *const looks[] = {"info registers", "x /16xb $pc", "gva2gpa 0x1000", "info slots"};
    struct rig rig;
    pthread_t threads[4];
    rig_init(&rig, 2, count_up, sizeof count_up);
    struct mv_monitor *monitor = make_monitor(&rig, false);
    struct mv_region *page = make_page(&rig, "page", 1);
    struct user users[2] = {{monitor, stops, 1000}, {monitor, looks, 1000}};
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, use, &users[i % 2]), 0);
    }
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(mv_region_add(rig.root, 0x10000, page, 1, NULL), 0);
        assert_int_equal(mv_region_remove(page, NULL), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    says(monitor, "cont", "");
    assert_int_equal(mv_vm_state(rig.vm), MV_VM_RUNNING);
    mv_region_put(page);
    end(&rig, monitor);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void send_all(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Monitors end while clients are connected, in the middle of a line, with answers unread. */
static void test_ends_with_clients(void **state)
{
    (void)state;
    need_kvm("test_ends_with_clients");
    for (unsigned i = 0; i < 20; i++) {
        struct rig rig;
        struct mv_error err;
        char directory[] = "/tmp/mv-monitor-XXXXXX";
        char path[64], address[80];
        char greeting[256] = "";
        assert_non_null(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/socket", directory);
        snprintf(address, sizeof address, "unix:%s", path);
        rig_init(&rig, 1, count_up, sizeof count_up);
        struct mv_monitor *monitor = make_monitor(&rig, false);
        must(mv_monitor_listen(monitor, MV_MONITOR_HMP, address, &err), &err);
        assert_int_equal(mv_monitor_listen(monitor, MV_MONITOR_HMP, address, &err), -EADDRINUSE);
        assert_string_equal(err.reason, "in-use");
        assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
        int first = connect_to(path);
        int second = connect_to(path); /* it waits for its turn, in vain */
        assert_true(recv(first, greeting, sizeof greeting - 1, 0) > 0);
        assert_non_null(strstr(greeting, "monitor"));
        send_all(first, i % 2 ? "info regi" : "stop\ninfo registers\nxp /256xb 0\nstop\n");
        sleep_us(i * 50);
        end(&rig, monitor);
        assert_int_equal(access(path, F_OK), -1);
        close(first);
        close(second);
        assert_int_equal(rmdir(directory), 0);
    }
}

static void test_addresses(void **state)
{
    (void)state;
    struct mv_error err;
    assert_int_equal(mv_monitor_check_address(MV_MONITOR_HMP, "stdio", &err), 0);
    assert_int_equal(mv_monitor_check_address(MV_MONITOR_HMP, "unix:/x,server=on,wait=off", &err), 0);
    assert_int_equal(mv_monitor_check_address(MV_MONITOR_HMP, "tcp:localhost:65535,server,nowait", &err), 0);
    assert_int_equal(mv_monitor_check_address(MV_MONITOR_HMP, "tcp:10.0.0.1:1", &err), -EINVAL);
    assert_string_equal(err.reason, "bad-address");
    assert_int_equal(mv_monitor_check_address(MV_MONITOR_QMP, "stdio", &err), -EINVAL);
    assert_int_equal(mv_monitor_check_address(MV_MONITOR_HMP, ",", &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),        cmocka_unit_test(test_pages_apart),
        cmocka_unit_test(test_many_at_once), cmocka_unit_test(test_ends_with_clients),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests_name("monitor", tests, NULL, NULL);
}
