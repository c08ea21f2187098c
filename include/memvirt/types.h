// SPDX-License-Identifier: MIT
/**
 * @file types.h
 * The words every other header uses: addresses, ranges, results of a guest access, errors of the host.
 *
 * Three kinds of failure exist and never share a channel:
 *   - a programmer's mistake is an assertion;
 *   - "the host says no" is an `int`, 0 or a negative errno, with a `struct mv_error` that says what, on which
 *     object and why;
 *   - what happens to a guest is a value (`enum mv_result`, an exit, a fault), never an errno.
 */
#ifndef MEMVIRT_TYPES_H
#define MEMVIRT_TYPES_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define MV_BEGIN_DECLS extern "C" {
#define MV_END_DECLS }
#else
#define MV_BEGIN_DECLS
#define MV_END_DECLS
#endif

/** Marks what the shared library exports; everything else is hidden. */
#if defined(__GNUC__)
#define MV_API __attribute__((visibility("default")))
#define MV_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define MV_API
#define MV_PRINTF(fmt, first)
#endif

MV_BEGIN_DECLS

/**
 * Addresses. Each kind is a type of its own, so that mixing two of them does not compile; in registers each is a
 * plain 64-bit integer. In an I/O space a `mv_gpa_t` is a port number.
 */
typedef struct {
    uint64_t raw;
} mv_gva_t; /**< guest virtual address: what guest code uses */
typedef struct {
    uint64_t raw;
} mv_gpa_t; /**< guest physical address: what guest page tables give */
typedef struct {
    uint64_t raw;
} mv_hva_t; /**< host virtual address: where this process has the byte */
typedef struct {
    uint64_t raw;
} mv_hpa_t; /**< host physical address: where the host kernel has the page */

static inline mv_gva_t mv_gva(uint64_t raw)
{
    mv_gva_t a = {raw};
    return a;
}

static inline mv_gpa_t mv_gpa(uint64_t raw)
{
    mv_gpa_t a = {raw};
    return a;
}

static inline mv_hva_t mv_hva(uint64_t raw)
{
    mv_hva_t a = {raw};
    return a;
}

static inline mv_hpa_t mv_hpa(uint64_t raw)
{
    mv_hpa_t a = {raw};
    return a;
}

/**
 * A range of addresses, both ends inclusive, first <= last. Inclusive ends make every range expressible, the whole
 * 2^64 among them; an empty range is not one, so functions that may have none say so by their result.
 */
struct mv_range {
    uint64_t first;
    uint64_t last;
};

/** A size in bytes that means 2^64, as in QEMU's memory API. */
#define MV_SIZE_2_64 UINT64_MAX

/**
 * The outcome of a guest access: a set of bits, ORed over the pieces of a long access.
 * The values are those of QEMU's MemTxResult.
 */
enum mv_result {
    MV_OK = 0,
    MV_DEVICE_ERROR = 1, /**< a device answered with an error */
    MV_DECODE_ERROR = 2, /**< nothing answers there: unassigned, a write to ROM, a size the device refuses */
    MV_ACCESS_ERROR = 4, /**< refused before it reached the device */
};

/** Who makes an access, and how. All zero is right for accesses that the VMM makes itself. */
struct mv_attrs {
    uint16_t requester; /**< vCPU index + 1, or 0 for the VMM itself */
};

/** The attributes of an access that no vCPU makes. */
#define MV_ATTRS_NONE ((struct mv_attrs){0})

/** Longest object name that an error keeps, and longest sentence, with their NUL. */
#define MV_ERROR_OBJECT_SIZE 64
#define MV_ERROR_TEXT_SIZE 320

/**
 * What a control-plane call says when it fails. The caller owns it and may pass NULL to do without; it is written
 * only on failure.
 */
struct mv_error {
    int code;           /**< the negative errno that the call returned */
    const char *reason; /**< a stable word for programs, such as "overlap" or "no-device"; static storage */
    char object[MV_ERROR_OBJECT_SIZE]; /**< the name of the object concerned, or "" */
    char text[MV_ERROR_TEXT_SIZE];     /**< one line for people: names the object and the reason */
};

/** The library's version, "MAJOR.MINOR.PATCH". Static storage. */
MV_API const char *mv_version(void);

MV_END_DECLS

#endif
