#define XXH_INLINE_ALL
#include <xxhash.h>

#include "CHash.h"

uint64_t clvd_seeded_hash(const uint8_t *data, size_t length, uint64_t seed) {
    return XXH3_64bits_withSeed(data, length, seed);
}
