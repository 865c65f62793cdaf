import ArgumentParser
import Foundation
import Kafka
import Logging
import Runtime
import ServiceLifecycle
import Settings
import UnixSignals

/// `clvd run`
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run the daemon: events in, predictions and alerts out, learning as it goes.",
        discussion: """
            Restores the newest snapshot, reads again what was committed after it without publishing it twice, and goes \
            on. Missing output topics are created. The log goes to standard error.

            SIGTERM or SIGINT drains: nothing more is read, what was taken in is committed, a snapshot is written. A \
            second one ends the process at once; the next start recovers.

            With input.keying: repartition, two stages run side by side: route reads the input topics and writes their \
            records, keyed by customer, to the topic of events; score reads that. Each may run in a process of its own \
            (--stage). When one ends by an error, so does the other; SIGTERM drains route first.

            Exit codes: 0 drained; 1 a failure; 3 the state cannot be brought to where the group has committed (the \
            message says what is missing and what to set); 4 another instance has taken over; 64 arguments, 78 settings \
            that cannot be used.

            EXAMPLES
              clvd run --config /etc/clvd/clvd.yaml
              clvd run --config clvd.yaml --stage route     # with input.keying: repartition
              CLVD_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 CLVD_INPUT_TOPICS=shop clvd run
            """)

    @Option(help: ArgumentHelp("The settings. (default: none, only the defaults)", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("With input.keying: repartition: route, score or all.", valueName: "stage"))
    var stage = StageChoice.all

    func run() async throws {
        let settings = try Settings.load(path: config, environment: ProcessInfo.processInfo.environment)
        var logger = Logger(label: "clvd") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = Logger.Level(settings.runtime.logLevel)
        var group = ServiceGroupConfiguration(
            services: try daemons(settings, logger).map {
                ServiceGroupConfiguration.ServiceConfiguration(
                    service: DaemonThread($0), successTerminationBehavior: .gracefullyShutdownGroup,
                    failureTerminationBehavior: .gracefullyShutdownGroup)
            },
            gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        group.maximumGracefulShutdownDuration = nil
        do {
            try await ServiceGroup(configuration: group).run()
        } catch let error as RecoveryError {
            throw CommandFailure(error.description, code: .recovery)
        } catch let error as KafkaError where error.isFenced {
            throw CommandFailure(
                "another instance with kafka.instanceId \(settings.kafka.instanceId) of group "
                    + "\(settings.kafka.groupId) has taken over; this one stops and writes nothing more (\(error)). Give "
                    + "each instance its own kafka.instanceId",
                code: .fenced)
        } catch let error as KafkaError where error.isUnsupported {
            throw CommandFailure(
                "\(settings.kafka.bootstrapServers): the brokers cannot do what delivery: \(settings.delivery.rawValue) needs "
                    + "(\(error)). Set delivery: at-least-once, or use brokers that know transactions (Kafka 0.11 or later)",
                code: .configuration)
        }
    }

    /// The daemons of this process: those that are to end first come last.
    private func daemons(_ settings: Settings, _ logger: Logger) throws -> [Daemon] {
        guard settings.input.keying == .repartition else {
            guard stage == .all else {
                throw ValidationError(
                    "--stage \(stage.rawValue) needs input.keying: repartition; here it is "
                        + "\(settings.input.keying.rawValue), by which there is one stage.")
            }
            return [Daemon(settings: settings, logger: logger)]
        }
        let stages: [Stage] = stage == .all ? [.score, .route] : stage == .route ? [.route] : [.score]
        return stages.map { stage in
            var logger = logger
            logger[metadataKey: "stage"] = "\(stage.rawValue)"
            return Daemon(settings: settings, stage: stage, logger: logger)
        }
    }

    /// Which stages run in this process.
    enum StageChoice: String, ExpressibleByArgument, CaseIterable { case all, route, score }
}

extension ExitCode {
    /// The state cannot be brought to where the group has committed.
    static let recovery = ExitCode(3)
    /// Another instance has taken over.
    static let fenced = ExitCode(4)
}

extension Logger.Level {
    init(_ level: Settings.LogLevel) {
        self =
            switch level {
            case .debug: .debug
            case .info: .info
            case .notice: .notice
            case .warning: .warning
            case .error: .error
            }
    }
}
