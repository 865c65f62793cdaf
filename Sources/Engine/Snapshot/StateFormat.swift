/// The meaning of what snapshots hold has a version, the state format. Which version of clvd reads which.
public enum StateFormat {
    /// The one that this version writes. It is also the only one that it reads.
    public static let current = EngineImage.Metadata.currentFormat

    /// By format: the versions of clvd that read it; nil: up to this one. A new format gets a line, and the one before
    /// it the last version that read it.
    static let versions: [Int: (first: String, last: String?)] = [
        4: ("0.1.0", "0.1.0"),
        7: ("0.2.0", nil),
    ]

    public static func isRead(_ format: Int) -> Bool { format == current }

    /// Whose snapshot of a format this is, and what reads it, for people.
    public static func explanation(of found: Int) -> String {
        let here = "state format \(found), this one reads \(current)"
        if found > current {
            return "written by a newer clvd (\(here)): upgrade this instance; partitions go from older to newer "
                + "versions only"
        }
        guard let (first, last) = versions[found] else {
            return "written by another clvd (\(here)) that was never released"
        }
        guard let last else { return "written by clvd \(first) or later (\(here))" }
        return "written by an older clvd (\(here)): clvd \(first == last ? first : "\(first) to \(last)") reads it"
    }
}
