// Encodings with schemas, Avro and Protobuf: which schema a record has, and its values into slots.
#pragma once

#include "AvroReader.hpp"
#include "ProtobufReader.hpp"

namespace clvd {

/// A schema, compiled for the mapping of one parser.
class RecordSchema {
public:
    virtual ~RecordSchema() = default;
    virtual const char *encoding() const = 0;
    /// Puts the values of a record into the slots of `parser`, which are empty. Returns what is wrong with the bytes, or
    /// nullptr; `position` is where. With `framed`, they are what follows the schema's id.
    virtual const char *read(
        clvd_parser &parser, const uint8_t *bytes, uint32_t length, bool framed, uint32_t *position) = 0;
};

class AvroRecordSchema : public RecordSchema {
public:
    AvroRecordSchema(const clvd_parser &parser, const clvd_schema_part *parts, size_t count)
        : program_(parser, parts, count) {}
    const char *encoding() const override { return "Avro"; }
    const char *read(clvd_parser &parser, const uint8_t *bytes, uint32_t length, bool, uint32_t *position) override {
        AvroReader reader(parser, program_);
        const char *fault = reader.read(bytes, length);
        *position = reader.position();
        return fault;
    }

private:
    AvroProgram program_;
};

class ProtobufRecordSchema : public RecordSchema {
public:
    ProtobufRecordSchema(
        const clvd_parser &parser, const std::vector<ProtobufSchema::Part> &parts, const std::string &folder,
        const std::string &message)
        : parser_(parser), schema_(parts, folder, message) {
        if (schema_.named >= 0) {
            program(static_cast<uint32_t>(schema_.named));
        } else if (!schema_.tops.empty()) {
            program(schema_.tops[0]);
        }
    }
    const char *encoding() const override { return "Protobuf"; }
    const char *read(
        clvd_parser &parser, const uint8_t *bytes, uint32_t length, bool framed, uint32_t *position) override {
        *position = 0;
        int64_t message = schema_.named;
        if (framed) {
            int64_t indexed;
            const char *fault = find(bytes, length, position, &indexed);
            if (fault != nullptr) return fault;
            if (message < 0) message = indexed;
            if (message < 0) return "the schema has no message with the index of this record";
        }
        Entry &entry = program(static_cast<uint32_t>(message));
        if (entry.program == nullptr) return entry.refusal.c_str();
        ProtobufReader reader(parser, *entry.program);
        const char *fault = reader.read(bytes + *position, length - *position);
        *position += reader.position();
        return fault;
    }

private:
    struct Entry {
        std::unique_ptr<ProtobufProgram> program;
        std::string refusal;  // where there is no program
    };

    const clvd_parser &parser_;
    ProtobufSchema schema_;
    std::unordered_map<uint32_t, Entry> programs_;

    Entry &program(uint32_t message) {
        auto known = programs_.find(message);
        if (known != programs_.end()) return known->second;
        Entry entry;
        try {
            entry.program = std::make_unique<ProtobufProgram>(parser_, schema_, message);
        } catch (const SchemaError &fault) {
            entry.refusal = "the schema is not usable: " + fault.message;
        }
        return programs_.emplace(message, std::move(entry)).first->second;
    }

    /// The message that the indexes before a record lead to: the number of them, or 0 for the first message; then which
    /// one of the file, which one inside it, and so on. -1: there is none. All are zigzag varints.
    const char *find(const uint8_t *bytes, uint32_t length, uint32_t *position, int64_t *message) const {
        auto next = [&](uint32_t *value) {
            uint64_t bits = 0;
            for (unsigned shift = 0; shift < 35 && *position < length; shift += 7) {
                uint8_t byte = bytes[(*position)++];
                bits |= uint64_t{byte & 0x7Fu} << shift;
                if (byte >= 0x80) continue;
                *value = static_cast<uint32_t>(bits >> 1);
                return (bits & 1) == 0;
            }
            return false;
        };
        static const char *const fault = "the index of its message is malformed";
        constexpr int64_t none = -1;
        uint32_t count, index = 0;
        if (!next(&count)) return fault;
        const std::vector<uint32_t> *choices = &schema_.tops;
        *message = choices->empty() ? none : int64_t{(*choices)[0]};
        for (uint32_t i = 0; i < count; ++i) {
            if (!next(&index)) return fault;
            *message = choices != nullptr && index < choices->size() ? int64_t{(*choices)[index]} : none;
            choices = *message < 0 ? nullptr : &schema_.messages[static_cast<size_t>(*message)].nested;
        }
        return nullptr;
    }
};

}  // namespace clvd

struct clvd_schemas {
    struct Entry {
        std::unique_ptr<clvd::RecordSchema> schema;
        std::string refusal;  // where there is no schema
    };

    const clvd_parser &parser;
    clvd_encoding encoding;
    bool framed;
    bool single;
    std::string message, folder;
    std::unordered_map<uint32_t, Entry> schemas;

    /// Whether the record names its schema; a tombstone need not.
    bool identify(const clvd_record &record, uint32_t *id) const {
        *id = 0;
        if (!framed || record.value == nullptr) return true;
        if (!clvd::is_framed(record.value, record.value_length)) return false;
        if (!single) *id = clvd::schema_id(record.value);
        return true;
    }

    void decode(clvd_parser *parser, const clvd_record *record, clvd_event *event) {
        uint32_t id;
        bool named = identify(*record, &id);
        auto found = schemas.find(id);
        if (named && found != schemas.end() && found->second.schema != nullptr) {
            parser->decode_body(*found->second.schema, framed, record, event);
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
                framed, id, nullptr,
                found == schemas.end() ? "the schema is not known" : found->second.refusal.c_str()};
        }
        parser->finish(event);
    }
};

inline void clvd_parser::decode_body(
    clvd::RecordSchema &schema, bool framed, const clvd_record *record, clvd_event *event) {
    reset(record, event);
    if (record->value == nullptr) {
        fault.status = clvd_status_tombstone;
    } else if (record->value_length > limits.max_record_bytes) {
        reject(clvd_status_too_large, clvd_field_none, Reason::too_large, -1, record->value_length);
    } else {
        slots.clear();
        uint32_t skipped = framed ? clvd::frame_length : 0, position;
        const char *detail =
            schema.read(*this, record->value + skipped, record->value_length - skipped, framed, &position);
        if (detail == nullptr) {
            resolve(record, event);
        } else {
            reject(clvd_status_wrong_type, clvd_field_none, Reason::body);
            fault.position = position + skipped;
            frame = {framed, framed ? clvd::schema_id(record->value) : 0, schema.encoding(), detail};
        }
    }
    finish(event);
}
