// Hashing for the engine's tables: XXH3 from libxxhash (header only), a mixer for sampling, and a prefetch.
#ifndef CLVD_HASH_H
#define CLVD_HASH_H

#include <stddef.h>
#include <stdint.h>

/// XXH3-64 of `length` bytes under a seed.
uint64_t clvd_seeded_hash(const uint8_t *data, size_t length, uint64_t seed);

/// A uniform 64-bit hash of a number under a salt (the finaliser of SplitMix64; Steele, Lea, Flood 2014).
static inline uint64_t clvd_mix(uint64_t x, uint64_t salt) {
    x += salt * 0x9E3779B97F4A7C15ull + 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

/// The next 64 random bits of SplitMix64 (Steele, Lea, Flood 2014). `state` is the whole state: any number is a seed.
static inline uint64_t clvd_splitmix(uint64_t *state) {
    uint64_t bits = clvd_mix(*state, 0);
    *state += 0x9E3779B97F4A7C15ull;
    return bits;
}

#endif
