#include "Avro.hpp"

#include <cstdio>
#include <new>

extern "C" {

clvd_avro *clvd_avro_create(const clvd_parser *parser, bool framed, bool single) {
    return new (std::nothrow) clvd_avro{*parser, framed, single, {}};
}

void clvd_avro_destroy(clvd_avro *avro) { delete avro; }

bool clvd_avro_add(
    clvd_avro *avro, uint32_t id, const clvd_text *texts, uint32_t count, char *error, size_t error_capacity) {
    std::snprintf(error, error_capacity, "there is no memory for it");
    return guarded([&] {
        try {
            avro->schemas[id] = {std::make_unique<clvd::AvroProgram>(avro->parser, texts, count), {}};
            return true;
        } catch (const clvd::AvroError &fault) {
            std::snprintf(error, error_capacity, "%s", fault.message.c_str());
            avro->schemas.erase(id);
            return false;
        }
    });
}

bool clvd_avro_refuse(clvd_avro *avro, uint32_t id, const char *reason) {
    return guarded([&] {
        avro->schemas[id] = {nullptr, reason};
        return true;
    });
}

bool clvd_avro_unknown(const clvd_avro *avro, const clvd_record *records, uint32_t count, uint32_t *id) {
    for (uint32_t i = 0; i < count; ++i) {
        if (records[i].value != nullptr && records[i].unreadable == 0 && avro->identify(records[i], id) &&
            avro->schemas.find(*id) == avro->schemas.end()) {
            return true;
        }
    }
    return false;
}

uint32_t clvd_avro_decode(
    clvd_parser *parser, const clvd_avro *avro, const clvd_record *records, uint32_t count, clvd_event *events) {
    parser->numbers.clear();
    uint32_t decoded = 0;
    for (uint32_t i = 0; i < count; ++i) {
        bool fits = guarded([&] {
            avro->decode(parser, &records[i], &events[i]);
            return true;
        });
        if (!fits) {
            parser->reset(&records[i], &events[i]);
            parser->reject(
                clvd_status_too_large, clvd_field_none, clvd::Reason::too_large, -1, records[i].value_length);
            parser->finish(&events[i]);
        }
        events[i].record = i;
        decoded += events[i].status == clvd_status_ok;
    }
    return decoded;
}

}  // extern "C"
