import Configuration
import Engine
import Foundation
import Yams

extension Settings {
    /// The defaults, over them a YAML file, over it the environment.
    ///
    /// A variable is `CLVD_` and the path of a key in upper snake case: `CLVD_KAFKA_BOOTSTRAP_SERVERS`. Lists are
    /// separated by commas or written as YAML, maps and targets as YAML (`{a: 1}`); an empty variable counts as unset.
    /// Any value may contain `${NAME}`, which stands for a variable of the environment (`$${` for the characters).
    /// A value of `kafka.properties` may be `file:/path`: the contents of the file without the line break at its end.
    /// - Parameter path: of the YAML file; nil for none.
    /// - Throws: `SettingsError` with everything that is wrong.
    public static func load(path: String?, environment: [String: String]) throws -> Settings {
        var reading = Reading(environment: environment)
        var settings = Settings()
        if let path { reading.readFile(path, into: &settings) }
        reading.readEnvironment(into: &settings)

        let failed = reading.problems.map(\.path)
        for var problem in settings.validate() {
            // A value that could not be read was reported; the default in its place proves nothing.
            let moot = ([problem.path] + problem.related).contains { path in
                failed.contains { isWithin(path, $0) || isWithin($0, path) }
            }
            if moot { continue }
            problem.source = reading.source(of: problem.path)
            reading.problems.append(problem)
        }
        guard reading.problems.isEmpty else { throw SettingsError(problems: reading.problems) }
        return settings
    }

    /// The environment variable of a key.
    static func variable(_ path: String) -> String {
        var name = "CLVD_"
        for c in path {
            if c.isUppercase { name += "_" }
            name += c == "." ? "_" : c.uppercased()
        }
        return name
    }

    /// The environment variables of all keys, in their order.
    static let variables = keys.map { variable($0.path) }
    private static let variablesOfSections = Set(keys.map { variable(String($0.path.prefix { $0 != "." })) })

    /// Whether a variable is named like one of a section of ours.
    static func isNamedLikeOurs(_ name: String) -> Bool {
        name.hasPrefix("CLVD_") && variablesOfSections.contains { name.hasPrefix($0 + "_") }
    }

    /// The variable of the longest key whose name, without its section, is the end of this one: `CLVD_STORE_DIRECTORY`.
    static func variable(withTheKeyOf name: String) -> String? {
        func ending(_ path: String) -> String {
            variable(String(path.split(separator: ".").last!)).dropFirst(4).description
        }
        return keys.map(\.path).filter { $0.contains(".") && name.hasSuffix(ending($0)) }
            .max { ending($0).count < ending($1).count }.map(variable)
    }

    /// Whether `path` is `section` or lies in it.
    static func isWithin(_ path: String, _ section: String) -> Bool {
        guard path.hasPrefix(section) else { return false }
        let next = path.utf8.dropFirst(section.utf8.count).first
        return next == nil || next == UInt8(ascii: ".") || next == UInt8(ascii: "[")
    }
}

/// Where a value stands.
struct Place: Sendable {
    var path: String
    /// Of the file; nil for the environment.
    var file: String?
    var variable: String?
    var line: Int?
    var isSecret = false

    var source: String? {
        if let variable { return variable }
        return file.map { file in line.map { "\(file) line \($0)" } ?? file }
    }

    /// The place of something in this value.
    func inner(_ name: String, _ node: Node) -> Place {
        var place = self
        place.path += name
        if variable == nil { place.line = node.mark?.line ?? line }
        return place
    }
}

/// Settings while they are read: the problems so far, and where values came from.
struct Reading {
    let environment: [String: String]
    var problems: [SettingsProblem] = []
    private var sources: [String: String] = [:]

    init(environment: [String: String]) { self.environment = environment }

    mutating func report(_ place: Place, _ problem: String, value: String? = nil, _ remedy: String) {
        problems.append(
            SettingsProblem(
                path: place.path, problem: problem, value: place.isSecret ? nil : value, source: place.source,
                remedy: remedy))
    }

    /// Where the value of a key, or that of the list or map around it, was set.
    func source(of path: String) -> String? {
        var path = Substring(path)
        while !path.isEmpty {
            if let source = sources[String(path)] { return source }
            path = path.prefix(upTo: path.lastIndex { $0 == "." || $0 == "[" } ?? path.startIndex)
        }
        return nil
    }

    // MARK: File

    mutating func readFile(_ path: String, into settings: inout Settings) {
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else {
            return fail(
                path, "there is no such file", "create it (config/clvd.yaml is a template) or give another path")
        }
        if isDirectory.boolValue { return fail(path, "is a directory", "give the path of a YAML file") }
        // A pipe (/dev/stdin) is read to its end.
        guard let handle = FileHandle(forReadingAtPath: path), let data = try? handle.readToEnd() ?? Data() else {
            return fail(path, "cannot be read", "allow this user to read it")
        }
        guard let text = String(data: data, encoding: .utf8) else {
            return fail(path, "is not UTF-8", "save it as UTF-8")
        }
        if text.allSatisfy(\.isWhitespace) {
            return fail(path, "is empty", "write settings into it, or {} to take every default")
        }
        let name = path.split(separator: "/").last.map(String.init) ?? path
        do {
            guard let root = try Yams.compose(yaml: text), !root.isNull else { return }
            guard case .mapping(let mapping) = root else {
                return fail(path, "is not a map of settings", "write lines such as `kafka:` and `  groupId: clvd`")
            }
            fill(&settings, keys: Settings.keys, from: mapping, at: Place(path: "", file: name))
        } catch {
            let (problem, line) = Self.explain(error, text)
            fail(path, problem, source: line.map { "line \($0)" }, "correct the YAML")
        }
    }

    private mutating func fail(_ path: String, _ problem: String, source: String? = nil, _ remedy: String) {
        problems.append(SettingsProblem(path: path, problem: problem, source: source, remedy: remedy))
    }

    /// What is wrong with YAML and in which line. Quotes nothing of the text: it may hold secrets.
    private static func explain(_ error: any Error, _ text: String) -> (String, Int?) {
        switch error {
        case YamlError.scanner(_, let problem, let mark, _), YamlError.parser(_, let problem, let mark, _),
            YamlError.composer(_, let problem, let mark, _):
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            let line = lines.indices.contains(mark.line - 1) ? lines[mark.line - 1] : ""
            return line.prefix { $0.isWhitespace }.contains("\t")
                ? ("is indented with a tab, YAML wants spaces", mark.line) : ("is not YAML: \(problem)", mark.line)
        case YamlError.reader(let problem, let offset, _, _):
            let line = offset.map { text.utf8.prefix($0).count { $0 == UInt8(ascii: "\n") } + 1 }
            return ("is not YAML: \(problem)", line)
        case YamlError.duplicatedKeysInMapping(let names, let context):
            let keys = names.map { "\"\($0)\"" }.joined(separator: ", ")
            return ("has the key \(keys) twice in one section", context.mark.line)
        default: return ("is not YAML", nil)
        }
    }

    /// Sets in `root` what a mapping says.
    /// - Returns: the paths of the keys that were given.
    @discardableResult
    mutating func fill<Root>(
        _ root: inout Root, keys: [SettingKey<Root>], from mapping: Node.Mapping, at place: Place, section: String = ""
    ) -> Set<String> {
        var given: Set<String> = []
        var suggestions: Suggestions?
        for (nameNode, node) in mapping {
            let name = nameNode.string ?? ""
            let path = section + name
            var inner = place.inner(place.path.isEmpty ? name : "." + name, nameNode)
            if let key = keys.first(where: { $0.path == path }) {
                inner.isSecret = key.isSecret
                given.insert(path)
                sources[inner.path] = inner.source
                key.read(node, inner, &self, &root)
            } else if keys.contains(where: { $0.path.hasPrefix(path + ".") }) {
                if case .mapping(let mapping) = node {
                    given.formUnion(fill(&root, keys: keys, from: mapping, at: inner, section: path + "."))
                } else if !node.isNull {
                    report(inner, "is a section, not a value", "write its keys below it, indented by two spaces")
                }
            } else {
                let outer = inner.path.dropLast(path.count)
                let known = suggestions ?? Suggestions(keys.map(\.path), sections: true)
                suggestions = known
                report(
                    inner, "there is no such key",
                    known.nearest(to: path).map { "did you mean \(outer)\($0)?" }
                        ?? "remove it; config/clvd.yaml lists all keys")
            }
        }
        return given
    }

    // MARK: Environment

    mutating func readEnvironment(into settings: inout Settings) {
        guard environment.keys.contains(where: { $0.hasPrefix("CLVD_") }) else { return }
        let reader = ConfigReader(
            provider: EnvironmentVariablesProvider(
                environmentVariables: environment, secretsSpecifier: .specific([Settings.variable("kafka.properties")]))
        ).scoped(to: "clvd")
        for (key, variable) in zip(Settings.keys, Settings.variables) where environment[variable] != nil {
            guard let text = reader.string(forKey: ConfigKey(key.path), isSecret: key.isSecret), !text.isEmpty
            else { continue }
            let place = Place(path: key.path, variable: variable, isSecret: key.isSecret)
            sources = sources.filter { !Settings.isWithin($0.key, key.path) }
            sources[key.path] = variable
            do {
                key.read(try key.environmentNode(text), place, &self, &settings)
            } catch {
                report(place, Self.explain(error, text).0, "write \(key.expectation)")
            }
        }
        rejectUnknownVariables()
    }

    /// A variable named like one of our sections, nearly like a setting, or like a setting in a section that does not
    /// exist must be a setting. Other variables are left alone: Kubernetes sets `CLVD_SERVICE_HOST` and
    /// `CLVD_PORT_9090_TCP` for a service called clvd, `CLVD_KAFKA_SERVICE_HOST` for another; tests have `CLVD_TEST_…`.
    private mutating func rejectUnknownVariables() {
        var known: Suggestions?
        for name in environment.keys.sorted()
        where name.hasPrefix("CLVD_") && !name.hasPrefix("CLVD_TEST_") && !Settings.variables.contains(name) {
            guard name.firstMatch(of: /_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT$|_PORT_[0-9]+_/) == nil else { continue }
            let suggestions = known ?? Suggestions(Settings.variables)
            known = suggestions
            let meant = suggestions.nearest(to: name) ?? Settings.variable(withTheKeyOf: name)
            guard meant != nil || Settings.isNamedLikeOurs(name) else { continue }
            problems.append(
                SettingsProblem(
                    path: name, problem: "there is no such setting",
                    remedy: meant.map { "did you mean \($0)?" } ?? "unset it; config/clvd.yaml lists all keys"))
        }
    }

    // MARK: Text

    /// The text of a scalar, its `${NAME}` replaced.
    mutating func text(of node: Node, at place: Place, expecting expectation: String) -> String? {
        guard case .scalar(let scalar) = node else {
            report(place, "is a list or a map", "write \(expectation)")
            return nil
        }
        if node.isNull {
            report(place, "has no value", "write \(expectation) or remove the line")
            return nil
        }
        guard let text = expanded(scalar.string, place) else { return nil }
        return place.isSecret && scalar.string.hasPrefix("file:") ? contents(String(text.dropFirst(5)), place) : text
    }

    private mutating func expanded(_ text: String, _ place: Place) -> String? {
        var result = ""
        var rest = Substring(text)
        while let dollar = rest.range(of: "${") {
            let before = rest[..<dollar.lowerBound]
            result += before
            rest = rest[dollar.upperBound...]
            if before.hasSuffix("$") {
                // "$${" is how "${" is written.
                result += "{"
                continue
            }
            guard let end = rest.firstIndex(of: "}"),
                rest[..<end].wholeMatch(of: /[A-Za-z_][A-Za-z0-9_]*/) != nil
            else {
                report(place, "has a ${ without NAME}", "write ${NAME}, or $${ for the characters ${")
                return nil
            }
            let name = String(rest[..<end])
            guard let value = environment[name] else {
                report(place, "the environment variable \(name) is not set", "set it or write the value here")
                return nil
            }
            result += value
            rest = rest[rest.index(after: end)...]
        }
        return result + rest
    }

    private mutating func contents(_ path: String, _ place: Place) -> String? {
        guard let data = FileManager.default.contents(atPath: path) else {
            report(place, "the file \(path) cannot be read", "create it and allow this user to read it")
            return nil
        }
        guard var text = String(data: data, encoding: .utf8) else {
            report(place, "the file \(path) is not UTF-8 text", "store the value as text")
            return nil
        }
        // "\r\n" is one Character.
        if text.last?.isNewline == true { text.removeLast() }
        return text
    }
}

// MARK: Suggestions

/// Names that may have been meant, prepared once for any number of questions.
private struct Suggestions {
    private struct Candidate {
        let text: String
        /// Letters and digits, in lower case: of all of it, and behind its last dot.
        let letters: [UInt32]
        let name: [UInt32]
    }
    private let candidates: [Candidate]

    /// - Parameter sections: whether sections of the paths may have been meant as well.
    init(_ paths: [String], sections: Bool = false) {
        candidates = (sections ? paths + Settings.sections(of: paths) : paths).sorted().map {
            Candidate(text: $0, letters: Self.letters($0), name: Self.name($0))
        }
    }

    /// The candidate that was probably meant, or nil: nearly the same, or the same name in another section.
    func nearest(to path: String) -> String? {
        let wanted = Self.letters(path)
        var best: (text: String, edits: Int)?
        for candidate in candidates {
            let most = min(max(1, candidate.name.count / 4 + 1), best.map { $0.edits - 1 } ?? .max)
            // Texts differ by at least the difference of their lengths.
            guard abs(candidate.letters.count - wanted.count) <= most else { continue }
            let edits = distance(wanted, candidate.letters)
            if edits <= most { best = (candidate.text, edits) }
        }
        if let best { return best.text }
        let name = Self.name(path)
        return name.isEmpty ? nil : candidates.first { $0.name == name }?.text
    }

    private static func letters(_ text: some StringProtocol) -> [UInt32] {
        text.lowercased().unicodeScalars.filter { $0.properties.isAlphabetic || $0.properties.numericType != nil }
            .map(\.value)
    }

    private static func name(_ path: String) -> [UInt32] { letters(path.split(separator: ".").last ?? "") }
}

/// Edits from one text to another: insertions, deletions, replacements (Levenshtein).
private func distance(_ a: [UInt32], _ b: [UInt32]) -> Int {
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for j in b.indices {
            (diagonal, row[j + 1]) = (row[j + 1], min(diagonal + (x == b[j] ? 0 : 1), row[j] + 1, row[j + 1] + 1))
        }
    }
    return row[b.count]
}
