import ArgumentParser
import Engine
import Foundation
import Runtime
import Settings
import SnapshotStore
import Terminal

/// `clvd snapshot`
struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Look at snapshots: list, inspect, verify.",
        discussion: """
            Reads only, and needs no lock: a running daemon is not disturbed.

            EXAMPLES
              clvd snapshot list --directory /var/lib/clvd/snapshots
              clvd snapshot inspect snapshots/snapshot-00000000000000069659 --json
              clvd snapshot verify --directory snapshots && echo fit to start from
            """,
        subcommands: [List.self, Inspect.self, Verify.self])

    /// Where snapshots are.
    struct Place: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "The folder that instances share, or that of one. (default: snapshots.directory)", valueName: "folder"))
        var directory: String?

        @Option(help: ArgumentHelp("The settings that name the folder. (default: none)", valueName: "file"))
        var config: String?

        func path() throws -> String {
            if let directory { return directory }
            let environment = ProcessInfo.processInfo.environment
            return try Settings.load(path: config, environment: environment).snapshots.directory
        }
    }

    private static func stamp(_ date: Date) -> String { date.formatted(.iso8601) }

    /// `clvd snapshot list`
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the snapshots of each instance, newest first.")

        @OptionGroup var place: Place

        @Flag(help: "Print the list as JSON.")
        var json = false

        private struct Row: Encodable {
            let instance: String
            let name: String
            let path: String
            let position: Int64
            let bytes: Int64
            let createdAt: Date

            init(instance: String, info: SnapshotInfo) {
                self.instance = instance
                (name, path, position) = (info.name, info.path, info.position)
                (bytes, createdAt) = (info.bytes, info.createdAt)
            }
        }

        func run() throws {
            let list = try SharedSnapshotFolder.snapshots(in: place.path())
            if json { return try Report.json(list.map { Row(instance: $0.instance, info: $0.info) }) }
            if list.isEmpty { return Report.line("no snapshots in \(try place.path())") }
            var table = TextTable(
                columns: [.init("instance"), .init("snapshot"), .init("taken"), .init("size", .right)])
            for (instance, info) in list {
                table.addRow([instance, info.name, stamp(info.createdAt), Human.bytes(info.bytes)])
            }
            Report.line(table.render(width: 100))
        }
    }

    /// `clvd snapshot inspect`
    struct Inspect: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show what a snapshot holds.")

        @Argument(help: ArgumentHelp("The snapshot's folder.", valueName: "snapshot"))
        var snapshot: String

        @Flag(help: "Print it as JSON, with the metadata of the engine.")
        var json = false

        func run() throws {
            let snapshot = try SnapshotStore.open(path: snapshot)
            if json {
                try FileHandle.standardOutput.write(contentsOf: snapshot.metadata + Data("\n".utf8))
                return
            }
            let metadata = try EngineSnapshot.metadata(snapshot)
            Report.line(snapshot.info.name)
            Report.facts([
                ("taken", stamp(snapshot.info.createdAt)),
                ("size", Human.bytes(snapshot.info.bytes)),
                ("records", Human.count(metadata.position)),
                ("users", Human.count(Int64(metadata.users))),
                ("model version", Human.count(metadata.modelVersion)),
                (
                    "model",
                    "\(metadata.configuration.model.recurrent.rawValue), \(metadata.configuration.model.units) units"
                ),
                ("kernels", metadata.kernels),
                ("targets", metadata.configuration.targets.map(\.name).joined(separator: ", ")),
                ("topics", metadata.topics.joined(separator: ", ")),
            ])
            var offsets = TextTable(columns: [.init("partition"), .init("next offset", .right)])
            for (id, offset) in metadata.partitionOffsets { offsets.addRow([id, Human.count(offset)]) }
            Report.line()
            Report.line(offsets.render(width: 100))
            var files = TextTable(columns: [.init("file"), .init("size", .right), .init("xxh128")])
            for file in snapshot.files { files.addRow([file.name, Human.bytes(file.bytes), file.checksum]) }
            Report.line()
            Report.line(files.render(width: 100))
        }
    }

    /// `clvd snapshot verify`
    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check every byte of the snapshots; exit code 1 when one is damaged.")

        @Argument(
            help: ArgumentHelp("Folders of single snapshots. (default: all of the folder)", valueName: "snapshot"))
        var snapshots: [String] = []

        @OptionGroup var place: Place

        @Flag(help: "Print the result as JSON.")
        var json = false

        private struct Row: Encodable {
            var path: String
            var ok: Bool
            var bytes: Int64?
            var problem: String?
        }

        func run() throws {
            let paths =
                try snapshots.isEmpty
                ? SharedSnapshotFolder.snapshots(in: place.path()).map(\.info.path) : snapshots
            let rows = paths.map { path in
                do {
                    return Row(path: path, ok: true, bytes: try SnapshotStore.open(path: path).info.bytes)
                } catch {
                    return Row(path: path, ok: false, problem: "\(error)")
                }
            }
            if json {
                try Report.json(rows)
            } else {
                for row in rows {
                    Report.line(
                        row.ok
                            ? "ok       \(row.path)  \(Human.bytes(row.bytes ?? 0))" : "damaged  \(row.problem ?? "")")
                }
                if rows.isEmpty { Report.line("no snapshots in \(try place.path())") }
            }
            if rows.contains(where: { !$0.ok }) { throw ExitCode.failure }
        }
    }
}
