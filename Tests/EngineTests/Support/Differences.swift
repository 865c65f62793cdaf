/// Where two sequences differ, in words for the message of a failed test: the first few places and how many there are.
/// Empty when they are equal.
func firstDifferences<A: Sequence, B: Sequence>(
    _ a: A, _ b: B, by areEqual: (A.Element, B.Element) -> Bool
) -> [String] {
    var faults = FirstFaults()
    var (i, j) = (a.makeIterator(), b.makeIterator())
    var at = 0
    while true {
        let (x, y) = (i.next(), j.next())
        if x == nil && y == nil { break }
        let same = if let x, let y { areEqual(x, y) } else { false }
        faults.expect(same, "[\(at)]: \(x.map { "\($0)" } ?? "nothing") and \(y.map { "\($0)" } ?? "nothing")")
        at += 1
    }
    return faults.found
}

func firstDifferences<A: Sequence, B: Sequence>(_ a: A, _ b: B) -> [String]
where A.Element: Equatable, A.Element == B.Element {
    firstDifferences(a, b, by: ==)
}

/// Collects what is wrong in a long loop, so that a failure tells the first few faults and their number, not thousands.
struct FirstFaults {
    /// Faults that are told, and characters of each.
    private static let (most, longest) = (3, 300)

    private var count = 0
    private var first: [String] = []

    mutating func expect(_ holds: Bool, _ what: @autoclosure () -> String) {
        if holds { return }
        count += 1
        if first.count < Self.most { first.append(String(what().prefix(Self.longest))) }
    }

    /// The first faults, and how many there are beside them; empty when there is none.
    var found: [String] { first + (count > first.count ? ["and \(count - first.count) more"] : []) }
}
