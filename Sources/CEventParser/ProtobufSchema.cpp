#include "ProtobufSchema.hpp"

#include <google/protobuf/compiler/parser.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
// Linked with their descriptors, which schemas import.
#include <google/protobuf/any.pb.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/timestamp.pb.h>
#include <google/protobuf/wrappers.pb.h>

#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

namespace clvd {

namespace {

namespace pb = google::protobuf;

/// Files that Confluent's clients take for known, beside those of libprotobuf. What imports other ones is usable as long
/// as the mapping asks for nothing that they declare.
const std::pair<const char *, const char *> known_files[] = {
    {"confluent/type/decimal.proto",
     "syntax = \"proto3\"; package confluent.type;"
     "message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }"},
    {"google/type/money.proto",
     "syntax = \"proto3\"; package google.type;"
     "message Money { string currency_code = 1; int64 units = 2; int32 nanos = 3; }"},
    {"google/type/decimal.proto", "syntax = \"proto3\"; package google.type; message Decimal { string value = 1; }"},
    {"google/type/date.proto",
     "syntax = \"proto3\"; package google.type; message Date { int32 year = 1; int32 month = 2; int32 day = 3; }"},
    {"google/type/timeofday.proto",
     "syntax = \"proto3\"; package google.type;"
     "message TimeOfDay { int32 hours = 1; int32 minutes = 2; int32 seconds = 3; int32 nanos = 4; }"},
    {"google/type/latlng.proto",
     "syntax = \"proto3\"; package google.type; message LatLng { double latitude = 1; double longitude = 2; }"},
};

const std::pair<const char *, ProtobufKnown> known_messages[] = {
    {"google.protobuf.Timestamp", ProtobufKnown::timestamp},
    {"google.protobuf.DoubleValue", ProtobufKnown::wrapper},
    {"google.protobuf.FloatValue", ProtobufKnown::wrapper},
    {"google.protobuf.Int64Value", ProtobufKnown::wrapper},
    {"google.protobuf.UInt64Value", ProtobufKnown::wrapper},
    {"google.protobuf.Int32Value", ProtobufKnown::wrapper},
    {"google.protobuf.UInt32Value", ProtobufKnown::wrapper},
    {"google.protobuf.BoolValue", ProtobufKnown::wrapper},
    {"google.protobuf.StringValue", ProtobufKnown::wrapper},
    {"google.protobuf.BytesValue", ProtobufKnown::wrapper},
    {"google.protobuf.Struct", ProtobufKnown::structure},
    {"google.protobuf.Value", ProtobufKnown::value},
    {"google.protobuf.ListValue", ProtobufKnown::list},
    {"google.type.Decimal", ProtobufKnown::wrapper},
    {"google.type.Money", ProtobufKnown::money},
    {"confluent.type.Decimal", ProtobufKnown::decimal},
};

constexpr size_t maximum_messages = 20'000;
constexpr int maximum_depth = 64;

/// Keeps the first error of a text.
class TextErrors : public pb::io::ErrorCollector {
public:
    std::string first;
    void AddError(int line, pb::io::ColumnNumber, const std::string &message) override {
        if (first.empty()) first = "line " + std::to_string(line + 1) + ": " + message;
    }
};

/// Keeps the first error of a descriptor.
class DescriptorErrors : public pb::DescriptorPool::ErrorCollector {
public:
    std::string first;
    void AddError(
        const std::string &, const std::string &element, const pb::Message *, ErrorLocation,
        const std::string &message) override {
        if (first.empty()) first = element + ": " + message;
    }
};

/// Whether braces are nested deeper than libprotobuf's parser, which calls itself for each, can be trusted with.
bool is_too_deep(const std::string &text) {
    int depth = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        char c = text[i], next = i + 1 < text.size() ? text[i + 1] : '\0';
        if (c == '/' && next == '/') {
            while (i < text.size() && text[i] != '\n') ++i;
        } else if (c == '/' && next == '*') {
            size_t end = text.find("*/", i + 2);
            if (end == std::string::npos) return false;
            i = end + 1;
        } else if (c == '"' || c == '\'') {
            for (++i; i < text.size() && text[i] != c && text[i] != '\n'; ++i) i += text[i] == '\\';
        } else {
            depth += (c == '{') - (c == '}');
            if (depth > maximum_depth) return true;
        }
    }
    return false;
}

/// The bytes of a base64 text; empty when it is none.
std::string from_base64(const std::string &text) {
    std::string bytes;
    uint32_t bits = 0;
    int count = 0;
    for (char c : text) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        if (c == '=' || c == '\n' || c == '\r') continue;
        const char *digit = c == '\0' ? nullptr : std::strchr(digits, c);
        if (digit == nullptr) return {};
        bits = bits << 6 | static_cast<uint32_t>(digit - digits);
        if ((count += 6) < 8) continue;
        count -= 8;
        bytes += static_cast<char>(bits >> count & 0xFF);
    }
    return bytes;
}

/// Builds the files of a schema, each after those that it imports.
class Files {
public:
    Files(const std::vector<ProtobufSchema::Part> &parts, std::string folder)
        : folder_(std::move(folder)), main_(parts.back().name) {
        // What a file imports only for its options need not be at hand.
        pool_.AllowUnknownDependencies();
        for (const auto &part : parts) texts_[part.name] = part.text;
    }

    /// nullptr: there is no such file.
    const pb::FileDescriptor *build(const std::string &name, int depth = 0) {
        auto known = built_.find(name);
        if (known != built_.end()) return known->second;
        if (depth == maximum_depth) throw SchemaError{"imports are nested deeper than 64"};
        if (!begun_.insert(name).second) throw SchemaError{name + " imports itself"};
        pb::FileDescriptorProto file;
        if (!find(name, &file)) return built_[name] = nullptr;
        file.set_name(name);
        for (const std::string &import : file.dependency()) build(import, depth + 1);
        DescriptorErrors errors;
        const pb::FileDescriptor *built = pool_.BuildFileCollectingErrors(file, &errors);
        if (built == nullptr) throw SchemaError{errors.first};
        return built_[name] = built;
    }

    /// A set of descriptors, as `protoc -o` writes it. False: it is none.
    bool add_set(const std::string &bytes) {
        pb::FileDescriptorSet set;
        if (!set.ParseFromString(bytes) || set.file_size() == 0) return false;
        for (const auto &file : set.file()) descriptors_[file.name()] = file;
        for (const auto &file : set.file()) build(file.name());
        return true;
    }

    const pb::DescriptorPool &pool() const { return pool_; }

private:
    pb::DescriptorPool pool_;
    std::string folder_, main_;
    std::map<std::string, std::string> texts_;
    std::map<std::string, pb::FileDescriptorProto> descriptors_;
    std::map<std::string, const pb::FileDescriptor *> built_;
    std::set<std::string> begun_;

    bool find(const std::string &name, pb::FileDescriptorProto *file) {
        if (name.compare(0, 16, "google/protobuf/") == 0) {
            auto *known = pb::DescriptorPool::generated_pool()->FindFileByName(name);
            if (known != nullptr) {
                known->CopyTo(file);
                return true;
            }
        }
        auto descriptor = descriptors_.find(name);
        if (descriptor != descriptors_.end()) {
            *file = descriptor->second;
            return true;
        }
        auto text = texts_.find(name);
        if (text != texts_.end()) {
            read(name, text->second, file);
            return true;
        }
        for (const auto &known : known_files) {
            if (name != known.first) continue;
            read(name, known.second, file);
            return true;
        }
        if (folder_.empty()) return false;
        // Beside the schema, or where a folder above it is the root of imports.
        std::string folder = folder_ + "/";
        for (int i = 0; i < 8; ++i, folder += "../") {
            std::ifstream stream(folder + name, std::ios::binary);
            if (!stream) continue;
            read(name, std::string(std::istreambuf_iterator<char>(stream), {}), file);
            return true;
        }
        return false;
    }

    void read(const std::string &name, const std::string &text, pb::FileDescriptorProto *file) const {
        std::string bytes = from_base64(text);
        if (!bytes.empty() && file->ParseFromString(bytes)) return;
        file->Clear();
        if (is_too_deep(text)) throw SchemaError{"it is nested deeper than 64"};
        TextErrors errors;
        pb::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
        pb::io::Tokenizer tokenizer(&stream, &errors);
        pb::compiler::Parser parser;
        parser.RecordErrorsTo(&errors);
        if (!parser.Parse(&tokenizer, file) || !errors.first.empty()) {
            throw SchemaError{(name == main_ ? "" : name + ", ") + errors.first};
        }
    }
};

/// Copies descriptors into the table.
class Table {
public:
    explicit Table(ProtobufSchema &schema) : schema_(schema) {}

    uint32_t add(const pb::Descriptor *message) {
        auto [known, is_new] = messages_.emplace(message, static_cast<uint32_t>(schema_.messages.size()));
        uint32_t index = known->second;
        if (!is_new) return index;
        if (index == maximum_messages) throw SchemaError{"it has more than 20000 messages"};
        schema_.messages.emplace_back();
        waiting_.push_back(message);
        std::vector<uint32_t> nested;
        for (int i = 0; i < message->nested_type_count(); ++i) {
            // No record is an entry of a map, and Confluent's Java client does not count them.
            auto *inner = message->nested_type(i);
            if (!inner->options().map_entry()) nested.push_back(add(inner));
        }
        ProtobufSchema::Message &entry = schema_.messages[index];
        entry.name = message->full_name();
        entry.is_missing = message->file()->is_placeholder();
        entry.nested = std::move(nested);
        for (const auto &candidate : known_messages) {
            if (entry.name == candidate.first) entry.known = candidate.second;
        }
        return index;
    }

    /// Adds the fields of all messages, and the messages that they lead to.
    void add_fields() {
        for (size_t i = 0; i < waiting_.size(); ++i) {
            std::vector<ProtobufSchema::Field> fields;
            for (int n = 0; n < waiting_[i]->field_count(); ++n) fields.push_back(field(waiting_[i]->field(n)));
            schema_.messages[messages_[waiting_[i]]].fields = std::move(fields);
        }
    }

private:
    ProtobufSchema &schema_;
    std::map<const pb::Descriptor *, uint32_t> messages_;
    std::map<const pb::EnumDescriptor *, uint32_t> enums_;
    std::vector<const pb::Descriptor *> waiting_;

    uint32_t add(const pb::EnumDescriptor *type) {
        auto [known, is_new] = enums_.emplace(type, static_cast<uint32_t>(schema_.enums.size()));
        if (!is_new) return known->second;
        ProtobufSchema::Enum entry;
        entry.is_closed = type->file()->syntax() == pb::FileDescriptor::SYNTAX_PROTO2;
        for (int i = 0; i < type->value_count(); ++i) {
            entry.names.emplace(type->value(i)->number(), type->value(i)->name());
        }
        schema_.enums.push_back(std::move(entry));
        return known->second;
    }

    ProtobufSchema::Field field(const pb::FieldDescriptor *field) {
        ProtobufSchema::Field entry;
        entry.name = field->type() == pb::FieldDescriptor::TYPE_GROUP ? field->lowercase_name() : field->name();
        entry.json_name = field->json_name();
        entry.number = static_cast<uint32_t>(field->number());
        entry.type = type(field->type());
        entry.is_repeated = field->is_repeated();
        entry.is_map = field->is_map();
        if (auto *choice = field->real_containing_oneof()) entry.choice = choice->index();
        if (field->message_type() != nullptr) entry.target = add(field->message_type());
        if (field->enum_type() != nullptr) entry.target = add(field->enum_type());
        bool is_of_map = field->containing_type()->options().map_entry();
        bool has_value = !field->has_presence() || field->has_default_value() || is_of_map;
        if (!field->is_repeated() && field->message_type() == nullptr && entry.choice < 0 && has_value) {
            set_default(field, &entry);
        }
        return entry;
    }

    static ProtobufType type(pb::FieldDescriptor::Type type) {
        using F = pb::FieldDescriptor;
        switch (type) {
        case F::TYPE_INT32: return ProtobufType::int32;
        case F::TYPE_INT64: return ProtobufType::int64;
        case F::TYPE_UINT32: return ProtobufType::uint32;
        case F::TYPE_UINT64: return ProtobufType::uint64;
        case F::TYPE_SINT32: return ProtobufType::sint32;
        case F::TYPE_SINT64: return ProtobufType::sint64;
        case F::TYPE_FIXED32: return ProtobufType::fixed32;
        case F::TYPE_FIXED64: return ProtobufType::fixed64;
        case F::TYPE_SFIXED32: return ProtobufType::sfixed32;
        case F::TYPE_SFIXED64: return ProtobufType::sfixed64;
        case F::TYPE_FLOAT: return ProtobufType::float32;
        case F::TYPE_DOUBLE: return ProtobufType::float64;
        case F::TYPE_BOOL: return ProtobufType::boolean;
        case F::TYPE_ENUM: return ProtobufType::enumeration;
        case F::TYPE_STRING: return ProtobufType::string;
        case F::TYPE_BYTES: return ProtobufType::bytes;
        case F::TYPE_GROUP: return ProtobufType::group;
        default: return ProtobufType::message;
        }
    }

    template <class Number>
    static std::string digits(Number number) {
        char text[64];
        return std::string(text, std::to_chars(text, text + sizeof text, number).ptr);
    }

    static void set_default(const pb::FieldDescriptor *field, ProtobufSchema::Field *entry) {
        using F = pb::FieldDescriptor;
        entry->default_kind = Kind::number;
        switch (field->cpp_type()) {
        case F::CPPTYPE_INT32: entry->default_text = digits(field->default_value_int32()); break;
        case F::CPPTYPE_INT64: entry->default_text = digits(field->default_value_int64()); break;
        case F::CPPTYPE_UINT32: entry->default_text = digits(field->default_value_uint32()); break;
        case F::CPPTYPE_UINT64: entry->default_text = digits(field->default_value_uint64()); break;
        case F::CPPTYPE_FLOAT: entry->default_text = digits(field->default_value_float()); break;
        case F::CPPTYPE_DOUBLE: entry->default_text = digits(field->default_value_double()); break;
        case F::CPPTYPE_BOOL:
            entry->default_kind = Kind::boolean;
            entry->default_text = field->default_value_bool() ? "true" : "false";
            break;
        case F::CPPTYPE_ENUM:
            entry->default_kind = Kind::string;
            entry->default_text = field->default_value_enum()->name();
            break;
        default:
            entry->default_text = field->default_value_string();
            entry->default_kind = entry->default_text.find('\0') == std::string::npos ? Kind::string : Kind::text;
        }
    }
};

}  // namespace

ProtobufSchema::ProtobufSchema(
    const std::vector<Part> &parts, const std::string &folder, const std::string &message) {
    // It would write to standard error what is reported anyway.
    static const bool is_quiet = (pb::SetLogHandler(nullptr), true);
    (void)is_quiet;
    Files files(parts, folder);
    const std::string &name = parts.back().name;
    bool is_text = name.size() < 6 || name.compare(name.size() - 6, 6, ".proto") == 0;
    Table table(*this);
    if (is_text || !files.add_set(parts.back().text)) {
        auto *file = files.build(name);
        for (int i = 0; i < file->message_type_count(); ++i) tops.push_back(table.add(file->message_type(i)));
    }
    if (!message.empty()) {
        auto *type = files.pool().FindMessageTypeByName(message);
        if (type == nullptr) throw SchemaError{"it has no message " + message};
        named = table.add(type);
    }
    table.add_fields();
}

}  // namespace clvd
