#include "Schemas.hpp"

#include <cstdio>
#include <new>

static std::string string(clvd_text text) {
    return text.data == nullptr ? std::string() : std::string(reinterpret_cast<const char *>(text.data), text.length);
}

static std::unique_ptr<clvd::RecordSchema> compile(
    const clvd_schemas &schemas, const clvd_schema_part *parts, uint32_t count) {
    if (schemas.encoding == clvd_encoding_avro) {
        return std::make_unique<clvd::AvroRecordSchema>(schemas.parser, parts, count);
    }
    std::vector<clvd::ProtobufSchema::Part> files;
    for (uint32_t i = 0; i < count; ++i) files.push_back({string(parts[i].name), string(parts[i].text)});
    if (files.back().name.empty()) files.back().name = clvd::ProtobufSchema::unnamed;
    return std::make_unique<clvd::ProtobufRecordSchema>(schemas.parser, files, schemas.folder, schemas.message);
}

extern "C" {

clvd_schemas *clvd_schemas_create(const clvd_parser *parser, const clvd_schema_options *options) {
    clvd_schemas *schemas = nullptr;
    guarded([&] {
        auto or_empty = [](const char *text) { return text == nullptr ? "" : text; };
        schemas = new clvd_schemas{
            *parser, options->encoding, options->framed, options->single, or_empty(options->message),
            or_empty(options->import_folder), {}};
        return true;
    });
    return schemas;
}

void clvd_schemas_destroy(clvd_schemas *schemas) { delete schemas; }

bool clvd_schemas_add(
    clvd_schemas *schemas, uint32_t id, const clvd_schema_part *parts, uint32_t count, char *error,
    size_t error_capacity) {
    std::snprintf(error, error_capacity, "there is no memory for it");
    return guarded([&] {
        try {
            schemas->schemas[id] = {compile(*schemas, parts, count), {}};
            return true;
        } catch (const clvd::SchemaError &fault) {
            std::snprintf(error, error_capacity, "%s", fault.message.c_str());
            schemas->schemas.erase(id);
            return false;
        }
    });
}

bool clvd_schemas_refuse(clvd_schemas *schemas, uint32_t id, const char *reason) {
    return guarded([&] {
        schemas->schemas[id] = {nullptr, reason};
        return true;
    });
}

bool clvd_schemas_knows(const clvd_schemas *schemas, uint32_t id) { return schemas->schemas.count(id) != 0; }

bool clvd_schemas_unknown(
    const clvd_schemas *schemas, const clvd_record *records, uint32_t count, uint32_t *index, uint32_t *id) {
    for (; *index < count; ++*index) {
        const clvd_record &record = records[*index];
        if (record.value != nullptr && record.unreadable == 0 && schemas->identify(record, id) &&
            schemas->schemas.find(*id) == schemas->schemas.end()) {
            return true;
        }
    }
    return false;
}

uint32_t clvd_schemas_decode(
    clvd_parser *parser, clvd_schemas *schemas, const clvd_record *records, uint32_t count, clvd_event *events) {
    parser->numbers.clear();
    uint32_t decoded = 0;
    for (uint32_t i = 0; i < count; ++i) {
        bool fits = guarded([&] {
            schemas->decode(parser, &records[i], &events[i]);
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
