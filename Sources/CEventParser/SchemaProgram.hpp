// What programs of a schema and a mapping have in common.
#pragma once

#include "Parser.hpp"
#include "SchemaError.hpp"

namespace clvd {

/// Whether a slot is of an event's time.
inline bool is_of_time(const clvd_parser &parser, int16_t slot) {
    for (const Source &source : parser.sources[clvd_field_event_time]) {
        if (source.slot == slot) return true;
    }
    return false;
}

}  // namespace clvd
