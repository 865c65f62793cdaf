import ArgumentParser
import Engine
import Runtime

/// The command line. Each command is a file of its own.
@main
struct Clvd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clvd",
        abstract: "Customer lifetime value and churn, learned online from a stream of events.",
        version: "0.2.0-dev (state format \(StateFormat.current), offset metadata \(CommitMetadata.version))",
        subcommands: [
            CheckEventsCommand.self, RunCommand.self, DemoCommand.self, ReplayCommand.self, SimulateCommand.self,
            EvaluateCommand.self, VerifyCommand.self, OffsetsCommand.self, SnapshotCommand.self, ConfigCommand.self,
            BenchCommand.self,
        ])
}
