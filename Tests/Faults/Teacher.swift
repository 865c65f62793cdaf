import Engine
import EventInput
import Foundation
import Logging
import Runtime
import Settings
import SnapshotStore

/// An instance that has learned and ended. Its model is in the store, without partitions; new instances start with it.
/// When no instance learns any more, all of them give the same outputs for a record.
final class Teacher: Sendable {
    static let instance = "teacher"
    let recurrent: EngineConfiguration.Model.Recurrent
    /// The folder of its snapshots in the store.
    let folder: String
    let modelVersion: Int64

    /// - Parameter store: a folder for this teacher's snapshot, which is made.
    init(_ recurrent: EngineConfiguration.Model.Recurrent, format: String, store: String) throws {
        self.recurrent = recurrent
        folder = "\(store)/\(Self.instance)"
        let lesson = Scenario(lessonFor: recurrent, format: format)
        defer { lesson.free() }
        let engine = try Reference(lesson, idleTicks: [[:]]).engine
        modelVersion = engine.modelVersion
        precondition(modelVersion > 0, "the teacher has learned nothing")
        let snapshots = try SnapshotStore(
            directory: folder, keep: nil, logger: Logger(label: "teacher") { _ in SwiftLogNoOpLogHandler() })
        _ = try EngineSnapshot.withContent(of: engine.image(of: [])) { try snapshots.write($0) }
    }

    /// Gives its model to a new engine.
    func teach(_ engine: Engine) throws {
        guard let newest = try SnapshotStore.snapshots(in: folder).first else { return }
        let snapshot = try SnapshotStore.open(path: newest.path)
        try engine.restoreModel(EngineSnapshot.metadata(snapshot)) { try snapshot.section($0) }
    }
}
