/// One thing that is wrong with the settings. Prints as `path: what is wrong (value, where), what to do`.
public struct SettingsProblem: Sendable, Equatable, CustomStringConvertible {
    /// The key (`learning.batchSize`), or the file when it cannot be read at all.
    public var path: String
    public var problem: String
    /// The offending value as it was written. Nil where there is none, and wherever it may be a secret.
    public var value: String?
    /// `clvd.yaml line 12` or the name of an environment variable; nil when the value was set by the program.
    public var source: String?
    public var remedy: String
    /// Other keys the judgement rests on; one that could not be read makes it moot.
    var related: [String] = []

    package init(
        path: String, problem: String, value: String? = nil, source: String? = nil, remedy: String,
        related: [String] = []
    ) {
        (self.path, self.problem, self.value, self.source) = (path, problem, value, source)
        (self.remedy, self.related) = (remedy, related)
    }

    public var description: String {
        var place = [String]()
        if let value { place.append(value.count > 80 ? value.prefix(80) + "…" : value) }
        if let source { place.append(source) }
        return "\(path): \(problem)\(place.isEmpty ? "" : " (\(place.joined(separator: ", ")))"), \(remedy)"
    }
}

/// Why the settings cannot be used: every problem, not only the first.
public struct SettingsError: Error, Sendable, Equatable, CustomStringConvertible {
    public let problems: [SettingsProblem]

    package init(problems: [SettingsProblem]) { self.problems = problems }

    public var description: String {
        problems.count == 1
            ? problems[0].description
            : "\(problems.count) problems with the settings:\n"
                + problems.map { "  \($0)" }.joined(separator: "\n")
    }
}
