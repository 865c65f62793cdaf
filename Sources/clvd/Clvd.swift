import ArgumentParser

/// The command line. Each command is a file of its own.
@main
struct Clvd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clvd",
        abstract: "Customer lifetime value and churn, learned online from a stream of events.",
        version: "0.1.0",
        subcommands: [
            RunCommand.self, DemoCommand.self, ReplayCommand.self, SimulateCommand.self, EvaluateCommand.self,
            VerifyCommand.self, SnapshotCommand.self, ConfigCommand.self, BenchCommand.self,
        ])
}
