/// A JSON object whose member `batch` is an array of events, as the HTTP interface of Segment takes them.
enum Envelope {
    /// Where the events of a batch lie in a well-formed document; empty when it is none.
    static func events(in document: UnsafeBufferPointer<UInt8>) -> [Range<Int>] {
        var scan = Cursor(document)
        guard scan.take(UInt8(ascii: "{")) else { return [] }
        while let key = scan.string() {
            guard scan.take(UInt8(ascii: ":")) else { return [] }
            if document[key].elementsEqual("batch".utf8), scan.take(UInt8(ascii: "[")) {
                var events: [Range<Int>] = []
                while let value = scan.value() {
                    events.append(value)
                    guard scan.take(UInt8(ascii: ",")) else { break }
                }
                let areObjects = events.allSatisfy { document[$0.lowerBound] == UInt8(ascii: "{") }
                return areObjects && scan.take(UInt8(ascii: "]")) ? events : []
            }
            guard scan.value() != nil, scan.take(UInt8(ascii: ",")) else { return [] }
        }
        return []
    }

    /// Goes through a document value by value.
    private struct Cursor {
        let bytes: UnsafeBufferPointer<UInt8>
        var at = 0

        init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

        private mutating func skipBlanks() {
            while at < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[at]) { at += 1 }
        }

        mutating func take(_ byte: UInt8) -> Bool {
            skipBlanks()
            guard at < bytes.count, bytes[at] == byte else { return false }
            at += 1
            return true
        }

        /// The characters of a string, with its escapes.
        mutating func string() -> Range<Int>? {
            guard take(UInt8(ascii: "\"")) else { return nil }
            let start = at
            while at < bytes.count, bytes[at] != UInt8(ascii: "\"") {
                at += bytes[at] == UInt8(ascii: "\\") ? 2 : 1
            }
            guard at < bytes.count else { return nil }
            at += 1
            return start..<at - 1
        }

        /// A whole value; nil before a closing bracket.
        mutating func value() -> Range<Int>? {
            skipBlanks()
            let start = at
            var depth = 0
            while at < bytes.count {
                switch bytes[at] {
                case UInt8(ascii: "\""):
                    guard string() != nil else { return nil }
                    if depth == 0 { return start..<at }
                    continue
                case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
                case UInt8(ascii: "}"), UInt8(ascii: "]"):
                    if depth == 0 { return at > start ? start..<at : nil }
                    depth -= 1
                    if depth == 0 {
                        at += 1
                        return start..<at
                    }
                case UInt8(ascii: ",") where depth == 0: return at > start ? start..<at : nil
                default: break
                }
                at += 1
            }
            return nil
        }
    }
}
