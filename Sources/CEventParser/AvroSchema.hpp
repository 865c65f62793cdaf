// Avro schemas, as they are written in JSON (Apache Avro 1.12, "Schema Declaration").
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "SchemaError.hpp"

namespace clvd {

enum class AvroType : uint8_t {
    null,
    boolean,
    integer,  // int and long are written alike
    float32,
    float64,
    string,   // and bytes
    fixed,
    enumeration,
    array,
    map,
    choice,   // a union
    record,
};

enum class AvroLogical : uint8_t { none, date, milliseconds, microseconds, nanoseconds, decimal, uuid };

/// A schema as a table of types that refer to one another.
class AvroSchema {
public:
    struct Type {
        AvroType type = AvroType::null;
        AvroLogical logical = AvroLogical::none;
        uint32_t size = 0;                // of a fixed, bytes
        uint32_t scale = 0;               // of a decimal
        std::vector<uint32_t> parts;      // fields, branches, or the one element
        std::vector<std::string> names;   // of fields; symbols
    };

    /// Adds what `text` declares and returns its type. What was added before may be referred to by name.
    /// Throws `SchemaError`.
    uint32_t add(const char *text, size_t length) {
        simdjson::dom::parser parser;
        simdjson::dom::element root;
        if (parser.parse(text, length).get(root) != simdjson::SUCCESS) throw SchemaError{"it is not JSON"};
        uint32_t type = read(root, "", 0);
        for (; checked_ < types.size(); ++checked_) weight(checked_, 0);
        return type;
    }

    std::vector<Type> types;

    /// Whether values of a type take no bytes.
    bool is_empty(uint32_t index) const {
        const Type &type = types[index];
        if (type.type != AvroType::record) {
            return type.type == AvroType::null || (type.type == AvroType::fixed && type.size == 0);
        }
        for (uint32_t part : type.parts) {
            if (!is_empty(part)) return false;
        }
        return true;
    }

private:
    using Element = simdjson::dom::element;
    using Object = simdjson::dom::object;

    static constexpr size_t maximum_types = 20'000;
    static constexpr uint32_t maximum_weight = 20'000;
    static constexpr int maximum_depth = 64;

    std::unordered_map<std::string, uint32_t> named_;
    std::vector<uint32_t> weights_;
    uint32_t checked_ = 0;

    uint32_t make(AvroType type) {
        if (types.size() == maximum_types) throw SchemaError{"it has more than 20000 types"};
        types.emplace_back();
        types.back().type = type;
        return static_cast<uint32_t>(types.size() - 1);
    }

    uint32_t read(Element element, const std::string &space, int depth) {
        if (depth == maximum_depth) throw SchemaError{"it is nested deeper than 64"};
        std::string_view name;
        if (element.get(name) == simdjson::SUCCESS) return refer(std::string(name), space);
        simdjson::dom::array branches;
        if (element.get(branches) == simdjson::SUCCESS) {
            uint32_t index = make(AvroType::choice);
            std::vector<uint32_t> parts;
            for (Element branch : branches) parts.push_back(read(branch, space, depth + 1));
            types[index].parts = std::move(parts);
            return index;
        }
        Object object;
        if (element.get(object) != simdjson::SUCCESS) throw SchemaError{"a type is neither a name, a list nor an object"};
        Element inner = member(object, "type");
        if (inner.get(name) != simdjson::SUCCESS) return read(inner, space, depth + 1);
        return declare(object, std::string(name), space, depth);
    }

    uint32_t refer(const std::string &name, const std::string &space) {
        static const std::pair<const char *, AvroType> primitives[] = {
            {"null", AvroType::null},     {"boolean", AvroType::boolean}, {"int", AvroType::integer},
            {"long", AvroType::integer},  {"float", AvroType::float32},   {"double", AvroType::float64},
            {"string", AvroType::string}, {"bytes", AvroType::string},
        };
        for (const auto &primitive : primitives) {
            if (name == primitive.first) return make(primitive.second);
        }
        for (const std::string &candidate : {full(name, space), name}) {
            auto found = named_.find(candidate);
            if (found != named_.end()) return found->second;
        }
        throw SchemaError{"\"" + name + "\" is not declared"};
    }

    uint32_t declare(Object object, const std::string &kind, const std::string &space, int depth) {
        if (kind == "array" || kind == "map") {
            uint32_t index = make(kind == "array" ? AvroType::array : AvroType::map);
            uint32_t element = read(member(object, kind == "array" ? "items" : "values"), space, depth + 1);
            types[index].parts = {element};
            return index;
        }
        if (kind == "record" || kind == "error") return record(object, space, depth);
        if (kind == "enum") {
            uint32_t index = name(object, space, AvroType::enumeration).first;
            simdjson::dom::array symbols;
            if (member(object, "symbols").get(symbols) != simdjson::SUCCESS) throw SchemaError{"an enum has no symbols"};
            for (Element symbol : symbols) types[index].names.push_back(text(symbol, "a symbol"));
            return index;
        }
        uint32_t index;
        if (kind == "fixed") {
            index = name(object, space, AvroType::fixed).first;
            types[index].size = whole(object, "size", true);
        } else {
            index = refer(kind, space);
        }
        logical(object, kind, &types[index]);
        return index;
    }

    uint32_t record(Object object, const std::string &space, int depth) {
        auto [index, inner] = name(object, space, AvroType::record);
        simdjson::dom::array fields;
        if (member(object, "fields").get(fields) != simdjson::SUCCESS) throw SchemaError{"a record has no fields"};
        for (Element field : fields) {
            Object members;
            if (field.get(members) != simdjson::SUCCESS) throw SchemaError{"a field is not an object"};
            std::string name = text(member(members, "name"), "the name of a field");
            uint32_t part = read(member(members, "type"), inner, depth + 1);
            types[index].names.push_back(std::move(name));
            types[index].parts.push_back(part);
        }
        return index;
    }

    /// A new type under the name of `object`, and the namespace in which the names inside it are.
    std::pair<uint32_t, std::string> name(Object object, std::string space, AvroType type) {
        std::string name = text(member(object, "name"), "a name");
        std::string_view given;
        if (object["namespace"].get(given) == simdjson::SUCCESS) space = std::string(given);
        name = full(name, space);
        size_t point = name.rfind('.');
        uint32_t index = make(type);
        if (!named_.emplace(name, index).second) throw SchemaError{"\"" + name + "\" is declared twice"};
        return {index, point == std::string::npos ? std::string() : name.substr(0, point)};
    }

    static std::string full(const std::string &name, const std::string &space) {
        return space.empty() || name.find('.') != std::string::npos ? name : space + "." + name;
    }

    static void logical(Object object, const std::string &kind, Type *type) {
        std::string_view name;
        if (object["logicalType"].get(name) != simdjson::SUCCESS) return;
        if (name.substr(0, 6) == "local-") name.remove_prefix(6);
        AvroLogical logical = AvroLogical::none;
        if (kind == "long" && name == "timestamp-millis") logical = AvroLogical::milliseconds;
        if (kind == "long" && name == "timestamp-micros") logical = AvroLogical::microseconds;
        if (kind == "long" && name == "timestamp-nanos") logical = AvroLogical::nanoseconds;
        if (kind == "int" && name == "date") logical = AvroLogical::date;
        if (kind == "fixed" && name == "uuid" && type->size == 16) logical = AvroLogical::uuid;
        if ((kind == "bytes" || kind == "fixed") && name == "decimal") {
            logical = AvroLogical::decimal;
            type->scale = whole(object, "scale", false);
            if (type->scale > 1000) throw SchemaError{"the scale of a decimal is above 1000"};
        }
        type->logical = logical;
    }

    static Element member(Object object, const char *key) {
        Element element;
        if (object[key].get(element) != simdjson::SUCCESS) throw SchemaError{std::string("\"") + key + "\" is missing"};
        return element;
    }

    static std::string text(Element element, const char *what) {
        std::string_view text;
        if (element.get(text) != simdjson::SUCCESS) throw SchemaError{std::string(what) + " is not a string"};
        return std::string(text);
    }

    /// A whole number below 2^30; 0 when it is missing and need not be there.
    static uint32_t whole(Object object, const char *key, bool is_required) {
        Element element;
        if (!is_required && object[key].get(element) != simdjson::SUCCESS) return 0;
        uint64_t value;
        if (member(object, key).get(value) != simdjson::SUCCESS || value >= 1u << 30) {
            throw SchemaError{std::string("\"") + key + "\" is not a size"};
        }
        return static_cast<uint32_t>(value);
    }

    /// How many values a value of this type has that no byte need stand for. A small record could have very many, or,
    /// where a record is in itself, no end of them.
    uint32_t weight(uint32_t index, int depth) {
        if (weights_.size() < types.size()) weights_.resize(types.size());
        if (weights_[index] != 0) return weights_[index];
        if (depth == maximum_depth) throw SchemaError{"a record contains itself, or records are nested deeper than 64"};
        uint64_t sum = 1;
        if (types[index].type == AvroType::record) {
            for (uint32_t part : types[index].parts) sum += weight(part, depth + 1);
        }
        if (sum > maximum_weight) throw SchemaError{"a record has more than 20000 values"};
        return weights_[index] = static_cast<uint32_t>(sum);
    }
};

}  // namespace clvd
