// Protobuf schemas as a table of messages. libprotobuf reads them, and nothing but ProtobufSchema.cpp sees it.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "Mapping.hpp"
#include "SchemaError.hpp"

namespace clvd {

enum class ProtobufType : uint8_t {
    int32,
    int64,
    uint32,
    uint64,
    sint32,
    sint64,
    fixed32,
    fixed64,
    sfixed32,
    sfixed64,
    float32,
    float64,
    boolean,
    enumeration,
    string,
    bytes,
    message,
    group,
};

/// Messages that stand for a value of their own.
enum class ProtobufKnown : uint8_t {
    none,
    timestamp,
    wrapper,    // of one value: its field 1
    structure,  // google.protobuf.Struct, Value and ListValue: JSON
    value,
    list,
    decimal,    // confluent.type.Decimal
    money,      // google.type.Money
};

class ProtobufSchema {
public:
    struct Field {
        std::string name, json_name;
        uint32_t number = 0;
        ProtobufType type = ProtobufType::int32;
        bool is_repeated = false;
        bool is_map = false;            // and `target` has the key as field 1, the value as field 2
        int32_t choice = -1;            // the oneof that it is in
        uint32_t target = 0;            // of a message or enum: which
        Kind default_kind = Kind::absent;  // of a field that is not written, where it has a value then
        std::string default_text;
    };
    struct Message {
        std::string name;
        ProtobufKnown known = ProtobufKnown::none;
        bool is_missing = false;        // declared in a file that is not at hand
        std::vector<Field> fields;
        std::vector<uint32_t> nested;   // as the frames of records count them
    };
    struct Enum {
        bool is_closed = false;         // a number without a name counts as not written
        std::unordered_map<int32_t, std::string> names;
    };
    struct Part {
        std::string name, text;
    };
    /// The name of a schema that has none.
    static constexpr const char *unnamed = "(schema).proto";

    /// - parts: the schema comes last, what it imports before it. Text, or a descriptor (in base64 where it is of one
    ///   file, as it is where it is a set of them).
    /// - folder: where else imported files are; empty: nowhere.
    /// - message: the full name of the message that all records are; empty: their frames say.
    /// Throws `SchemaError`.
    ProtobufSchema(const std::vector<Part> &parts, const std::string &folder, const std::string &message);

    std::vector<Message> messages;
    std::vector<Enum> enums;
    std::vector<uint32_t> tops;         // messages of the schema's file that are in no other
    int64_t named = -1;                 // the message that all records are

    static const Field *field(const Message &message, uint32_t number) {
        for (const Field &field : message.fields) {
            if (field.number == number) return &field;
        }
        return nullptr;
    }
};

}  // namespace clvd
