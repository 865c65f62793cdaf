import Foundation
import Settings

/// Settings from YAML. After a line of three dashes come variables of the environment, NAME=value in each line.
struct SettingsTarget {
    private let folder = Scratch()

    func run(_ input: UnsafeRawBufferPointer) {
        let bytes = Array(input)
        let end = bytes.firstRange(of: Array("\n---\n".utf8))
        let path = folder.write(
            UnsafeRawBufferPointer(rebasing: input[..<(end?.lowerBound ?? bytes.count)]), to: "clvd.yaml")
        var environment: [String: String] = [:]
        for line in end.map({ bytes[$0.upperBound...].split(separator: 0x0A) }) ?? [] {
            let parts = String(decoding: line, as: UTF8.self).split(separator: "=", maxSplits: 1)
            if parts.count == 2 { environment[String(parts[0])] = String(parts[1]) }
        }
        let settings: Settings
        do { settings = try Settings.load(path: path, environment: environment) } catch let error as SettingsError {
            precondition(!error.description.isEmpty && !error.problems.isEmpty)
            return
        } catch { fatalError("\(error)") }
        // What was read is written and read again as the same, but for secrets, which are masked.
        guard settings.kafka.properties.isEmpty else { return _ = settings.rendered() }
        let text = Array(settings.rendered().utf8)
        let again = text.withUnsafeBytes { folder.write($0, to: "again.yaml") }
        do {
            let read = try Settings.load(path: again, environment: [:])
            precondition(read.rendered().utf8.elementsEqual(text), "settings changed on their way")
        } catch { fatalError("\(error)") }
    }
}
