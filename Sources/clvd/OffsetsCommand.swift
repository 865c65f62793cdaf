import ArgumentParser
import Foundation
import Kafka
import Logging
import Runtime
import Settings
import SnapshotStore
import Terminal
import Verification

/// `clvd offsets`
struct OffsetsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "offsets", abstract: "Look at the group's offsets beside the snapshots, accept them, or set them.",
        discussion: """
            The daemon commits its offsets with a text of its own. Where another program or a person has set them, it \
            stops instead of guessing. These commands say what is there, and resolve it.

            accept and rewind need a group without members: stop all instances first. A static member is forgotten \
            after session.timeout.ms.

            EXAMPLES
              clvd offsets show --config /etc/clvd/clvd.yaml
              clvd offsets accept --config clvd.yaml
              clvd offsets rewind --config clvd.yaml --to published --dry-run
            """,
        subcommands: [Show.self, Accept.self, Rewind.self])

    /// Which group, and how the result is told.
    struct Place: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "The settings of the daemon: brokers, group, topics, snapshots. (default: none, only the defaults)",
                valueName: "file"))
        var config: String?

        @Option(help: ArgumentHelp("How long brokers may say nothing.", valueName: "seconds"))
        var timeout = 30.0

        @Option(
            help: ArgumentHelp(
                "With input.keying: repartition: the group of route, which reads the input topics, or of score, which "
                    + "reads the topic of events and makes snapshots.", valueName: "stage"))
        var stage = Stage.score

        @Flag(help: "Print the result as JSON.")
        var json = false

        func validate() throws {
            guard (0.1...3600).contains(timeout) else {
                throw ValidationError("--timeout must be from 0.1 to 3600 seconds.")
            }
        }

        func settings() throws -> Settings {
            let settings = try Settings.load(path: config, environment: ProcessInfo.processInfo.environment)
            if settings.input.keying == .repartition { return settings.settings(of: stage) }
            guard stage == .score else {
                throw ValidationError("--stage \(stage.rawValue) needs input.keying: repartition.")
            }
            return settings
        }
    }

    /// The group while a command deals with it.
    struct Session {
        let settings: Settings
        let client: GroupOffsetsClient
        let place: Place

        /// Runs `body`; what fails says where, and what to do.
        static func run(_ place: Place, _ body: (Session) throws -> Void) throws {
            let settings = try place.settings()
            let (bootstrap, group) = (settings.kafka.bootstrapServers, settings.kafka.groupId)
            do {
                let quiet = Logger(label: "clvd.offsets") { _ in SwiftLogNoOpLogHandler() }
                let client = try GroupOffsetsClient(
                    settings, hasState: place.stage == .score, patience: place.timeout, logger: quiet)
                try body(Session(settings: settings, client: client, place: place))
            } catch let error as KafkaError where error.isOfGroup {
                throw CommandFailure(
                    "group \(group) at \(bootstrap) has members (\(error)). Nothing was changed. " + stop)
            } catch let error as KafkaError {
                throw CommandFailure(
                    "group \(group) at \(bootstrap): \(error). Check kafka.bootstrapServers, that the brokers can be "
                        + "reached, and this client's rights; an instance that was killed may have a transaction open, "
                        + "which ends after its transaction.timeout.ms")
            } catch let error as OffsetRefusal {
                throw CommandFailure("\(error)")
            } catch let error as VerificationError {
                throw CommandFailure("\(bootstrap): \(error)")
            } catch let error as SnapshotError where error.kind == .locked {
                throw CommandFailure("an instance runs: \(error.path): \(error.reason). Nothing was changed. " + stop)
            }
        }

        static let stop = "Stop all instances first; a static member is forgotten after session.timeout.ms"

        /// - Throws: when there are members. Where the brokers cannot say, they refuse the commit.
        func expectNoMembers() throws {
            guard let members = try client.members(), !members.isEmpty else { return }
            throw CommandFailure(
                "group \(settings.kafka.groupId) has \(members.count) "
                    + (members.count == 1 ? "member" : "members")
                    + " (\(members.map(\.description).sorted().joined(separator: ", "))). Nothing was changed. "
                    + Self.stop)
        }

        func read(withPublished: Bool, time: Int64? = nil) throws -> GroupOffsets {
            try client.read(published: withPublished ? try published() : [:], time: time)
        }

        private func published() throws -> [TopicPartition: Int64] {
            let reporter = ProgressReporter(label: "Outputs", total: nil, unit: "records")
            defer { reporter.finish() }
            return try PublishedOffsets.read(
                .init(bootstrap: settings.kafka.bootstrapServers, properties: settings.kafka.properties),
                updates: settings.output.updatesTopic, deadLetters: settings.output.deadLetterTopic,
                areRouted: place.stage == .route, patience: place.timeout
            ) { done, _ in reporter.update(done: done) }
        }

        /// Carries a plan out, or only shows it, and tells it.
        func finish(_ offsets: GroupOffsets, _ plan: OffsetPlan, isDry: Bool) throws {
            let aside = isDry ? nil : try client.carryOut(plan)
            let outlook = try offsets.outlook(after: plan)
            if place.json {
                return try Report.json(
                    Result(
                        group: offsets.group, dryRun: isDry, aside: aside,
                        partitions: plan.changes.map { change in
                            .init(
                                topic: change.partition.topic, partition: change.partition.partition,
                                before: change.before, after: change.after, isCommitted: change.metadata != nil,
                                snapshotsMoved: change.moved,
                                outlook: outlook.first { $0.partition == change.partition }?.sentence ?? "")
                        }))
            }
            tell(offsets, plan, aside, isDry: isDry)
            Report.line("After that:")
            for (p, sentence) in outlook { Report.line("\(p): \(sentence)") }
        }

        private func tell(_ offsets: GroupOffsets, _ plan: OffsetPlan, _ aside: String?, isDry: Bool) {
            var table = TextTable(
                columns: [
                    .init("partition"), .init("before", .right), .init("after", .right), .init("snapshots moved"),
                ])
            for c in plan.changes {
                table.addRow([
                    c.partition.description, c.before.map(Human.count) ?? "none", Human.count(c.after),
                    c.moved.isEmpty ? "none" : "\(c.moved.count): " + c.moved.joined(separator: ", "),
                ])
            }
            Report.line(table.render(width: 160))
            Report.line()
            if isDry { return Report.line("Nothing was changed (--dry-run).") }
            let (count, moved) = (plan.commits.count, plan.moves.count)
            Report.line(
                "group \(offsets.group): \(count) \(count == 1 ? "offset" : "offsets") committed, "
                    + (aside.map { "\(moved) \(moved == 1 ? "snapshot" : "snapshots") moved to \($0)" }
                        ?? "no snapshots moved"))
        }

        private struct Result: Encodable {
            struct Partition: Encodable {
                var topic: String
                var partition: Int32
                var before: Int64?
                var after: Int64
                var isCommitted: Bool
                var snapshotsMoved: [String]
                var outlook: String
            }
            var group: String
            var dryRun: Bool
            var aside: String?
            var partitions: [Partition]
        }
    }
}

extension OffsetsCommand {
    /// `clvd offsets show`
    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show what the group has committed, who did it, and what the snapshots hold.",
            discussion: """
                Changes nothing and may run beside the daemon. For each partition: where the log begins and ends; the \
                committed offset and who committed it; the furthest snapshot that is not beyond it, and the furthest \
                that is; and what the daemon would do.

                Exit codes: 0; 1 when it could not be found out; 64 for arguments, 78 for settings that cannot be used.

                EXAMPLES
                  clvd offsets show --config /etc/clvd/clvd.yaml
                  clvd offsets show --config clvd.yaml --published --json | jq '.partitions[].outlook'
                """)

        @OptionGroup var place: Place

        @Flag(help: "Read the updates and dead letters as well, for the last record that has one.")
        var published = false

        private struct Result: Encodable {
            struct Held: Encodable {
                var snapshot: String
                var offset: Int64

                init?(_ held: OffsetStanding.Held?) {
                    guard let held else { return nil }
                    (snapshot, offset) = (held.snapshot, held.offset)
                }
            }
            struct Partition: Encodable {
                var topic: String
                var partition: Int32
                var begin, end: Int64
                var committed: Int64?
                var by: String?
                var snapshot, beyond: Held?
                var published: Int64?
                var outlook: String
            }
            var group: String
            var cluster: String?
            var members: [String]
            var partitions: [Partition]
        }

        func run() throws {
            try Session.run(place) { session in
                let members = try session.client.members()?.map(\.description).sorted() ?? []
                let offsets = try session.read(withPublished: published)
                let outlook = try offsets.outlook()
                guard !place.json else {
                    return try Report.json(
                        Result(
                            group: offsets.group, cluster: offsets.cluster, members: members,
                            partitions: zip(offsets.standings, outlook).map { s, outlook in
                                .init(
                                    topic: s.partition.topic, partition: s.partition.partition,
                                    begin: s.log.lowerBound, end: s.log.upperBound, committed: s.committed?.offset,
                                    by: s.author?.description, snapshot: .init(s.snapshot), beyond: .init(s.beyond),
                                    published: s.published, outlook: outlook.sentence)
                            }))
                }
                Report.line("group \(offsets.group), snapshots in \(session.settings.snapshots.directory)")
                if !members.isEmpty {
                    Report.line("\(members.joined(separator: ", ")): active, so that offsets may move on")
                }
                for (s, outlook) in zip(offsets.standings, outlook) { tell(s, outlook.sentence) }
            }
        }

        private func tell(_ s: OffsetStanding, _ outlook: String) {
            func held(_ held: OffsetStanding.Held?) -> String {
                held.map { "\(Human.count($0.offset)) in \($0.snapshot)" } ?? "none"
            }
            Report.line()
            Report.line(s.partition.description)
            var facts = [
                ("log", "\(Human.count(s.log.lowerBound)) to \(Human.count(s.log.upperBound))"),
                (
                    "committed",
                    s.committed.map { "\(Human.count($0.offset)) by \(s.author?.description ?? "")" } ?? "nothing"
                ),
                ("snapshot up to it", held(s.snapshot)), ("snapshot beyond it", held(s.beyond)),
            ]
            if published { facts.append(("last published", s.published.map(Human.count) ?? "none")) }
            Report.facts(facts)
            Report.line(outlook)
        }
    }

    /// `clvd offsets accept`
    struct Accept: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take the group's offsets as they are.",
            discussion: """
                Commits the offset of each partition again, as one of clvd's own. Where the group has committed \
                nothing, it commits what the furthest snapshot holds: updates that were published after that snapshot \
                may be published twice. Snapshots that are beyond an offset would be a state of what is to come: they \
                are moved into a folder aside-TIME beside those of the instances, and never deleted.

                After a reset to before the snapshots, updates from there on are published a second time. After one \
                forwards, the records between change the state and are never published. clvd offsets rewind --to \
                published avoids both.

                Exit codes: 0; 1 when it was refused or failed; 64 for arguments, 78 for settings that cannot be used.

                EXAMPLES
                  clvd offsets accept --config /etc/clvd/clvd.yaml
                  clvd offsets accept --config clvd.yaml --dry-run --json
                """)

        @OptionGroup var place: Place

        @Flag(help: "Only say what would be done.")
        var dryRun = false

        func run() throws {
            try Session.run(place) { session in
                if !dryRun { try session.expectNoMembers() }
                let offsets = try session.read(withPublished: false)
                let plan = try offsets.accept()
                guard !plan.changes.isEmpty else {
                    throw CommandFailure(
                        "group \(offsets.group) has committed nothing, and no snapshot holds a partition: there is "
                            + "nothing to accept. The daemon begins at input.start")
                }
                try session.finish(offsets, plan, isDry: dryRun)
            }
        }
    }

    /// `clvd offsets rewind`
    struct Rewind: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Set the group's offsets, and move the snapshots beyond them aside.",
            discussion: """
                The daemon then goes on from the furthest snapshot that is left, reads again without publishing up to \
                the offset, and publishes from there. Without one it makes the state again from the beginning of the \
                log. Snapshots that hold a partition beyond its new offset are moved into a folder aside-TIME beside \
                those of the instances, and never deleted; so are those of newer versions of clvd.

                --to published reads the updates and dead letters and goes to after the last record that has one: \
                nothing is published twice, and nothing is left out.

                Exit codes: 0; 1 when it was refused or failed; 64 for arguments, 78 for settings that cannot be used.

                EXAMPLES
                  clvd offsets rewind --config /etc/clvd/clvd.yaml --to published
                  clvd offsets rewind --config clvd.yaml --to 2026-11-27T08:00:00Z --dry-run
                  clvd offsets rewind --config clvd.yaml --to 40000 --partition events/0 --partition events/1
                """)

        @OptionGroup var place: Place

        @Option(
            help: ArgumentHelp(
                "published, after the last record that has an output; snapshot, the furthest one; earliest or latest, "
                    + "the ends of the log; an offset; or a time such as 2026-11-27T08:00:00Z.", valueName: "target"))
        var to: Target

        @Option(
            help: ArgumentHelp("Only this partition, may be repeated: topic/3. (default: all)", valueName: "partition"))
        var partition: [Partition] = []

        @Flag(help: "Only say what would be done.")
        var dryRun = false

        func run() throws {
            try Session.run(place) { session in
                if !dryRun { try session.expectNoMembers() }
                var time: Int64?
                if case .time(let ms) = to.target { time = ms }
                let offsets = try session.read(withPublished: to.target == .published, time: time)
                let only = partition.isEmpty ? nil : Set(partition.map(\.name))
                try session.finish(offsets, try offsets.rewind(to: to.target, only: only), isDry: dryRun)
            }
        }

        struct Target: ExpressibleByArgument {
            let target: OffsetTarget

            init?(argument: String) {
                switch argument {
                case "published": target = .published
                case "snapshot": target = .snapshot
                case "earliest": target = .earliest
                case "latest": target = .latest
                default:
                    if let offset = Int64(argument) {
                        guard offset >= 0 else { return nil }
                        target = .offset(offset)
                    } else {
                        guard let time = try? Date(argument, strategy: .iso8601) else { return nil }
                        target = .time(Int64(time.timeIntervalSince1970 * 1000))
                    }
                }
            }
        }

        struct Partition: ExpressibleByArgument {
            let name: TopicPartition

            init?(argument: String) {
                guard let slash = argument.lastIndex(of: "/"), slash > argument.startIndex,
                    let number = Int32(argument[argument.index(after: slash)...]), number >= 0
                else { return nil }
                name = TopicPartition(String(argument[..<slash]), number)
            }
        }
    }
}

extension Stage: ExpressibleByArgument {}
