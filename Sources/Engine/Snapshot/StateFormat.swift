import Foundation

/// The meaning of what snapshots hold has a version, the state format. Which version of clvd reads which.
public enum StateFormat {
    /// The one that this version writes. It also reads those before it, from `oldest` on.
    public static let current = EngineImage.Metadata.currentFormat
    static let oldest = 6

    /// By format: the versions of clvd that read it; nil: up to this one. A new format gets a line, and one that is no
    /// longer read the last version that read it.
    static let versions: [Int: (first: String, last: String?)] = [
        4: ("0.1.0", "0.1.0"),
        6: ("0.2.0", nil),
        7: ("0.2.0", nil),
        8: ("0.2.0", nil),
    ]

    public static func isRead(_ format: Int) -> Bool { (oldest...current).contains(format) }

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

    /// The description of a snapshot of a former format (`EngineImage.Metadata` as JSON) with what the format did not
    /// have yet: settings at their defaults, counters at 0. Whatever is added to either needs no word here.
    public static func completed(_ description: Data) throws -> Data {
        func json(_ value: some Encodable) throws -> Any {
            try JSONSerialization.jsonObject(with: JSONEncoder().encode(value))
        }
        guard var whole = try JSONSerialization.jsonObject(with: description) as? [String: Any] else {
            return description
        }
        whole["configuration"] = overlay(whole["configuration"], on: try json(EngineConfiguration()))
        let counters = try json(TaskCounters())
        whole["tasks"] = (whole["tasks"] as? [[String: Any]])?.map { task in
            var task = task
            task["counters"] = overlay(task["counters"], on: counters)
            return task
        }
        return try JSONSerialization.data(withJSONObject: whole)
    }

    /// Members of objects that `saved` does not have are those of `defaults`.
    private static func overlay(_ saved: Any?, on defaults: Any) -> Any {
        guard let saved else { return defaults }
        guard let members = saved as? [String: Any], let others = defaults as? [String: Any] else { return saved }
        return others.merging(members) { overlay($1, on: $0) }
    }
}
