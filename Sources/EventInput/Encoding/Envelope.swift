/// A JSON document that holds several events: in an array, or in an array that is a member of objects.
enum Envelope {
    /// Where the elements of an array lie in a well-formed document, all of them objects; empty when there are none.
    /// - Parameter path: names of the members that lead to the array; none: it is the document itself.
    static func events(in document: UnsafeBufferPointer<UInt8>, at path: [String] = ["batch"]) -> [Range<Int>] {
        var scan = Cursor(document)
        for name in path { guard scan.enter(name) else { return [] } }
        guard scan.take(UInt8(ascii: "[")) else { return [] }
        var events: [Range<Int>] = []
        while let value = scan.value() {
            guard document[value.lowerBound] == UInt8(ascii: "{") else { return [] }
            events.append(value)
            guard scan.take(UInt8(ascii: ",")) else { break }
        }
        return scan.take(UInt8(ascii: "]")) ? events : []
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

        /// Goes to the value of a member of the object that begins here. False: there is none of this name.
        mutating func enter(_ name: String) -> Bool {
            guard take(UInt8(ascii: "{")) else { return false }
            while let key = string(), take(UInt8(ascii: ":")) {
                if bytes[key].elementsEqual(name.utf8) { return true }
                guard value() != nil, take(UInt8(ascii: ",")) else { return false }
            }
            return false
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
