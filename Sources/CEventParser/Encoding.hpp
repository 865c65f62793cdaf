// The encoding stage: the bytes of a record become slots, each with its kind. An encoding without types of its own (a row
// of columns) gives `Kind::text`; one with types (JSON) gives the kind that was written.
#pragma once

#include "Parser.hpp"

inline void clvd_parser::decode_json(const clvd_record *record, clvd_event *event) {
    reset(record, event);
    if (record->value == nullptr) {
        fault.status = clvd_status_tombstone;
    } else if (record->value_length > limits.max_record_bytes) {
        reject(clvd_status_too_large, clvd_field_none, Reason::too_large, -1, record->value_length);
    } else if (record->headers == nullptr || !reject_noted(record)) {
        slots.clear();
        uint32_t skipped = 0;
        JsonError error = document.read(record->value, record->value_length, &root, &slots, this);
        // Serializers of a schema registry put a frame before the document; plain ones pay nothing for that.
        if (error != JsonError::none && clvd::is_framed(record->value, record->value_length)) {
            skipped = clvd::frame_length;
            error = document.read(record->value + skipped, record->value_length - skipped, &root, &slots, this);
        }
        if (error == JsonError::none) {
            resolve(record, event);
        } else {
            reject_document(error);
            if (skipped != 0) blame_frame(record);
        }
    }
    finish(event);
}

/// Rejects a record whose header says that it is no event, and why: text of a row that was refused before it was sent.
/// False: there is no such header.
inline bool clvd_parser::reject_noted(const clvd_record *record) {
    if (lookup == nullptr) return false;
    clvd_text note = {nullptr, 0};
    note.data = lookup(record->headers, CLVD_REFUSAL_HEADER, &note.length);
    if (note.data == nullptr) return false;
    auto *text = reinterpret_cast<const char *>(note.data);
    // Whoever may write to the topic may write this header: it is bounded, and cannot make an event of a record.
    constexpr uint32_t maximum_note = 1024;
    uint32_t length = note.length < maximum_note ? note.length : 0;
    auto *colon = static_cast<const char *>(std::memchr(text, ':', length));
    if (colon == nullptr || !simdjson::validate_utf8(text, length)) return false;
    for (int status = clvd_status_first_rejection; status <= clvd_status_skipped; ++status) {
        const char *name = clvd_status_name(static_cast<uint8_t>(status));
        if (std::string_view(text, static_cast<size_t>(colon - text)) != name) continue;
        reject(static_cast<clvd_status>(status), clvd_field_none, Reason::noted);
        const char *reason = colon + 1;
        if (reason < text + length && *reason == ' ') ++reason;
        fault.value = {reinterpret_cast<const uint8_t *>(reason), static_cast<uint32_t>(text + length - reason)};
        return true;
    }
    return false;
}

/// What is wrong with a framed record whose body is no JSON is the encoding.
inline void clvd_parser::blame_frame(const clvd_record *record) {
    const uint8_t *body = record->value + clvd::frame_length, *end = record->value + record->value_length;
    while (body < end && (*body == ' ' || *body == '\t' || *body == '\r' || *body == '\n')) ++body;
    if (body == end || (*body != '{' && *body != '[')) {
        reject(clvd_status_invalid_json, clvd_field_none, Reason::framed);
    }
    fault.position += clvd::frame_length;
    frame = {true, clvd::schema_id(record->value), nullptr, nullptr};
}

inline void clvd_parser::reject_document(JsonError error) {
    clvd_status status = error == JsonError::invalid_utf8 ? clvd_status_invalid_utf8
        : error == JsonError::several_events              ? clvd_status_wrong_type
        : error == JsonError::no_memory                   ? clvd_status_too_large
                                                          : clvd_status_invalid_json;
    reject(status, clvd_field_none, Reason::json);
    fault.json = error;
    fault.position = document.position();
    frame.is_framed = false;
}

inline void clvd_parser::decode_row(const clvd_text *columns, const clvd_record *record, clvd_event *event) {
    reset(record, event);
    for (size_t i = 0; i < slots.count(); ++i) {
        slots.kinds[i] = columns[i].data == nullptr || columns[i].length == 0 ? Kind::absent : Kind::text;
        slots.data[i] = columns[i].data;
        slots.lengths[i] = columns[i].length;
    }
    if (record->value == nullptr) {
        fault.status = clvd_status_tombstone;
    } else if (record->value_length > limits.max_record_bytes) {
        reject(clvd_status_too_large, clvd_field_none, Reason::too_large, -1, record->value_length);
    } else if (!simdjson::validate_utf8(reinterpret_cast<const char *>(record->value), record->value_length)) {
        reject(clvd_status_invalid_utf8, clvd_field_none, Reason::json);
        fault.json = JsonError::invalid_utf8;
        fault.position = 0;
        frame.is_framed = false;
    } else {
        resolve(record, event);
    }
    finish(event);
}
