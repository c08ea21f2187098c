// SPDX-License-Identifier: MIT
/* memvirt's binary traces: see docs/trace-format.md. */
#ifndef REPLAY_BINARY_H
#define REPLAY_BINARY_H

#include <stdint.h>

#define BINARY_MAGIC "MVTRACE\n"
#define BINARY_MAGIC_BYTES 8u
#define BINARY_VERSION 1u
#define BINARY_HEADER_BYTES 64u
#define BINARY_UNKNOWN UINT64_MAX

/* As it is in the file, on a little-endian host. */
struct binary_header {
    char magic[BINARY_MAGIC_BYTES];
    uint32_t version;
    uint32_t header_bytes;
    uint64_t records;
    uint64_t references;
    uint8_t zero[32];
};

_Static_assert(sizeof(struct binary_header) == BINARY_HEADER_BYTES, "the file's layout");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are used as they are in the file");

#endif
