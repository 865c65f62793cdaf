import ArgumentParser
import EventInput
import Foundation
import Kafka
import Settings
import Synchronization
import Terminal

/// An operation that failed: one sentence that says what, where and what to do.
struct CommandFailure: Error, CustomStringConvertible {
    let description: String
    let code: ExitCode
    init(_ description: String, code: ExitCode = .failure) { (self.description, self.code) = (description, code) }
}

extension ExitCode {
    /// The settings, a format or a property cannot be used.
    static let configuration = ExitCode(78)
    /// Nothing in the data can be used, or they are not ready.
    static let data = ExitCode(65)
}

extension Clvd {
    /// Runs the command that the arguments ask for. Exit codes: 0, 1 for what failed, 64 for arguments, 65 for data and 78
    /// for settings that cannot be used; `run` has more.
    static func main() async {
        do {
            var command = try await asyncParseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            // Help, usage and exit codes are the parser's own; all else is ours, and may quote untrusted text.
            guard exitCode(for: error) == .failure, !(error is ExitCode) else { exit(withError: error) }
            Report.error(error)
            switch error {
            case let failure as CommandFailure: Foundation.exit(failure.code.rawValue)
            case is SettingsError, is FormatError, is KafkaPropertyError:
                Foundation.exit(ExitCode.configuration.rawValue)
            default: Foundation.exit(ExitCode.failure.rawValue)
            }
        }
    }
}

/// What commands say.
enum Report {
    /// Lines to standard output.
    static func line(_ text: String = "") { write(text, .standardOutput) }

    /// Lines to standard error.
    static func note(_ text: String) { write(text, .standardError) }

    static func error(_ error: any Error) {
        let text = type(of: error) is NSError.Type ? error.localizedDescription : String(describing: error)
        note("Error: " + text)
    }

    /// One object to standard output, for machines.
    static func json(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try FileHandle.standardOutput.write(contentsOf: encoder.encode(value) + Data("\n".utf8))
    }

    /// Names and values below one another; a value may have a remark.
    static func facts(_ facts: [(name: String, value: String)]) {
        let width = facts.map { Text.width($0.name) }.max() ?? 0
        for (name, value) in facts { line("  " + Text.pad(name, to: width) + "  " + value) }
    }

    private static func write(_ text: String, _ handle: FileHandle) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { Text.safe(String($0)) }
        // A reader that went away is no reason to fail.
        try? handle.write(contentsOf: Data((lines.joined(separator: "\n") + "\n").utf8))
    }
}

/// SIGINT and SIGTERM as a request to stop; a second one ends the process at once.
enum StopSignal {
    private static let requested = Atomic(false)

    static var isRequested: Bool { requested.load(ordering: .relaxed) }

    static func install() {
        // The handler must find the flag initialised.
        guard !isRequested else { return }
        for number in [SIGINT, SIGTERM] {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = { _ in StopSignal.requested.store(true, ordering: .relaxed) }
            action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND)) | SA_RESTART
            sigaction(number, &action, nil)
        }
    }
}
