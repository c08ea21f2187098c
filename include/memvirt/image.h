// SPDX-License-Identifier: MIT
/**
 * @file image.h
 * Images: what a guest starts from, loaded into a memory space.
 *
 * Taken are: ELF64 for x86-64; ELF32 for i386 with a multiboot-1 header (kvm-unit-tests' .flat files are such);
 * flat binaries. Segments go to their physical addresses (p_paddr), which must be RAM or ROM.
 */
#ifndef MEMVIRT_IMAGE_H
#define MEMVIRT_IMAGE_H

#include <memvirt/vm.h>

MV_BEGIN_DECLS

enum mv_image_format {
    MV_IMAGE_AUTO, /**< ELF by its magic number; flat when the file's name ends in ".bin" */
    MV_IMAGE_ELF,
    MV_IMAGE_FLAT,
};

struct mv_image_options {
    const char *path; /**< not NULL */
    enum mv_image_format format;
    const char *arguments; /**< follows the path in the command line that a multiboot guest finds; NULL: none */
};

/** The state in which an image wants its first vCPU. */
enum mv_image_entry {
    /** ELF: the multiboot-1 machine state. 32-bit protected mode, flat segments, paging and interrupts off,
     *  EAX 0x2badb002, EBX the multiboot information. ELF64 images too: they go to long mode by themselves. */
    MV_ENTRY_PROTECTED,
    /** Flat: 16-bit real mode at 1000:0000, which is where the file is (as kvmtool does); DS = ES = CS, SS:SP
       0000:8000. */
    MV_ENTRY_REAL,
};

struct mv_image {
    enum mv_image_entry entry_mode;
    mv_gpa_t entry; /**< of the first instruction */
    mv_gpa_t info;  /**< PROTECTED: of the multiboot information */
};

/**
 * Load an image. The file is checked in full before the first byte is written.
 * @return 0; what open(2) and read(2) say; or -ENOEXEC with one of the reasons "not-an-image", "truncated",
 *         "not-executable", "wrong-architecture", "no-multiboot-header", "bad-segment", "overlap", "outside-ram",
 *         "bad-entry", "too-large", "no-room" (for the multiboot information), "unsupported-feature" (that its
 * multiboot header requires). What is no regular file, or is empty, is "not-an-image". Errors of the host have
 * reason "host".
 */
MV_API int mv_image_load(struct mv_space *memory, const struct mv_image_options *options, struct mv_image *ret,
                         struct mv_error *err);

/** Set a vCPU's registers as the image wants them. The VM must not be running. */
MV_API int mv_image_enter(const struct mv_image *image, struct mv_vcpu *vcpu, struct mv_error *err);

MV_END_DECLS

#endif
