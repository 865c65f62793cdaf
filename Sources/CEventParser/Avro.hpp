// The encoding Avro: which schema a record has, and its values into slots.
#pragma once

#include "AvroReader.hpp"

struct clvd_avro {
    struct Entry {
        std::unique_ptr<clvd::AvroProgram> program;
        std::string refusal;  // where there is no program
    };

    const clvd_parser &parser;
    bool framed;
    bool single;
    std::unordered_map<uint32_t, Entry> schemas;

    /// Whether the record names its schema; a tombstone need not.
    bool identify(const clvd_record &record, uint32_t *id) const {
        *id = 0;
        if (!framed || record.value == nullptr) return true;
        if (!clvd::is_framed(record.value, record.value_length)) return false;
        if (!single) *id = clvd::schema_id(record.value);
        return true;
    }

    void decode(clvd_parser *parser, const clvd_record *record, clvd_event *event) const {
        uint32_t id;
        bool named = identify(*record, &id);
        auto found = schemas.find(id);
        if (named && found != schemas.end() && found->second.program != nullptr) {
            parser->decode_avro(*found->second.program, framed ? clvd::frame_length : 0, record, event);
            return;
        }
        parser->reset(record, event);
        if (record->value == nullptr) {
            parser->fault.status = clvd_status_tombstone;
        } else if (!named) {
            parser->reject(clvd_status_wrong_type, clvd_field_none, clvd::Reason::no_frame);
        } else {
            parser->reject(clvd_status_wrong_type, clvd_field_none, clvd::Reason::no_schema);
            parser->frame = {
                framed, id, found == schemas.end() ? "the schema is not known" : found->second.refusal.c_str()};
        }
        parser->finish(event);
    }
};

inline void clvd_parser::decode_avro(
    const clvd::AvroProgram &program, uint32_t skipped, const clvd_record *record, clvd_event *event) {
    reset(record, event);
    if (record->value == nullptr) {
        fault.status = clvd_status_tombstone;
    } else if (record->value_length > limits.max_record_bytes) {
        reject(clvd_status_too_large, clvd_field_none, Reason::too_large, -1, record->value_length);
    } else {
        slots.clear();
        clvd::AvroReader reader(*this, program);
        const char *detail = reader.read(record->value + skipped, record->value_length - skipped);
        if (detail == nullptr) {
            resolve(record, event);
        } else {
            reject(clvd_status_wrong_type, clvd_field_none, Reason::avro);
            fault.position = reader.position() + skipped;
            frame = {skipped != 0, skipped != 0 ? clvd::schema_id(record->value) : 0, detail};
        }
    }
    finish(event);
}
