#ifndef CLVD_SNAPSHOT_INTERNAL_H
#define CLVD_SNAPSHOT_INTERNAL_H

#include "include/CSnapshot.h"

/// Writes a snapshot, giving up as soon as `channel` (-1 for none) becomes readable or closed.
int clvd_snapshot_write_watched(const clvd_snapshot_plan *plan, int channel, clvd_snapshot_result *result);

/// The text of a checksum.
void clvd_snapshot_format_checksum(uint64_t high, uint64_t low, char text[CLVD_CHECKSUM_LENGTH + 1]);

#endif
