// What is wrong with a schema.
#pragma once

#include <string>

namespace clvd {

/// A sentence without its end.
struct SchemaError {
    std::string message;
};

}  // namespace clvd
